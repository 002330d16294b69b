// What the server wrote into the page, and the words for what may go wrong.
export const page = JSON.parse(document.getElementById("page").textContent);
export const headers = { "X-CSRFToken": page.csrfToken };
export const inputs = { conversation: page.conversation };
export const AGAIN_MS = 1000;

// The line was cut and the run goes on: `fetch` says so with a TypeError, the server with this code.
export const isCut = (error) => error instanceof TypeError || [error.code, error.message].includes("stream_interrupted");

// Our addresses refuse with {"error": {"code", "message"}}; both clients hand that on as a text.
export function inWords(error) {
  const refusal = /\{.*\}/s.exec(error.message);
  try {
    return refusal ? JSON.parse(refusal[0]).error.message : error.message;
  } catch {
    return error.message;
  }
}
