// A client that lives through the death of its server: `node survivor.mjs URL SDK`, SDK being v1 or v2. Lists tools, prints
// "ready", waits for a line on stdin, and lists twice more; prints "ok" if that worked.
import { once } from "node:events";

const [url, sdk] = process.argv.slice(2);
const { Client, StreamableHTTPClientTransport } = sdk === "v2"
  ? await import("@modelcontextprotocol/client")
  : {
    ...await import("@modelcontextprotocol/sdk/client/index.js"),
    ...await import("@modelcontextprotocol/sdk/client/streamableHttp.js"),
  };

const client = new Client({ name: "survivor", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const before = (await client.listTools()).tools.length;
console.log("ready");
await once(process.stdin, "data");
for (let turn = 0; turn < 2; turn += 1) {
  const after = (await client.listTools()).tools.length;
  if (after !== before) throw new Error(`${before} tools became ${after}`);
}
console.log("ok");
process.exit(0);
