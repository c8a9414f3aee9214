"""ai-edge-quantizer: ``python ai_edge_quantizer.py SOURCE OUTPUT SAMPLES.npz``, in an environment of its own.

Its static recipe: activations of 8 bits calibrated on the samples, weights of 8 bits per channel. Inputs and
outputs stay float32, as those of the files it is compared with.
"""

from __future__ import annotations

import sys


def quantise(source: str, output: str, samples: str) -> None:
    """Calibrate a float32 file and write its integer form; samples lie on the first axis of each array."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import qtyping, quantizer, recipe

    key, signature = next(iter(Interpreter(model_path=source).get_signature_list().items()))
    with np.load(samples, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in signature["inputs"]}
    count = len(next(iter(arrays.values())))
    feeds = [{name: array[at : at + 1] for name, array in arrays.items()} for at in range(count)]
    made = quantizer.Quantizer(source, recipe.static_wi8_ai8())
    for operator in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):
        made.update_quantization_recipe(
            regex=".*", operation_name=operator, algorithm_key=quantizer.AlgorithmName.NO_QUANTIZE
        )
    calibration = made.calibrate({key: feeds})
    made.quantize(calibration).export_model(output, overwrite=True)


if __name__ == "__main__":
    quantise(*sys.argv[1:])
