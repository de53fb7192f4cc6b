// The TypeScript SDK's server (v2) with one tool that does nothing, stateless and answering in JSON.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.argv[3]);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { McpServer, createMcpHandler } = await load('@modelcontextprotocol/server');
const { toNodeHandler } = await load('@modelcontextprotocol/node');

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'peer', version: '1' });
  server.registerTool('nothing', { description: 'Do nothing.' }, () => ({
    content: [{ type: 'text', text: '{"ok":true}' }],
    structuredContent: { ok: true },
  }));
  return server;
}, { responseMode: 'json' });
createServer(toNodeHandler(handler)).listen(Number(process.argv[2]), '127.0.0.1');
