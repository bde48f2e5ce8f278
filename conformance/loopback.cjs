// Preloaded into Node servers that listen on all interfaces: on loopback only (`NODE_OPTIONS=--require=…/loopback.cjs`).
const net = require("node:net");
const { listen } = net.Server.prototype;

net.Server.prototype.listen = function (...args) {
  const [first] = args;
  if (typeof first === "object" && first !== null && first.port != null) {
    args[0] = { ...first, host: "127.0.0.1" };
  } else if (/^\d+$/.test(String(first))) {
    args = [first, "127.0.0.1", ...args.slice(1).filter((arg) => typeof arg === "function")];
  }
  return listen.apply(this, args);
};
