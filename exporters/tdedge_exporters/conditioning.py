"""How far rounding alone moves a network's outputs.

Every result of a convolution or matrix product is multiplied by ``1 + d`` with seeded ``|d| <= u``, the unit
roundoff of the target's precision (2^-24 in float32, 2^-11 in float16, 2^-8 in bfloat16), and the network is
evaluated in float64 again (Monte Carlo arithmetic, Parker 1997). A well-made network moves by a few ``u``.
Where it moves by more than a parity tolerance, no two correct implementations in that precision agree, and a
comparison with either says nothing about the export. (One of ONNX's light models is such a network as it is
shipped: equal logits of 7e9, whose softmax is decided by their last bits.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from tdedge.agreement import Array, Outputs, agree
from tdedge.cost import shape_of
from tdedge_exporters.graph import Names, add_initializer
from tdedge_exporters.reference import Evaluator

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}

_ROUNDED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def rounding_noise(
    model: ir.Model,
    inputs: Sequence[Mapping[str, Array]],
    outputs: Sequence[Outputs],
    precision: str,
) -> dict[str, float]:
    """Largest move of each output under rounding, relative to its scale.

    Args:
        model: the network; unchanged.
        inputs: the input sets.
        outputs: its outputs in float64, one mapping per input set.
        precision: whose rounding.
    """
    evaluator = Evaluator(_with_rounding(model, UNIT_ROUNDOFF[precision]))
    moved = [evaluator.run(feed) for feed in inputs]
    return {
        name: agree(name, [o[name] for o in outputs], [m[name] for m in moved]).max_rel for name in outputs[0]
    }


def _with_rounding(model: ir.Model, unit: float) -> ir.Model:
    """A copy in which every sum of products is followed by a random rounding."""
    copy = model.clone()
    rng = np.random.default_rng(0)
    names = Names(copy.graph)
    for node in list(copy.graph):
        value = node.outputs[0]
        if node.op_type not in _ROUNDED or value.is_graph_output():
            continue
        factors = 1 + unit * rng.uniform(-1, 1, shape_of(value))
        rounding = add_initializer(copy.graph, names.fresh("rounding"), factors)
        product = ir.Node("", "Mul", [value, rounding], num_outputs=1, name=names.fresh("round"))
        product.outputs[0].name = names.fresh("rounded")
        ir.convenience.replace_all_uses_with(value, product.outputs[0])
        product.replace_input_with(0, value)
        copy.graph.insert_after(node, product)
    return copy
