"""onnx2tf: ``python onnx2tf.py SOURCE.onnx OUTPUT.tflite``, in that package's own environment.

The call is the one its documentation starts with: default options, of which the float32 file is taken;
inputs become channels-last.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

#: The package runs the networks it converts on these images, and downloads them where the file is absent.
_IMAGES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def convert(source: str, output: str) -> None:
    """Convert an ONNX file and keep the float32 one of the files that are made."""
    import numpy as np
    import onnx2tf

    images = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save(Path.cwd() / _IMAGES, images)
    with tempfile.TemporaryDirectory() as folder:
        onnx2tf.convert(input_onnx_file_path=source, output_folder_path=folder, non_verbose=True)
        shutil.copyfile(next(Path(folder).glob("*_float32.tflite")), output)


if __name__ == "__main__":
    convert(*sys.argv[1:])
