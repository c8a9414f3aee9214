"""Clips whose frames are tensors of their own."""

import onnx_ir as ir
import pytest
from support.graphs import ops
from support.planning import single

from tdedge_exporters.planner.clips import Clip, frame_by_frame, split
from tdedge_exporters.planner.emitter import Emitter, shape_of


def value(*shape):
    return ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))


def test_a_clip_has_the_shape_of_its_frames_together():
    clip = Clip([value(1, 3, 4, 5), value(1, 3, 4, 5)])
    assert shape_of(clip) == (2, 3, 4, 5)
    assert clip.dtype == ir.DataType.FLOAT


def test_split_gives_frames_and_leaves_a_single_one_alone():
    assert ops(single((3, 2, 4, 4), lambda e, x: e.concat(split(e, x, 0), 0))) == {"Split": 1, "Concat": 1}
    x = value(1, 2, 4, 4)
    assert split(Emitter(), x, 0) == [x]
    assert [shape_of(part) for part in split(Emitter(), value(2, 5, 3), 2)] == [(2, 5, 1)] * 3


def test_frame_by_frame():
    e = Emitter()
    clip = Clip([value(1, 3, 4, 5), value(1, 3, 4, 5)])
    made = frame_by_frame(lambda a, b: e.binary("Add", a, b), clip, clip)
    assert isinstance(made, Clip)
    assert [node.op_type for node in e.nodes] == ["Add", "Add"]
    whole = value(2, 3, 4, 5)
    assert frame_by_frame(lambda x: x, whole) is whole
    with pytest.raises(AssertionError, match="either all"):
        frame_by_frame(lambda a, b: a, clip, whole)
