import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.quantize.grids import Grid
from tdedge_exporters.tflite import peephole
from tdedge_exporters.tflite.order import FIRST
from tdedge_exporters.tflite.program import Tensor
from tdedge_exporters.tflite.spread import is_repetition, spread
from tdedge_exporters.tflite.tensors import TensorOps

WIDE, NARROW = Grid(0.5, 128), Grid(0.25, 0)


def started() -> tuple[TensorOps, Tensor]:
    b = TensorOps()
    return b, Tensor("x", (2, 4), np.dtype(np.float32))


def found(b: TensorOps, **named: tuple[Tensor, Grid]) -> dict[Tensor, Grid]:
    """Grids of the program, where some tensors hold values that have one."""
    peephole.clean(b.program)
    holds = {tensor: (ir.Value(name=name), FIRST) for name, (tensor, _) in named.items()}
    return spread(b.program, holds, b.sources, {name: grid for name, (_, grid) in named.items()})


def test_what_is_moved_keeps_its_grid():
    b, x = started()
    y = b.pad(b.transpose(x, (1, 0)), [(1, 1), (0, 0)])
    z = b.concat([b.slice(y, 0, 0, 2), b.slice(y, 0, 3, 5)], 0)
    b.program.outputs = [("z", z)]
    grids = found(b, x=(x, WIDE))
    made = [tensor for op in b.program.ops for tensor in op.outputs]
    assert len(made) > 5
    assert {grids[tensor] for tensor in made} == {WIDE}


def test_grid_of_the_only_result_goes_backwards():
    b, x = started()
    y = b.unary("EXP", x)
    z = b.slice(b.reshape(y, (8,)), 0, 0, 4)
    b.program.outputs = [("z", z)]
    grids = found(b, z=(z, NARROW))
    assert grids[y] == NARROW
    assert x not in grids


def test_tensor_with_results_on_several_grids_has_none():
    b, x = started()
    y = b.unary("EXP", x)
    first, second = b.slice(y, 1, 0, 2), b.slice(y, 1, 2, 4)
    b.program.outputs = [("one", first), ("two", second)]
    grids = found(b, one=(first, WIDE), two=(second, NARROW))
    assert y not in grids


def test_tensor_that_is_an_output_too_has_none():
    b, x = started()
    y = b.unary("EXP", x)
    z = b.slice(y, 1, 0, 2)
    b.program.outputs = [("y", y), ("z", z)]
    assert y not in found(b, z=(z, NARROW))


def test_view_that_nothing_reads_names_its_source():
    b, x = started()
    y = b.unary("EXP", x)
    view = b.reshape(y, (8,))  # dropped: what reads the view reads its source
    b.program.outputs = [("z", b.unary("EXP", y))]
    assert found(b, view=(view, NARROW))[y] == NARROW


def test_mean_is_in_the_range_of_what_it_reads_but_not_the_reverse():
    b, x = started()
    options = schema.ReducerOptionsT()
    y = b.emit("MEAN", [x, b.integers((1,))], (2, 1), options)
    b.program.outputs = [("y", y)]
    assert found(b, x=(x, WIDE))[y] == WIDE
    assert x not in found(b, y=(y, NARROW))


def test_joined_parts_on_several_grids_give_no_grid():
    b, x = started()
    other = Tensor("other", (2, 4), np.dtype(np.float32))
    y = b.concat([x, other], 1)
    b.program.outputs = [("y", y)]
    grids = found(b, x=(x, WIDE), other=(other, NARROW))
    assert set(grids) & {x, other, y} == {x, other}


def test_repetition_is_a_product_with_ones():
    b, x = started()
    ones = b.binary("MUL", x, b.constant(np.ones(4)))
    b.binary("MUL", ones, b.constant(2.0))
    b.program.outputs = [("y", ones)]
    assert [is_repetition(op) for op in b.program.ops] == [True, False]
    assert found(b, x=(x, WIDE))[ones] == WIDE
