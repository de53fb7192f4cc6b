// What every TypeScript program does with a connected client, told as its user sees it.

const seen = async (act) => {
  try {
    return await act();
  } catch (error) {
    return { error: error.message };
  }
};

// *connect* returns a connected client for a key, and *versionOf* the protocol version that it speaks.
export async function run({ connect, versionOf }) {
  let text = "";
  for await (const chunk of process.stdin) text += chunk;
  const task = JSON.parse(text);
  const { client, transport } = await connect(task, task.key);
  const call = (name, args) =>
    seen(async () => {
      const result = await client.callTool({ name, arguments: { project: task.project, ...args } });
      return result.isError ? { error: result.content[0].text } : result.structuredContent;
    });
  const steps = {
    connect: { version: versionOf(client, transport), server: client.getServerVersion()?.name ?? null },
    list: (await client.listTools()).tools.map((tool) => tool.name),
  };
  steps.write = await call("create_test_case", { title: task.title, fields: task.fields });
  steps.read = await call("get_test_case", { caseId: steps.write.id });
  steps["argument error"] = await call("get_folders", { project: true });
  steps["tool error"] = await call("get_test_case", { caseId: task.foreign_case });
  await client.close();
  steps["wrong key"] = await seen(async () => {
    const refused = await connect(task, task.wrong_key);
    return { listed: (await refused.client.listTools()).tools.length };
  });
  console.log(JSON.stringify(steps));
  process.exit(0);
}
