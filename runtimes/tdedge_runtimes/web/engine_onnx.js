// onnxruntime-web behind the same few calls as LiteRT.js: open -> {inputs, outputs, bind, run, describe, close}.

import { WrongError } from "./errors.js";
import { hasThreads } from "./facts.js";

let runtime = null;

/** Load the runtime, so that the time to open a model does not contain it. */
export async function start({ threads, gpu, assets, baseline }) {
  runtime = await import(`${assets}${gpu ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs"}`);
  const { env } = runtime;
  env.logLevel = "error";
  env.wasm.wasmPaths = assets;
  env.wasm.proxy = false;
  env.wasm.numThreads = hasThreads ? threads : 1;
  const session = await create(new Uint8Array(baseline), gpu);
  await session.release();
  return { package: "onnxruntime-web", version: env.versions.web ?? env.versions.common };
}

function create(bytes, gpu) {
  return runtime.InferenceSession.create(bytes, {
    executionProviders: [gpu ? "webgpu" : "wasm"],
    graphOptimizationLevel: "all",
  });
}

function tensors(metadata) {
  return metadata.map(({ name, isTensor, type, shape }) => {
    if (!isTensor) throw new WrongError(`${name} is no tensor`);
    return { name, dtype: type, shape: shape.map((extent) => (typeof extent === "number" ? extent : null)) };
  });
}

/** Open a model. */
export async function open(bytes, { gpu, provider }) {
  let session;
  try {
    session = await create(bytes, gpu);
  } catch (error) {
    throw new WrongError(`onnxruntime-web cannot load the model: ${error.message ?? error}`);
  }
  const threads = runtime.env.wasm.numThreads;
  const feed = (arrays) =>
    Object.fromEntries(
      arrays.map(({ name, dtype, shape, values }) => [name, new runtime.Tensor(dtype, values, shape)]),
    );
  return {
    inputs: tensors(session.inputMetadata),
    outputs: tensors(session.outputMetadata),
    bind(arrays) {
      const feeds = feed(arrays);
      return () => session.run(feeds);
    },
    async run(arrays) {
      const outputs = await session.run(feed(arrays));
      return session.outputNames.map((name) => {
        const { type, dims, data } = outputs[name];
        const values = type === "float16" && !(data instanceof Uint16Array) ? new Uint16Array(data.buffer) : data;
        return { name, dtype: type, shape: dims, values };
      });
    },
    describe: () => ({
      runtime: "onnxruntime",
      threads,
      execution: {
        provider: gpu ? `${provider}; operators it lacks run in WebAssembly` : "WebAssembly",
        graph_optimization: "all",
        transfers: "every call copies inputs in and outputs out",
      },
    }),
    close: () => session.release(),
  };
}
