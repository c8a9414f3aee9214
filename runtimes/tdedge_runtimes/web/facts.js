// What this page can tell about its browser, and no more.

import { clockStep } from "./clock.js";

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|software|warp|basic render/i;

/** Whether WebAssembly can have threads: isolated pages, in browsers that share memory with workers. */
export const hasThreads = Boolean(globalThis.crossOriginIsolated) && typeof SharedArrayBuffer === "function";

/** The graphics adapter, or the reason why there is none: {gpu, gpu_missing}. */
export async function graphics() {
  if (!navigator.gpu) {
    const reason = isSecureContext
      ? "this browser has no WebGPU"
      : "a browser gives WebGPU to https and localhost only";
    return { gpu: null, gpu_missing: reason };
  }
  let adapter = null;
  try {
    adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch {
    // The same as no adapter.
  }
  if (!adapter) return { gpu: null, gpu_missing: "this browser gives no graphics adapter" };
  const info = adapter.info ?? {};
  const words = [info.vendor, info.architecture, info.device, info.description].map((word) => String(word ?? ""));
  const fallback = Boolean(info.isFallbackAdapter ?? adapter.isFallbackAdapter);
  return {
    gpu: {
      vendor: words[0],
      architecture: words[1],
      description: words[3] || words[2],
      software: fallback || SOFTWARE.test(words.join(" ")),
    },
    gpu_missing: null,
  };
}

/** All facts, as the computer expects them. */
export async function facts() {
  return {
    user_agent: navigator.userAgent,
    platform: navigator.userAgentData?.platform || navigator.platform || "unknown",
    secure_context: isSecureContext,
    isolated: Boolean(globalThis.crossOriginIsolated),
    threads: hasThreads,
    hardware_concurrency: navigator.hardwareConcurrency || 1,
    device_memory_gib: navigator.deviceMemory ?? null,
    clock_step_ms: clockStep(),
    ...(await graphics()),
  };
}
