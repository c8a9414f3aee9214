"""Small models that tell what one candidate, or one conversion between layouts, costs in its place.

A form timed alone also pays for what a runtime does at the borders of a model (reordering into its blocked
layout and back), which inside a network its neighbours have done. So every trial stands between two
*adapters*, pointwise factors of few channels in the layouts the form reads and gives::

    cost(form)  =  T(adapter -> form -> adapter)  -  half of T(adapter -> adapter) on each side

A value that is an input of the network is read without an adapter, as in the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tdedge.factor import Shape
from tdedge_exporters.planner.candidates import Candidate
from tdedge_exporters.planner.clips import Clip, frame_by_frame, split
from tdedge_exporters.planner.emitter import Emitter, shape_of
from tdedge_exporters.planner.layouts import Label, Layout, convert, stored
from tdedge_exporters.planner.units import static_shape

#: Channels outside the adapters.
WIDTH = 16
#: Raised when a form or a conversion writes other nodes than before: its old times are not found again then.
VERSION = 2


@dataclass(frozen=True, eq=False)
class Trial:
    """A model to be timed.

    Attributes:
        key: what identifies its time on one target and machine; JSON.
        build: makes it.
        macs: multiply-accumulates between the adapters: trials of like length are timed together.
    """

    key: dict[str, Any]
    build: Callable[[], ir.Model]
    macs: int = 0

    @property
    def sha256(self) -> str:
        """Short name of the key."""
        return key_sha256(self.key)


def key_sha256(key: Mapping[str, Any]) -> str:
    """Identity of a key."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Port:
    """One end of a trial: a tensor of this logical shape, stored so; ``bare`` where it has no adapter."""

    shape: Shape
    label: Label
    bare: bool = False
    dtype: ir.DataType = ir.DataType.FLOAT

    @classmethod
    def of(cls, value: ir.Value, label: Label, *, bare: bool = False) -> Port:
        """Where ``value`` is read or given."""
        return cls(static_shape(value), label, bare, value.dtype or ir.DataType.FLOAT)

    def key(self) -> list[Any]:
        """JSON."""
        dtype = [] if self.dtype == ir.DataType.FLOAT else [self.dtype.name]
        return [list(self.shape), str(self.label), self.bare, *dtype]


def base_trial(port: Port, opset: int) -> Trial:
    """Adapter to adapter."""

    def build() -> ir.Model:
        return _model([port], port, lambda e, x: x[0], opset)

    return Trial({"trial": "base", "port": port.key()}, build)


def candidate_trial(candidate: Candidate, opset: int) -> tuple[Trial, list[Port]]:
    """The trial of a candidate, and the ports whose bases it contains half of."""
    inputs = [Port.of(value, candidate.reads, bare=value.is_graph_input()) for value in candidate.inputs]
    output = Port.of(candidate.outputs[0], candidate.gives)

    def build() -> ir.Model:
        return _model(inputs, output, lambda e, x: candidate.emit(e, x)[0], opset)

    key = {
        "trial": "form",
        "version": VERSION,
        "ports": [port.key() for port in (*inputs, output)],
        **candidate.key,
    }
    return Trial(key, build, candidate.macs), [port for port in (*inputs, output) if not port.bare]


def conversion_trial(value: ir.Value, source: Label, target: Label, opset: int) -> tuple[Trial, list[Port]]:
    """The trial of storing a value otherwise."""
    shape = static_shape(value)
    given, wanted = Port.of(value, source, bare=value.is_graph_input()), Port.of(value, target)

    def build() -> ir.Model:
        return _model([given], wanted, lambda e, x: convert(e, x[0], shape, source, target), opset)

    key = {"trial": "convert", "version": VERSION, "ports": [given.key(), wanted.key()]}
    return Trial(key, build), [port for port in (given, wanted) if not port.bare]


def _model(
    inputs: Sequence[Port],
    output: Port,
    body: Callable[[Emitter, list[ir.Value]], ir.Value],
    opset: int,
) -> ir.Model:
    e = Emitter()
    given = []
    read = []
    for index, port in enumerate(inputs):
        narrow = port.shape if port.bare else (port.shape[0], WIDTH, *port.shape[2:])
        sizes = stored(narrow, Label(port.label.layout, port.label.zeros if port.bare else 0))
        value = ir.Value(name=f"x{index}", type=ir.TensorType(port.dtype), shape=ir.Shape(sizes))
        given.append(value)
        e.stem = f"in{index}"
        entry = _begin(e, value, port.label.layout)
        read.append(entry if port.bare else _adapter(e, entry, port.label.layout, _channels(port)))
    e.stem = "form"
    made = body(e, read)
    e.stem = "out"
    made = _adapter(e, made, output.label.layout, WIDTH)
    result = e.concat(made.frames, 0) if isinstance(made, Clip) else made
    graph = ir.Graph(
        given,
        [result],
        nodes=e.nodes,
        initializers=list(e.constants.values()),
        opset_imports={"": opset},
        name="trial",
    )
    return ir.Model(graph, ir_version=10)


def _begin(e: Emitter, x: ir.Value, layout: Layout) -> ir.Value:
    """An input as its layout wants it: frames that lie together are cut apart."""
    return Clip(split(e, x, 0)) if layout is Layout.APART else x


def _channels(port: Port) -> int:
    return port.shape[1] + port.label.zeros


def _adapter(e: Emitter, x: ir.Value, layout: Layout, channels: int) -> ir.Value:
    """A pointwise factor to this many channels."""
    sizes = shape_of(x)
    last = layout is Layout.LAST or len(sizes) < 3
    width = sizes[-1] if last else sizes[1]
    weight = np.random.default_rng(0).standard_normal((channels, width)) / np.sqrt(width)
    if last:
        return e.matmul(x, e.constant(weight.T, x))
    kernel = e.constant(weight.reshape(channels, width, *(1,) * (len(sizes) - 2)), x)
    return frame_by_frame(lambda each: e.conv(each, kernel), x)
