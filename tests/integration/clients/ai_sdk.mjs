// One chat of the AI SDK with a server of ours, without React. The task comes as an argument, what the client sees goes
// out a line of JSON each.
const task = JSON.parse(process.argv[2]);
const { AbstractChat, DefaultChatTransport } = await import(task.client);
const say = (told) => console.log(JSON.stringify(told));

class State {
  status = "ready";
  error = undefined;
  messages = task.messages ?? [];
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => {
    this.messages = this.messages.map((kept, place) => (place === index ? this.snapshot(message) : kept));
    say({ messages: this.messages });
  };
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(options) {
    super({ ...options, state: new State() });
  }
}

let coming = Promise.resolve();
const chat = new Chat({
  id: "chat-1",
  transport: new DefaultChatTransport({ api: task.url, headers: task.headers, body: task.body }),
  onData: (part) => say({ data: part }),
  onToolCall: () => say({ thrown: "a tool call was left to the client" }),
  onError: (error) => {
    say({ error: error.message });
    if (task.comesBack && error.message === "stream_interrupted")
      coming = new Promise((wake) => setTimeout(wake, 200)).then(() => chat.resumeStream());
  },
});
if (task.resumes) await chat.resumeStream();
else await chat.sendMessage({ text: "Where is my parcel?" });
for (let last; last !== coming; ) await (last = coming);
say({ messages: chat.messages, status: chat.status, over: true });
