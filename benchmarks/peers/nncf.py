"""NNCF: ``python nncf.py SOURCE.onnx OUTPUT.xml SAMPLES.npz``, in an environment of its own.

The call is the one its documentation starts with: default options, on the OpenVINO model of the ONNX file.
"""

from __future__ import annotations

import sys


def quantise(source: str, output: str, samples: str) -> None:
    """Calibrate a float32 network and write its integer form; samples lie on the first axis of each array."""
    import nncf
    import numpy as np
    import openvino

    model = openvino.Core().read_model(source)
    with np.load(samples, allow_pickle=False) as archive:
        arrays = {port.any_name: archive[port.any_name] for port in model.inputs}
    count = len(next(iter(arrays.values())))
    feeds = [{name: array[at : at + 1] for name, array in arrays.items()} for at in range(count)]
    quantised = nncf.quantize(model, nncf.Dataset(feeds), subset_size=count)
    openvino.save_model(quantised, output, compress_to_fp16=False)


if __name__ == "__main__":
    quantise(*sys.argv[1:])
