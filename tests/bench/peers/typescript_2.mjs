// The TypeScript SDK's server of version 2 with one tool that does nothing.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { resolve } = createRequire(process.argv[3]);
const load = (name) => import(pathToFileURL(resolve(name)));
const { McpServer, createMcpHandler } = await load("@modelcontextprotocol/server");
const { toNodeHandler } = await load("@modelcontextprotocol/node");

function peer() {
  const server = new McpServer({ name: "peer", version: "1" });
  server.registerTool("nothing", { description: "Do nothing." }, async () => ({
    content: [{ type: "text", text: '{"ok":true}' }],
    structuredContent: { ok: true },
  }));
  return server;
}

createServer(toNodeHandler(createMcpHandler(peer, { responseMode: "json" }))).listen(
  Number(process.argv[2]),
  "127.0.0.1",
);
