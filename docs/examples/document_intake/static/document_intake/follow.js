// Fill the page from the run's events. They come numbered, each once: EventSource says where it was when it comes back,
// and a page that was reloaded is told everything from 1.
"use strict";

const page = document.getElementById("run");
const run = page.dataset.run;
const places = new Map(); // a job's id -> its place on the page
const early = new Map(); // a job's id -> its events from before its place was known
const figures = { events: 0, tokens: 0, retries: 0 };
const clock = { began: null, ended: null };
const AGAIN_MS = 3000;
const ENDED = new Set(["succeeded", "failed", "cancelled", "skipped"]);
let last = 0;
let source;

// -- where a job stands on the page

const workflowJob = (name) => page.querySelector(`[data-workflow-job="${CSS.escape(name)}"]`);

function placeOf(event) {
  const { workflow_job: name, item, parent } = event.data;
  if (event.job === run) return page;
  if (!places.has(event.job) && name) {
    const row = workflowJob(name);
    if (item === undefined) places.set(event.job, row);
    else {
      if (parent) settle(parent, row); // a foreach, which no event but those of its items names
      const card = name === "summarise" && page.querySelector(`[data-page="${item}"]`);
      const found = name === "extract" && page.querySelector(`[data-document="${item}"]`);
      places.set(event.job, card || found || document.createElement("span"));
      places.get(event.job).row = row;
    }
  }
  return places.get(event.job);
}

function settle(job, place) {
  if (places.has(job)) return;
  places.set(job, place);
  for (const event of early.get(job) || []) apply(event);
}

function show(place, status, note = "") {
  place.dataset.status = status;
  const told = place.querySelector(".state");
  if (told) told.textContent = note || status;
}

function count(row, total) {
  const bar = row && row.querySelector("progress");
  if (!bar) return;
  if (total) bar.max = total;
  else bar.value += 1;
  const counted = row.querySelector(".count");
  counted.textContent = `${bar.value} of ${bar.max} ${counted.dataset.noun}`;
}

const textOf = (place) => place.querySelector(".summary");

// -- what each event does

const handlers = {
  "job.queued": (place) => show(place, "queued"),
  "job.started": (place) => show(place, "running"),
  "job.progress": (place, data) => show(place, "running", data.message || `${data.current} of ${data.total}`),
  "job.suspended": (place, data) => {
    show(place, data.reason === "children" ? "running" : "waiting");
    if (data.children) count(place, data.children);
  },
  "job.resumed": (place) => show(place, "queued"),
  "job.retried": (place, data) => {
    const which = data.retry ? `retry ${data.retry} of ${data.max_retries}` : "again"; // a lost process counts as none
    show(place, "retrying", `${which}: ${data.message}`);
    page.querySelector("#retries").textContent = figures.retries += 1;
    place.classList.add("retried");
  },
  "job.succeeded": (place, data, event) => {
    if (place.matches("[data-document]")) tellWhatWasFound(place, event.job);
    finish(place, "succeeded", "done");
  },
  "job.failed": (place, data) => finish(place, "failed", `failed: ${data.message}`),
  "job.cancelled": (place) => finish(place, "cancelled"),
  "job.skipped": (place, data) => finish(place, "skipped", data.reason),
  "message.started": (place) => textOf(place) && (textOf(place).textContent = ""), // another attempt begins anew
  "message.delta": (place, data) => textOf(place) && textOf(place).append(data.text),
  "log.written": (place, data) => show(place, place.dataset.status, data.message),
  "usage.recorded": (place, data) => {
    figures.tokens += (data.input_tokens || 0) + (data.output_tokens || 0);
    page.querySelector("#tokens").textContent = figures.tokens.toLocaleString("en");
  },
  "message.completed": () => {},
  "run.started": (place) => show(place, "running"),
  "run.succeeded": (place) => show(place, "succeeded"),
  "run.failed": (place) => show(place, "failed"),
  "run.cancelled": (place) => show(place, "cancelled"),
};

function finish(place, status, note = "") {
  show(place, status, note);
  count(place.row);
}

async function tellWhatWasFound(place, job) {
  const answer = await fetch(page.dataset.job.replace(run, job));
  if (!answer.ok) return;
  const { result } = await answer.json();
  const fields = ["dates", "amounts", "people", "organisations", "references"];
  const found = fields.filter((name) => result[name].length).map((name) => `${result[name].length} ${name}`);
  place.textContent = [`${result.kind}`, ...found].join(" · ");
  place.title = result.title;
}

// -- the stream

function take(message) {
  const event = JSON.parse(message.data);
  last = event.seq;
  page.querySelector("#events").textContent = figures.events += 1;
  clock.began = clock.began || Date.parse(event.time);
  apply(event);
  if (event.job === run && ENDED.has(event.type.split(".")[1])) {
    clock.ended = Date.parse(event.time);
    source.close();
    line("complete");
  }
}

function apply(event) {
  const place = placeOf(event);
  if (place) handlers[event.type](place, event.data, event);
  else early.set(event.job, [...(early.get(event.job) || []), event]);
}

function line(state) {
  const told = page.querySelector("#line");
  told.textContent = told.dataset.line = state;
}

function follow() {
  source = new EventSource(`${page.dataset.events}?after=${last}`);
  for (const type of Object.keys(handlers)) source.addEventListener(type, take);
  source.onopen = () => line("live");
  source.onerror = () => {
    line("reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN_MS); // some browsers give up on a refusal
  };
}

function tick() {
  if (!clock.began) return;
  const seconds = ((clock.ended || Date.now()) - clock.began) / 1000;
  page.querySelector("#seconds").textContent = `${Math.max(0, seconds).toFixed(1)} s`;
}

setInterval(tick, 100);
follow();
