// Adds the key to what the conformance suite sends, which cannot: reads {port, key} of the service from standard input,
// and prints the port where it listens. Host and Origin stay as they are. It ends with its standard input.

import http from "node:http";
import readline from "node:readline";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let target;

const server = http.createServer((request, response) => {
  const headers = { authorization: `Bearer ${target.key}`, ...request.headers };
  const options = { host: "127.0.0.1", port: target.port, method: request.method, path: request.url, headers };
  const forwarded = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  forwarded.on("error", (error) => response.writeHead(502).end(String(error)));
  response.on("close", () => forwarded.destroy());
  request.pipe(forwarded);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
target = JSON.parse((await lines.next()).value);
await lines.next();
process.exit(0);
