// The TypeScript SDK of version 2: reads the task from standard input, prints what it saw.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { run } from "./steps.mjs";

await run({
  async connect({ url, era }, key) {
    const headers = { Authorization: `Bearer ${key}` };
    const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
    const mode = era === "modern" ? { pin: "2026-07-28" } : era;
    const client = new Client({ name: "typescript-2", version: "1" }, { versionNegotiation: { mode } });
    await client.connect(transport);
    return { client, transport };
  },
  versionOf: (client) => client.getNegotiatedProtocolVersion(),
});
