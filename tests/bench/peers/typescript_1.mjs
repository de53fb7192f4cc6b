// The TypeScript SDK's server before version 2 with one tool that does nothing.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { resolve } = createRequire(process.argv[3]);
const load = (name) => import(pathToFileURL(resolve(name)));
const { McpServer } = await load("@modelcontextprotocol/sdk/server/mcp.js");
const { StreamableHTTPServerTransport } = await load("@modelcontextprotocol/sdk/server/streamableHttp.js");

createServer(async (request, response) => {
  // Without sessions it wants a server and a transport for each request.
  const server = new McpServer({ name: "peer", version: "1" });
  server.registerTool("nothing", { description: "Do nothing." }, async () => ({
    content: [{ type: "text", text: '{"ok":true}' }],
    structuredContent: { ok: true },
  }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
  response.on("close", () => {
    transport.close();
    server.close();
  });
  await server.connect(transport);
  await transport.handleRequest(request, response);
}).listen(Number(process.argv[2]), "127.0.0.1");
