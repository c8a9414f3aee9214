// The browser's clock: how coarse it is, and samples long enough to be read on it.

/** Steps of the clock that a sample must last at least. */
export const STEPS = 50;

/** The smallest change of performance.now(), in milliseconds. */
export function clockStep(changes = 60, limitMs = 500) {
  const begin = performance.now();
  let last = begin;
  let least = Infinity;
  for (let seen = 0; seen < changes; ) {
    const now = performance.now();
    if (now > last) {
      least = Math.min(least, now - last);
      last = now;
      seen += 1;
      if (now - begin > limitMs) break;
    }
  }
  return Math.max(1e-6, Math.round(least * 1e6) / 1e6);
}

/** How many calls it takes to fill a sample, with a fifth to spare, even at the fastest of a few tries. */
export async function callsPerSample(call, stepMs, tries = 5) {
  const needMs = 1.2 * STEPS * stepMs;
  for (let calls = 1; ; ) {
    let fastestMs = Infinity;
    for (let i = 0; i < tries && (i === 0 || fastestMs >= needMs); i += 1) {
      fastestMs = Math.min(fastestMs, await timed(call, calls));
    }
    if (fastestMs >= needMs) return calls;
    const guess = fastestMs > 0 ? Math.ceil((calls * needMs) / fastestMs) : calls * 4;
    calls = Math.min(Math.max(guess, calls + 1), calls * 10);
  }
}

async function timed(call, calls) {
  const start = performance.now();
  for (let i = 0; i < calls; i += 1) await call();
  return performance.now() - start;
}

/**
 * A sampler of one call: each time, the milliseconds per call over at least STEPS steps of the clock.
 *
 * It makes `calls` calls, and as many more as the clock needs; where a program has become faster since the
 * number was found, it makes more from then on.
 */
export class Sampler {
  constructor(call, calls, stepMs) {
    Object.assign(this, { call, calls, stepMs });
  }

  async sample() {
    const { call, calls, stepMs } = this;
    const start = performance.now();
    for (let made = 0; ; ) {
      for (let i = 0; i < calls; i += 1) await call();
      made += calls;
      const tookMs = performance.now() - start;
      if (tookMs >= STEPS * stepMs) {
        this.calls = made;
        return tookMs / made;
      }
    }
  }
}
