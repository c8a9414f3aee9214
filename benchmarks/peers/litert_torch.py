"""litert-torch: ``python litert_torch.py SOURCE.pt2 OUTPUT.tflite``, in that package's own environment.

The call is the one its documentation starts with: default options, float32, inputs in torch's layout.
"""

from __future__ import annotations

import sys


def convert(source: str, output: str) -> None:
    """Convert an exported torch program; its example inputs become the sample arguments."""
    import litert_torch
    import torch

    program = torch.export.load(source)
    args, kwargs = program.example_inputs
    module = program.module()
    for part in module.modules():
        part.training = False  # it was exported for inference; the flag alone is lost on the way
    litert_torch.convert(module, args, kwargs).export(output)


if __name__ == "__main__":
    convert(*sys.argv[1:])
