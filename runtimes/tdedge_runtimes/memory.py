"""Memory of one model: the peak of a fresh process, and what of it is the model's own.

Peak = VmHWM, the largest resident set the process ever had; anonymous = RssAnon, the part that is not
file-backed, at the end; heap = what the C library's allocator has given out at the end, in its arenas and
in mappings of their own (``mallinfo2``: uordblks + hblkhd), touched or not; PSS = the resident set at the
end in which a page that several processes share counts by its part. Own = the same figure minus
that of a process that did the same with a one-operation model, which removes the interpreter, NumPy and the
runtime's library. The own figure holds weights, activations, the input and output arrays, and, in the peak,
whatever the runtime needed for a moment while it loaded the model.
"""

from __future__ import annotations

import base64
import ctypes
from pathlib import Path

from tdedge_runtimes.figures import Figure, measured, not_measurable

_STATUS = Path("/proc/self/status")
_ROLLUP = "smaps_rollup"  # beside status

#: The name of a memory figure -> its line in /proc/self/status.
FIELDS = {"peak_rss_bytes": "VmHWM", "anonymous_bytes": "RssAnon"}

HEAP = "heap_bytes"
PSS = "pss_bytes"

#: The names of all memory figures.
FIGURES = (*FIELDS, HEAP, PSS)

#: An ONNX model (IR 8, opset 18) of one Relu on a float32 tensor ``x`` of shape [1], to ``y``.
_RELU_ONNX = base64.b64decode(
    "CAg6MwoMCgF4EgF5IgRSZWx1EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQEg=="
)

#: The same model as OpenVINO IR; it has no weights, hence no .bin.
_RELU_IR = b"""<?xml version="1.0"?>
<net name="baseline" version="11">
<layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1" element_type="f32"/>
<output><port id="0" precision="FP32" names="x"><dim>1</dim></port></output></layer>
<layer id="1" name="y" type="ReLU" version="opset1">
<input><port id="0" precision="FP32"><dim>1</dim></port></input>
<output><port id="1" precision="FP32" names="y"><dim>1</dim></port></output></layer>
<layer id="2" name="y/sink_port_0" type="Result" version="opset1" output_names="y">
<input><port id="0" precision="FP32"><dim>1</dim></port></input></layer>
</layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>
<edge from-layer="1" from-port="1" to-layer="2" to-port="0"/></edges>
</net>
"""

#: The same model as a .tflite file, with a signature of these names.
_RELU_TFLITE = base64.b64decode(
    "HAAAAFRGTDMUABgAFAAQAAwAAAAIAAAAAAAEABQAAAAUAAAAjAAAAJgAAABMAQAAAwAAAAEAAAAQAAAAAAAKABAADAAIAAQACgAA"
    "AAwAAAAcAAAAPAAAAA8AAABzZXJ2aW5nX2RlZmF1bHQAAQAAAAwAAAAIAAwACAAEAAgAAAABAAAABAAAAAEAAAB5AAAAAQAAAAwA"
    "AAAAAAYACAAEAAYAAAAEAAAAAQAAAHgAAAABAAAACAAAAAQABAAEAAAAAQAAABAAAAAMABQAEAAMAAgABAAMAAAAEAAAADwAAABA"
    "AAAARAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQACgAAAAgAAAAMAAAAAQAAAAEAAAABAAAAAAAAAAEAAAABAAAAAQAAAAAAAAACAAAA"
    "MAAAAAQAAADk////CAAAAAwAAAABAAAAeQAAAAEAAAABAAAADAAMAAgAAAAAAAQADAAAAAgAAAAMAAAAAQAAAHgAAAABAAAAAQAA"
    "AAEAAAAQAAAADAAMAAsAAAAAAAQADAAAABMAAAAAAAAT"
)

_BASELINES = {".onnx": _RELU_ONNX, ".xml": _RELU_IR, ".tflite": _RELU_TFLITE}


def baseline_suffix(suffix: str) -> str:
    """The suffix of the one-operation model for models with ``suffix``: .xml and .tflite stay, else .onnx."""
    return suffix.lower() if suffix.lower() in _BASELINES else ".onnx"


def baseline_model(suffix: str) -> bytes:
    """The bytes of a one-operation model, read the same way as a model file with this suffix."""
    return _BASELINES[baseline_suffix(suffix)]


def parse_status(text: str, field: str) -> int:
    """Bytes of one field of a /proc/PID/status text.

    Raises:
        ValueError: The field is absent or not in kB.
    """
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == f"{field}:":
            if len(words) != 3 or words[2] != "kB":
                raise ValueError(f"unexpected line {line.strip()!r}")
            return int(words[1]) * 1024
    raise ValueError(f"no line {field}")


def read_memory(status: Path = _STATUS) -> dict[str, Figure]:
    """This process's memory: a figure in bytes, or a reason, per name of ``FIGURES``."""
    return {
        **_read_fields(status, FIELDS),
        HEAP: read_heap(),
        **_read_fields(status.with_name(_ROLLUP), {PSS: "Pss"}),
    }


def _read_fields(path: Path, fields: dict[str, str]) -> dict[str, Figure]:
    try:
        text = path.read_text()
    except OSError:
        reason = f"this system has no readable /proc/self/{path.name}"
        return {name: not_measurable("bytes", reason) for name in fields}
    figures = {}
    for name, field in fields.items():
        try:
            figures[name] = measured(parse_status(text, field), "bytes")
        except ValueError as error:
            figures[name] = not_measurable("bytes", f"/proc/self/{path.name}: {error}")
    return figures


class _MallInfo2(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def read_heap(library: str | None = None) -> Figure:
    """Bytes that this process holds from the C library's allocator: ``uordblks`` + ``hblkhd``.

    Memory that a program maps by itself, as for a file of weights, is not among them. ``library`` is by
    default what the process is linked with; the call exists in the GNU C library from 2.33 on.
    """
    try:
        call = ctypes.CDLL(library).mallinfo2
    except (AttributeError, OSError, TypeError):
        return not_measurable("bytes", "the C library has no mallinfo2 (GNU C library 2.33 or later)")
    call.restype = _MallInfo2
    info = call()
    return measured(int(info.uordblks + info.hblkhd), "bytes")


def own_memory(model: dict[str, Figure], baseline: dict[str, Figure]) -> dict[str, Figure]:
    """The figures of a model, and each of them less the baseline's as ``own_...``.

    A difference may be slightly negative for a model as small as the baseline; it is reported as it is.
    """
    figures = dict(model)
    for name in FIGURES:
        if (mine := model.get(name)) is None:
            continue
        base = baseline.get(name, not_measurable("bytes", "the baseline was not measured"))
        if mine["value"] is None or base["value"] is None:
            reason = mine.get("reason") or base.get("reason")
            figures[f"own_{name}"] = not_measurable("bytes", str(reason))
        else:
            figures[f"own_{name}"] = {**mine, "value": mine["value"] - base["value"]}
    return figures
