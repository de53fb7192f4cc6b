// The TypeScript SDK before version 2: reads the task from standard input, prints what it saw.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { run } from "./steps.mjs";

await run({
  async connect({ url }, key) {
    const headers = { Authorization: `Bearer ${key}` };
    const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
    const client = new Client({ name: "typescript-1", version: "1" });
    await client.connect(transport);
    return { client, transport };
  },
  versionOf: (_, transport) => transport.protocolVersion,
});
