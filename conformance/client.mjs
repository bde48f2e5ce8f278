// A known-good client for the official suite's client scenarios: `node client.mjs URL`. It lists everything and calls
// every tool (with the arguments the suite gives, or ones made of the tool's schema), all at once, and answers what it
// is asked. That is enough for the scenarios outside of authorization.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const url = process.argv.at(-1);
const modern = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION === "2026-07-28";
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");

/** A value that a schema allows. */
function sample(schema = {}) {
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  switch (schema.type) {
    case "number": case "integer": return 1;
    case "boolean": return true;
    case "array": return [];
    case "object": return filled(schema);
    default: return "us-east1";
  }
}

/** An object with everything that a schema requires. */
function filled(schema) {
  const required = schema.required ?? [];
  return Object.fromEntries(required.map((name) => [name, sample(schema.properties?.[name])]));
}

const client = new Client(
  { name: "skep-conformance", version: "1.0.0" },
  {
    capabilities: { elicitation: { form: { applyDefaults: true } }, sampling: {}, roots: {} },
    versionNegotiation: { mode: modern ? "auto" : "legacy" },
  },
);
client.setRequestHandler("elicitation/create", async ({ params }) => {
  const properties = params.requestedSchema?.properties ?? {};
  // What has a default is left to the SDK to fill in.
  const open = Object.entries(properties).filter(([, schema]) => schema.default === undefined);
  return { action: "accept", content: Object.fromEntries(open.map(([name, schema]) => [name, sample(schema)])) };
});

await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const { tools } = await client.listTools();
const capabilities = client.getServerCapabilities() ?? {};
if (capabilities.prompts) {
  for (const { name } of (await client.listPrompts()).prompts) await client.getPrompt({ name }).catch(console.error);
}
if (capabilities.resources) {
  for (const { uri } of (await client.listResources()).resources) await client.readResource({ uri }).catch(console.error);
}
const given = new Map((context.toolCalls ?? []).map((call) => [call.name, call.arguments]));
// One scenario wants to see the schema that arrived here.
const focal = tools.find(({ name }) => name === "json_schema_2020_12_tool");
const calls = tools.map(async ({ name, inputSchema }) => {
  const echo = focal && inputSchema.properties?.schema && { schema: focal.inputSchema };
  const args = echo ?? given.get(name) ?? filled(inputSchema);
  return client.callTool({ name, arguments: args }).catch((error) => console.error(name, error.message));
});
await Promise.all(calls);
await client.close();
