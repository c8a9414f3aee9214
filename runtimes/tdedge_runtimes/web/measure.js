// Latency of several loaded models, interleaved: the rules of tdedge_runtimes/measure.py, on a browser's clock.
//
// Every model is warmed up; then, block after block, each model makes a few samples, each right after
// untimed calls; the order of the models rotates from block to block. A sample is as many calls as the clock
// needs, and its value is the time of one.

import { callsPerSample, Sampler } from "./clock.js";

/** The order of the models in a block: rotated by one from block to block. */
export function blockOrder(labels, block) {
  const turn = block % labels.length;
  return [...labels.slice(turn), ...labels.slice(0, turn)];
}

/**
 * Measure bound calls side by side.
 *
 * @param calls label -> async function that runs once; the first is the reference of the ratios.
 * @param options those of MeasureOptions.
 * @param stepMs the step of the clock.
 * @param progress told {phase, fraction, medians}; given the time to show it.
 */
export async function measure(calls, options, stepMs, progress) {
  const labels = Object.keys(calls);
  const firstMs = {};
  for (const label of labels) {
    const start = performance.now();
    await calls[label]();
    firstMs[label] = performance.now() - start;
  }
  const windowStart = performance.now();
  const samplers = {};
  for (const [place, label] of labels.entries()) {
    await progress({ phase: "warm-up", fraction: (0.15 * place) / labels.length });
    await warmUp(calls[label], options);
    samplers[label] = new Sampler(calls[label], await callsPerSample(calls[label], stepMs), stepMs);
  }
  const samples = Object.fromEntries(labels.map((label) => [label, []]));
  const orders = [];
  const start = performance.now();
  while (orders.length < options.max_blocks) {
    const seconds = (performance.now() - start) / 1e3;
    if (orders.length >= options.min_blocks && seconds >= options.max_seconds) break;
    const done = Math.max(
      Math.min(seconds / Math.max(options.max_seconds, 1e-9), orders.length / options.min_blocks),
      orders.length / options.max_blocks,
    );
    await progress({ phase: "measuring", fraction: 0.15 + 0.85 * Math.min(1, done), medians: medians(samples) });
    const order = blockOrder(labels, orders.length);
    for (const label of order) {
      const row = [];
      for (let i = 0; i < options.per_block; i += 1) {
        for (let j = 0; j < options.untimed_calls; j += 1) await calls[label]();
        row.push(await samplers[label].sample());
      }
      samples[label].push(row);
    }
    orders.push(order);
  }
  const windowS = (performance.now() - windowStart) / 1e3;
  const counts = Object.fromEntries(labels.map((label) => [label, samplers[label].calls]));
  return { firstMs, counts, samples, orders, windowS };
}

async function warmUp(call, options) {
  const start = performance.now();
  for (let made = 0; made < options.warmup_calls || performance.now() - start < options.warmup_seconds * 1e3; made += 1) {
    await call();
  }
}

const ROW_MS = 1000;
const ROW_SAMPLES = 1000;

/**
 * Inference without a pause, in rows of about a second (or a tenth of the whole); between rows the page draws.
 *
 * @returns {firstMs, count, samples, inferences, beginMs, endMs}: times by the browser's own clock.
 */
export async function load(call, options, { seconds, min_inferences: least }, stepMs, progress) {
  const now = () => performance.timeOrigin + performance.now();
  const first = performance.now();
  await call();
  const firstMs = performance.now() - first;
  await warmUp(call, options);
  const sampler = new Sampler(call, await callsPerSample(call, stepMs), stepMs);
  const rowMs = Math.min(ROW_MS, seconds * 100);
  const sampleMs = (await sampler.sample()) * sampler.calls;
  const times = Math.max(1, Math.ceil(rowMs / sampleMs / ROW_SAMPLES));
  const length = Math.max(1, Math.round(rowMs / sampleMs / times));
  sampler.calls *= times;
  const samples = [];
  let inferences = 0;
  const counted = () => {
    inferences += 1;
    return call();
  };
  sampler.call = counted;
  const beginMs = now();
  let endMs = beginMs;
  for (; endMs - beginMs < seconds * 1e3 || inferences < least || samples.length < 2; endMs = now()) {
    const row = [];
    for (let i = 0; i < length; i += 1) row.push(await sampler.sample());
    samples.push(row);
    const fraction = Math.min(1, (now() - beginMs) / (seconds * 1e3));
    await progress({ phase: "without a pause", fraction, medians: medians({ model: samples.slice(-1) }) });
  }
  return { firstMs, count: sampler.calls, samples, inferences, beginMs, endMs };
}

/** The median of every model that has samples. */
export function medians(samples) {
  const found = {};
  for (const [label, rows] of Object.entries(samples)) {
    const flat = rows.flat().sort((a, b) => a - b);
    const middle = flat.length >> 1;
    if (flat.length) found[label] = flat.length % 2 ? flat[middle] : (flat[middle - 1] + flat[middle]) / 2;
  }
  return found;
}
