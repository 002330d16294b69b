// One conversation of `HttpAgent` with a server of ours. The task comes as an argument, what the client sees goes out
// a line of JSON each.
const task = JSON.parse(process.argv[2]);
const { HttpAgent } = await import(task.client);
const say = (told) => console.log(JSON.stringify(told));

class Agent extends HttpAgent {
  connect(input) {
    return this.run(input);
  }
}

const agent = new Agent({
  url: task.url,
  headers: task.headers,
  threadId: "thread-1",
  initialMessages: task.messages ?? [{ id: "u1", role: "user", content: "Where is my parcel?" }],
});
let run;
let coming = Promise.resolve();
const seen = {
  onEvent: ({ event }) => say({ event }),
  onMessagesChanged: ({ messages }) => say({ messages }),
  onRunFailed: ({ error }) => say({ failed: error.message }),
  onCustomEvent: ({ event }) => {
    if (event.name === "ais.run") run = event.value.run;
  },
  onRunErrorEvent: ({ event }) => {
    if (task.comesBack && event.code === "stream_interrupted")
      coming = new Promise((wake) => setTimeout(wake, 200)).then(() => {
        agent.url = task.url.replace("talk", `runs/${run}/connect`);
        return agent.connectAgent({ runId: "run-1" }, seen);
      });
  },
};
try {
  if (task.joins) await agent.connectAgent({ runId: "run-1" }, seen);
  else await agent.runAgent({ runId: "run-1", ...task.input }, seen);
  for (let last; last !== coming; ) await (last = coming);
} catch (error) {
  say({ thrown: error.message });
}
say({ messages: agent.messages, over: true });
