// LiteRT.js behind the same few calls as onnxruntime-web.

import { WrongError } from "./errors.js";
import { hasThreads } from "./facts.js";

let core = null;
let library = null;

/** Load the runtime, so that the time to open a model does not contain it. */
export async function start({ threads, gpu, assets, versions }) {
  core = await import("@litertjs/core");
  let threaded = false;
  if (threads > 1 && hasThreads && !gpu) {
    threaded = (await core.supportsFeature("relaxedSimd")) && (await core.supportsFeature("threads"));
  }
  library = await core.loadLiteRt(assets, { threads: threaded });
  library.threadsToUse = threaded ? threads : 1;
  return { package: "@litertjs/core", version: versions["@litertjs/core"] };
}

function tensors(details) {
  return details.map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape: Array.from(shape, (extent) => (extent < 0 ? null : extent)),
  }));
}

/** Open a model. */
export async function open(bytes, { gpu, provider }) {
  let model;
  try {
    model = await library.loadAndCompile(bytes, {
      accelerator: gpu ? "webgpu" : "wasm",
      cpuOptions: { numThreads: library.threadsToUse },
    });
  } catch (error) {
    const reason = `LiteRT.js cannot load the model: ${error.message ?? error}`;
    const help = /Element type U?INT8/.test(reason) ? " Its inputs and outputs are floats: export without --integer-io" : "";
    throw new WrongError(reason + help);
  }
  if (gpu && !model.isFullyAccelerated) {
    model.delete();
    throw new WrongError("LiteRT.js cannot run the whole model by WebGPU; measure it without gpu");
  }
  const relaxed = await core.supportsFeature("relaxedSimd");
  const inputs = tensors(model.getInputDetails());
  const outputs = tensors(model.getOutputDetails());
  const feed = (arrays) => {
    const given = Object.fromEntries(arrays.map((array) => [array.name, array]));
    return inputs.map(({ name }) => core.Tensor.fromTypedArray(given[name].values, given[name].shape));
  };
  const release = (all) => all.forEach((tensor) => tensor.delete());
  const bound = [];
  return {
    inputs,
    outputs,
    bind(arrays) {
      const fed = feed(arrays);
      bound.push(...fed);
      if (!gpu) return async () => release(await model.run(fed));
      // A GPU is done only when its outputs have been read.
      return async () => {
        const taken = await model.run(fed);
        for (const tensor of taken) await tensor.data();
        release(taken);
      };
    },
    async run(arrays) {
      const fed = feed(arrays);
      const taken = await model.run(fed);
      const values = [];
      for (const tensor of taken) values.push((await tensor.data()).slice());
      const found = outputs.map(({ name, dtype }, i) => ({
        name,
        dtype,
        shape: Array.from(taken[i].type.layout.dimensions),
        values: values[i],
      }));
      release([...fed, ...taken]);
      return found;
    },
    describe: () => ({
      runtime: "tflite",
      threads: library.threadsToUse,
      execution: {
        provider: gpu ? provider : "XNNPACK in WebAssembly",
        relaxed_simd: relaxed,
        transfers: gpu ? "every call copies outputs out" : "inputs and outputs stay with the runtime",
      },
    }),
    close() {
      release(bound);
      model.delete();
    },
  };
}
