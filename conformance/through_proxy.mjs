// What `client.mjs` does, through skep: `SKEP=path/to/skep node through_proxy.mjs URL` starts `skep proxy` in front of
// the suite's server, runs the client against it at the same path, and ends both.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const target = process.argv.at(-1);
const proxy = spawn(process.env.SKEP, ["proxy", "suite", "--target-uri", target, "--format", "json", "--workers", "1"], {
  stdio: ["ignore", "pipe", "inherit"],
});
const [line] = await once(createInterface({ input: proxy.stdout }), "line");
const client = spawn(process.execPath, [fileURLToPath(new URL("client.mjs", import.meta.url)), JSON.parse(line).url], {
  stdio: "inherit",
});
const [code] = await once(client, "exit");
proxy.kill("SIGTERM");
await once(proxy, "exit");
process.exit(code ?? 1);
