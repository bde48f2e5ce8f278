// A tour with the official TypeScript SDK (v1): `node client_ts.mjs URL PROFILE`, PROFILE being example, everything or
// time; a URL that ends in /sse is spoken to over HTTP+SSE. Prints the steps it took as JSON; exits 1 at the first that
// fails.
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema, ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const [url, profileName] = process.argv.slice(2);

// What each server has: a call with its exact text, one that reports progress, one that lasts, and so on.
const profiles = {
  example: {
    call: ["add", { a: 2, b: 40 }, "42"],
    progress: ["slow", { steps: 4, delay_ms: 20 }],
    long: ["slow", { steps: 600, delay_ms: 100 }],
    resource: "test://watched-resource",
    update: ["touch", {}],
    elicit: ["elicit", {}],
    sample: ["sample", { prompt: "hello" }],
  },
  everything: {
    call: ["echo", { message: "hi" }, "Echo: hi"],
    progress: ["trigger-long-running-operation", { duration: 1, steps: 4 }],
    long: ["trigger-long-running-operation", { duration: 60, steps: 60 }],
    resource: "demo://resource/dynamic/text/1",
    update: ["toggle-subscriber-updates", {}],
    elicit: ["trigger-elicitation-request", {}],
    sample: ["trigger-sampling-request", { prompt: "hello", maxTokens: 10 }],
  },
  time: {
    call: ["convert_time", { source_timezone: "UTC", time: "12:00", target_timezone: "UTC" }, /12:00/],
  },
};
const profile = profiles[profileName];
const steps = [];

/** Runs one step within twenty seconds. */
async function step(name, run) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("not within 20 s")), 20_000); });
  try {
    await Promise.race([run(), late]);
    steps.push(name);
  } catch (error) {
    console.log(JSON.stringify({ ok: false, steps, failed: name, error: String(error?.stack ?? error) }));
    process.exit(1);
  } finally {
    clearTimeout(timer);
  }
}

/** The first text of a tool's result. */
const textOf = (result) => result.content.find((content) => content.type === "text")?.text;

const asked = { elicit: 0, sample: 0 };
const client = new Client(
  { name: "tour", version: "1" },
  { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } },
);
client.setRequestHandler(ListRootsRequestSchema, async () => ({ roots: [{ uri: "file:///tour", name: "tour" }] }));
client.setRequestHandler(CreateMessageRequestSchema, async () => {
  asked.sample += 1;
  return { role: "assistant", model: "none", content: { type: "text", text: "sampled by the tour" } };
});
client.setRequestHandler(ElicitRequestSchema, async ({ params }) => {
  asked.elicit += 1;
  assert.ok(params.requestedSchema, "the question has a schema");
  return { action: "accept", content: { name: "Ada", firstLine: "x" } };
});

const transport = url.endsWith("/sse")
  ? new SSEClientTransport(new URL(url))
  : new StreamableHTTPClientTransport(new URL(url));

await step("initialize", async () => {
  await client.connect(transport);
  assert.ok(client.getServerVersion().name);
});
const capabilities = client.getServerCapabilities();
await step("lists", async () => {
  const { tools } = await client.listTools();
  assert.ok(tools.some((tool) => tool.name === profile.call[0]), JSON.stringify(tools.map((tool) => tool.name)));
  if (capabilities.resources) {
    assert.ok(Array.isArray((await client.listResources()).resources));
    await client.listResourceTemplates();
  }
  if (capabilities.prompts) assert.ok(Array.isArray((await client.listPrompts()).prompts));
});
await step("call", async () => {
  const [name, args, expect] = profile.call;
  const text = textOf(await client.callTool({ name, arguments: args }));
  expect instanceof RegExp ? assert.match(text, expect) : assert.equal(text, expect);
});
if (profile.progress) {
  await step("progress", async () => {
    const seen = [];
    const [name, args] = profile.progress;
    await client.callTool({ name, arguments: args }, undefined, { onprogress: ({ progress }) => seen.push(progress) });
    assert.ok(seen.length >= 2, `progress: ${seen}`);
    assert.deepEqual(seen, [...seen].sort((a, b) => a - b), "progress only grows");
  });
}
if (profile.resource) {
  await step("subscription", async () => {
    const told = new Promise((resolve) => {
      client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => resolve(params.uri));
    });
    await client.subscribeResource({ uri: profile.resource });
    const [name, args] = profile.update;
    await client.callTool({ name, arguments: args });
    assert.equal(await told, profile.resource);
    await client.unsubscribeResource({ uri: profile.resource });
  });
}
if (profile.elicit) {
  await step("elicitation", async () => {
    const [name, args] = profile.elicit;
    const result = await client.callTool({ name, arguments: args });
    assert.equal(asked.elicit, 1);
    assert.match(JSON.stringify(result.content), /Ada/);
  });
}
if (profile.sample) {
  await step("sampling", async () => {
    const [name, args] = profile.sample;
    const result = await client.callTool({ name, arguments: args });
    assert.equal(asked.sample, 1);
    assert.match(JSON.stringify(result.content), /sampled by the tour/);
  });
}
if (profile.long) {
  await step("cancellation", async () => {
    const [name, args] = profile.long;
    const stop = new AbortController();
    const call = client.callTool({ name, arguments: args }, undefined, { signal: stop.signal });
    setTimeout(() => stop.abort("changed my mind"), 300);
    await assert.rejects(call, /changed my mind/);
    const [again, arguments_, expect] = profile.call;
    assert.equal(textOf(await client.callTool({ name: again, arguments: arguments_ })), expect);
  });
}
await step("close", async () => {
  if (transport.terminateSession) await transport.terminateSession();
  await client.close();
});
console.log(JSON.stringify({ ok: true, steps }));
process.exit(0);
