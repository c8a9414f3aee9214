// The page: announces itself, asks for jobs, has each done in a frame of its own, and posts the results.

import { facts as describe } from "./facts.js";
import { medians } from "./measure.js";
import * as view from "./view.js";
import { get, GoneError, post } from "./wire.js";

const BEAT_MS = 2000;
const PHASES = { loading: "Loading", "warm-up": "Warming up", measuring: "Measuring", "without a pause": "Running without a pause" };
const RETRIES = 3; // of a measurement during which the page was hidden

let page = "";
let running = null; // {job, frame, reject, hidden}
let lock = null;

/** Keep the screen on while jobs may come; browsers allow it on secure pages only. */
async function stayAwake() {
  if (document.visibilityState !== "visible" || !navigator.wakeLock) return;
  try {
    lock = await navigator.wakeLock.request("screen");
  } catch {
    lock = null; // The warning on the page has to do.
  }
}

function startBeat() {
  const worker = new Worker("beat.js");
  worker.onmessage = ({ data }) => {
    if (data.gone) running?.reject(new GoneError("no longer needed"));
    else if (running && data.job !== undefined && data.job !== running.job.id && !running.posting) {
      running.reject(new Error("the computer stopped the job"));
    }
  };
  const url = new URL(`beat?page=${encodeURIComponent(page)}`, document.baseURI).href;
  worker.postMessage({ url, everyMs: BEAT_MS });
}

/** Wait until the page is in front. */
function shown() {
  return new Promise((resolve) => {
    const look = () => {
      if (document.visibilityState !== "visible") return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    look();
  });
}

/** One job in a fresh frame: what it answers, {result} or {error}. */
function inFrame(job) {
  const frame = document.createElement("iframe");
  frame.src = "frame.html";
  frame.title = "the job";
  let listener;
  const answer = new Promise((resolve, reject) => {
    running = { job, reject, hidden: document.visibilityState !== "visible", posting: false };
    listener = ({ data, origin, source }) => {
      if (origin !== location.origin || source !== frame.contentWindow) return;
      if (data.ready) frame.contentWindow.postMessage({ job, page }, location.origin);
      else if (data.progress) showProgress(job, data.progress);
      else resolve(data);
    };
    addEventListener("message", listener);
    document.body.append(frame);
  });
  return answer.finally(() => {
    removeEventListener("message", listener);
    frame.remove();
  });
}

function showProgress(job, { phase, label, fraction, medians: found }) {
  view.say(PHASES[phase] ?? phase, label ?? (job.models.length > 1 ? "All models in turn, block by block." : "Block by block."));
  view.bar(fraction);
  if (found) view.models(job.models, found);
}

async function doJob(job) {
  view.state("working", "Measuring");
  view.say("Loading", "The models come from the computer.");
  view.models(job.models);
  view.bar(0);
  let answer;
  try {
    for (let tries = 0; tries <= RETRIES; tries += 1) {
      await shown();
      answer = await inFrame(job);
      if (!answer.result || !running.hidden || job.kind !== "latency") break;
      view.say("Once more", "The page was hidden while it measured, which slows it down.");
    }
    running.posting = true;
    if (answer.result) {
      answer.result.hidden = running.hidden;
      await post("result", { page, job: job.id }, answer.result);
    } else {
      await post("error", { page, job: job.id }, answer.error);
    }
  } finally {
    running = null;
    view.bar(null);
  }
  if (answer.error) {
    view.say("That did not work", answer.error.error);
    view.models([]);
  } else if (job.kind === "latency") {
    const samples = Object.entries(answer.result.models).map(([label, model]) => [label, model.samples_ms]);
    view.models([]);
    view.result(job.models, medians(Object.fromEntries(samples)));
    view.say("Measured", "The samples are on the computer. Waiting for the next job.");
  } else {
    view.models([]);
    view.say("Ran", "The outputs are on the computer. Waiting for the next job.");
  }
}

function finish(title, text) {
  view.state("done", "Finished");
  view.say(title, text);
  view.models([]);
  view.bar(null);
  lock?.release();
}

async function loop() {
  for (let failures = 0; ; ) {
    try {
      const response = await get("job", { page });
      failures = 0;
      if (response.status === 200) await doJob(await response.json());
      view.state("waiting", "Ready");
    } catch (error) {
      if (error instanceof GoneError) return finish("Finished", "Nothing is left to measure. You can close this page.");
      failures += 1;
      if (failures > 5) {
        view.state("lost", "No connection");
        view.say("The computer is gone", "Its command has ended, or the network is down. Start it again and open the new link.");
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 500 * failures));
    }
  }
}

async function start() {
  const found = await describe();
  view.browser(found);
  page = (await (await post("hello", {}, found)).json()).page;
  addEventListener("pagehide", () => navigator.sendBeacon(`bye?page=${encodeURIComponent(page)}`, "{}"));
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  document.addEventListener("visibilitychange", () => {
    if (running && document.visibilityState !== "visible") running.hidden = true;
    stayAwake();
  });
  startBeat();
  stayAwake();
  view.state("waiting", "Ready");
  view.say("Ready", "Waiting for the computer to send a job.");
  await loop();
}

start().catch((error) => {
  view.state("lost", "Stopped");
  view.say("The page cannot start", String(error?.message ?? error));
});
