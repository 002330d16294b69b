// A chat on useChat of the Vercel AI SDK.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";
import { AGAIN_MS, headers, inputs, inWords, isCut, page } from "./page.js";

const transport = new DefaultChatTransport({ api: "/ais/ai-sdk/documents_chat/chat", headers, body: { inputs } });
const earlier = page.messages.map(({ text, ...message }) => ({ ...message, parts: [{ type: "text", text }] }));

function Chat() {
  const { messages, sendMessage, status, error, resumeStream } = useChat({
    id: page.conversation,
    messages: earlier,
    resume: true, // after a reload: joins the run that is open, from its first word
    transport,
  });
  const last = messages.at(-1);
  const isBusy = status === "submitted" || status === "streaming";
  const line = error && isCut(error) ? "reconnecting" : isBusy ? "live" : "ready";

  // A question that was asked here and has no answer yet may not have arrived. Sent again, it is the same run.
  const isUnheard = last?.role === "user" && !earlier.some(({ id }) => id === last.id);
  useEffect(() => {
    if (!error || !isCut(error)) return;
    const timer = setTimeout(isUnheard ? () => sendMessage() : resumeStream, AGAIN_MS);
    return () => clearTimeout(timer);
  }, [error]);

  function ask(event) {
    event.preventDefault();
    sendMessage({ text: new FormData(event.target).get("question") });
    event.target.reset();
  }

  return (
    <>
      <ol id="messages">{messages.map((message) => <Message key={message.id} {...message} />)}</ol>
      <ul id="jobs">{jobsOf(last).map(({ job, name, status }) => <li key={job}>{name}: {status}</li>)}</ul>
      {error && !isCut(error) && <p id="error" role="alert">{inWords(error)}</p>}
      <form id="ask" onSubmit={ask}>
        <input name="question" required autoComplete="off" placeholder="What do the documents say about ...?" />
        <button disabled={line !== "ready"}>Ask</button>
        <span id="line" role="status" data-line={line}>{line}</span>
      </form>
    </>
  );
}

function Message({ role, parts }) {
  const texts = parts.filter((part) => part.type === "text").map((part) => part.text);
  return <li data-role={role}>{texts.join("")}</li>;
}

// Each job of the run is one data part, which holds the newest state of it.
const jobsOf = (message) => (message?.parts ?? []).filter((part) => part.type === "data-ais-job").map((part) => part.data);

createRoot(document.getElementById("chat")).render(<Chat />);
