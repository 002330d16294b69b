// A chat on HttpAgent of AG-UI, without a framework.
import { HttpAgent } from "@ag-ui/client";
import { AGAIN_MS, headers, inputs, inWords, isCut, page } from "./page.js";

const START = "/ais/agui/documents_chat";
const joining = (run) => `/ais/agui/runs/${run}/connect`;

class Agent extends HttpAgent {
  connect(input) {
    return this.run(input); // HttpAgent has none of its own
  }
}

const agent = new Agent({
  url: START,
  headers,
  threadId: page.conversation,
  initialMessages: page.messages.map(({ text, ...message }) => ({ ...message, content: text })),
});

// -- what is shown

document.getElementById("chat").innerHTML = `
  <ol id="messages"></ol>
  <ul id="jobs"></ul>
  <p id="error" role="alert" hidden></p>
  <form id="ask">
    <input name="question" required autocomplete="off" placeholder="What do the documents say about ...?">
    <button>Ask</button>
    <span id="line" role="status"></span>
  </form>`;
const [messages, jobs, error, form, line] = ["messages", "jobs", "error", "ask", "line"].map((id) => document.getElementById(id));
const known = new Map(); // a job's id -> its name and status

function item(text, data = {}) {
  const made = document.createElement("li");
  made.textContent = text;
  Object.assign(made.dataset, data);
  return made;
}

function showMessages() {
  messages.replaceChildren(...agent.messages.map(({ role, content }) => item(content ?? "", { role })));
}

function showJob({ job, name, status }) {
  known.set(job, `${name}: ${status}`);
  jobs.replaceChildren(...[...known.values()].map((text) => item(text)));
}

function showLine(state, refusal = "") {
  line.textContent = line.dataset.line = state;
  form.querySelector("button").disabled = state !== "ready";
  error.textContent = refusal;
  error.hidden = !refusal;
}

// -- a run

let run = page.openRun;
let cut = null;
const seen = {
  onMessagesChanged: showMessages,
  onCustomEvent({ event: { name, value } }) {
    if (name === "ais.run") run = value.run; // what to join if the line is cut
    if (value.status) showJob(value);
  },
  onRunErrorEvent: ({ event }) => (cut = event),
};

// Follow a run to its end, through cut lines. One whose id never came is asked for again: the same runId is the same run.
async function follow(request) {
  for (;;) {
    cut = null;
    showLine("live");
    try {
      agent.url = run ? joining(run) : START;
      await (run ? agent.connectAgent(request, seen) : agent.runAgent(request, seen));
    } catch (thrown) {
      cut ??= thrown;
    }
    if (!cut || !isCut(cut)) break;
    showLine("reconnecting");
    await new Promise((wake) => setTimeout(wake, AGAIN_MS));
  }
  showLine("ready", cut ? inWords(cut) : "");
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  agent.addMessage({ id: crypto.randomUUID(), role: "user", content: new FormData(form).get("question") });
  form.reset();
  showMessages();
  known.clear();
  run = null;
  follow({ runId: crypto.randomUUID(), forwardedProps: { inputs } });
});

showMessages();
showLine("ready");
if (run) follow({});
