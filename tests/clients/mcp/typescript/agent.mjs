// An agent that uses the client of the package, the second argument: `@modelcontextprotocol/sdk` or its successor
// `@modelcontextprotocol/client`. The first argument is http or stdio.
import { createInterface } from "node:readline";

const { SAGAHOLD_URL: url, SAGAHOLD_API_KEY: key, SAGAHOLD_COMMAND: command } = process.env;
const [kind, name] = process.argv.slice(2);
const successor = name === "@modelcontextprotocol/client";
const load = (file) => import(successor ? (file === "stdio" ? `${name}/stdio` : name) : `${name}/client/${file}.js`);
const { Client } = await load("index");
// Only the successor knows the option. Without it, the successor speaks the older versions alone.
const client = new Client({ name: "test-agent", version: "1.2.3" }, { versionNegotiation: { mode: "auto" } });
if (kind === "stdio") {
  const { StdioClientTransport } = await load("stdio");
  await client.connect(new StdioClientTransport({ command, args: ["mcp"], env: process.env }));
} else {
  const { StreamableHTTPClientTransport } = await load("streamableHttp");
  const headers = { Authorization: `Bearer ${key}` };
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`), { requestInit: { headers } }));
}

const tell = (found) => process.stdout.write(JSON.stringify(found) + "\n");
// Its own limit of 60 s stays, as in hosts that set no other.
const options = { onprogress: tell };
for await (const line of createInterface({ input: process.stdin })) {
  const { tool, arguments: args } = JSON.parse(line);
  if (tool === undefined) {
    tell({ tools: (await client.listTools()).tools.map((each) => each.name) });
    continue;
  }
  let result;
  try {
    const call = { name: tool, arguments: args };
    result = await (successor ? client.callTool(call, options) : client.callTool(call, undefined, options));
  } catch (error) {
    tell({ isError: true, text: String(error), structured: null });
    continue;
  }
  tell({ isError: result.isError ?? false, text: result.content[0].text, structured: result.structuredContent ?? null });
}
await client.close();
