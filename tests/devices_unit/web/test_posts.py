"""What pages post: arrays there and back, and everything that is refused."""

import json

import numpy as np
import pytest

from tdedge_devices.web.posts import DTYPES, Failure, Malformed, Model, pack, parse, unpack


def test_arrays_of_every_kind_there_and_back():
    generator = np.random.default_rng(0)
    arrays = {f"é {d}": generator.integers(0, 2, (2, 3, 1)).astype(d) for d in DTYPES}
    arrays["scalar"] = np.float32(3.5).reshape(())
    arrays["empty"] = np.zeros((0, 4), "int64")
    back = unpack(pack(arrays))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)
        assert back[name].shape == array.shape


def body(header, values=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(4, "little") + text + values


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        b"\xff\xff\xff\x7f",
        body(b"[[[["),
        body({"name": "x"}),
        body([{"name": "x", "shape": [1], "dtype": "object"}], b"\0" * 8),
        body([{"name": "x", "shape": [2], "dtype": "float32"}], b"\0" * 7),
        body([{"name": "x", "shape": [2], "dtype": "float32"}], b"\0" * 9),
        body([{"name": "x", "shape": [-1], "dtype": "float32"}], b"\0" * 8),
        body([{"name": "x", "shape": [None], "dtype": "float32"}], b"\0" * 8),
        body([{"name": "x", "shape": [2**31] * 16, "dtype": "float32"}], b"\0" * 8),
        body([{"name": "x", "shape": [1], "dtype": "int8"}] * 2, b"\0" * 2),
        body([{"name": "x", "shape": [0, 2**31], "dtype": "int8", "more": 1}]),
    ],
)
def test_wrong_outputs_are_refused(content):
    with pytest.raises(Malformed):
        unpack(content)


@pytest.mark.parametrize(
    "text", [b"", b"{}", b'{"error": ""}', b'{"error": "x", "wrong": 7}', b'{"error": 3}']
)
def test_wrong_failures_are_refused(text):
    with pytest.raises(Malformed):
        parse(Failure, text)


@pytest.mark.parametrize("sample", ["1e999", "-1", "NaN", '"1"', "null"])
def test_samples_must_be_finite_and_positive(sample):
    text = f"""{{"session": {{"runtime": "tflite", "package": "p", "version": "1", "threads": 1,
        "execution": {{}}}}, "inputs": [], "outputs": [], "load_ms": 1, "samples_ms": [[0.5, {sample}]]}}"""
    with pytest.raises(Malformed, match=r"samples_ms|Invalid JSON"):
        parse(Model, text.encode())
