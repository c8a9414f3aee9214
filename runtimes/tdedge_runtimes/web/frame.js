// One job, in a frame of its own: a fresh copy of the runtime, gone when the frame goes.

import { pack, unpack } from "./arrays.js";
import * as litert from "./engine_litert.js";
import * as onnx from "./engine_onnx.js";
import { WrongError } from "./errors.js";
import { facts as describe } from "./facts.js";
import { load, measure } from "./measure.js";
import { get, post } from "./wire.js";

const ENGINES = { onnxruntime: onnx, tflite: litert };
const assets = new URL("assets/", document.baseURI).href;

/** Let the page draw a frame and hear the computer. */
function turn() {
  return new Promise((resolve) => setTimeout(resolve, 16));
}

let told = 0;
async function progress(news) {
  if (performance.now() - told < 200) return;
  told = performance.now();
  parent.postMessage({ progress: news }, location.origin);
  await turn();
}

/** Refuse to measure on something that only looks like a GPU. */
function checkGpu(job, found) {
  if (!job.gpu) return;
  if (!found.gpu) throw new WrongError(`no GPU can be used: ${found.gpu_missing}`);
  if (found.gpu.software && job.gpu !== "software") {
    const name = found.gpu.description || found.gpu.architecture || found.gpu.vendor || "unnamed";
    throw new WrongError(`no GPU can be used: the adapter (${name}) is software on the CPU`);
  }
}

async function openAll(job, found) {
  const gpu = Boolean(job.gpu);
  const baseline = await (await get("baseline.onnx")).arrayBuffer();
  const provider = found.gpu?.software ? "WebGPU on a software adapter, no GPU" : "WebGPU";
  const settings = { threads: job.options.threads, gpu, provider, assets, baseline, versions: job.versions };
  const packages = {};
  for (const name of new Set(job.models.map((model) => model.runtime))) {
    packages[name] = await ENGINES[name].start(settings);
  }
  const sessions = {};
  const documents = {};
  for (const [place, { label, runtime, file }] of job.models.entries()) {
    told = 0;
    await progress({ phase: "loading", label, fraction: (0.1 * place) / job.models.length });
    const bytes = new Uint8Array(await (await get(file)).arrayBuffer());
    const start = performance.now();
    const session = await ENGINES[runtime].open(bytes, settings);
    const loadMs = performance.now() - start;
    sessions[label] = session;
    documents[label] = {
      session: { ...packages[runtime], ...session.describe() },
      inputs: session.inputs,
      outputs: session.outputs,
      load_ms: loadMs,
    };
  }
  return { sessions, documents, packages };
}

async function inputsOf(job, page, label, session) {
  const response = await post("inputs", { page, job: job.id }, { label, inputs: session.inputs });
  return unpack(await response.arrayBuffer());
}

async function work(job, page) {
  const facts = await describe();
  checkGpu(job, facts);
  const { sessions, documents, packages } = await openAll(job, facts);
  const result = { facts, models: documents, hidden: false, versions: {} };
  for (const { package: name, version } of Object.values(packages)) result.versions[name] = version;
  if (job.kind === "latency") {
    const calls = {};
    for (const [label, session] of Object.entries(sessions)) {
      calls[label] = session.bind(await inputsOf(job, page, label, session));
    }
    const { firstMs, counts, samples, orders, windowS } = await measure(
      calls, job.options, facts.clock_step_ms, progress,
    );
    for (const label of Object.keys(sessions)) {
      documents[label].first_ms = firstMs[label];
      documents[label].calls_per_sample = counts[label];
      documents[label].samples_ms = samples[label];
    }
    Object.assign(result, { orders, window_s: windowS });
  } else if (job.kind === "load") {
    const [[label, session]] = Object.entries(sessions);
    const call = session.bind(await inputsOf(job, page, label, session));
    const found = await load(call, job.options, job.load, facts.clock_step_ms, progress);
    Object.assign(documents[label], {
      first_ms: found.firstMs,
      calls_per_sample: found.count,
      samples_ms: found.samples,
    });
    result.load = { begin_ms: found.beginMs, end_ms: found.endMs, inferences: found.inferences };
  } else if (job.kind === "run") {
    const [[label, session]] = Object.entries(sessions);
    const outputs = await session.run(await inputsOf(job, page, label, session));
    await post("outputs", { page, job: job.id }, pack(outputs));
  }
  for (const session of Object.values(sessions)) await session.close();
  return result;
}

addEventListener("message", async ({ data, origin }) => {
  if (origin !== location.origin || !data.job) return;
  try {
    parent.postMessage({ result: await work(data.job, data.page) }, location.origin);
  } catch (error) {
    const text = String(error?.message || error || "no reason given").split("\n")[0].slice(0, 2000);
    const wrong = error instanceof WrongError || Boolean(error?.wrong);
    parent.postMessage({ error: { error: text, wrong } }, location.origin);
  }
});
parent.postMessage({ ready: true }, location.origin);
