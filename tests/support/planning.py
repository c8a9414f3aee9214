"""Random factors, what they compute in float64, and models that hold nothing but one form."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from support.graphs import run

from tdedge.factor import ACTIVATIONS, Factor, Shape
from tdedge_exporters.planner.emitter import Emitter
from tdedge_exporters.planner.layouts import NATIVE, Label, convert
from tdedge_exporters.planner.offer import Offer

TOLERANCE = 1e-5

SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

#: Axes along which a kernel of each style has one tap, by number of axes.
FLAT = {
    "full": {1: (), 2: (), 3: ()},
    "pointwise": {1: (0,), 2: (0, 1), 3: (0, 1, 2)},
    "temporal": {3: (1, 2)},
    "spatial": {3: (0,)},
}


@st.composite
def factors(draw, axes: int, *, styles=("full", "pointwise", "temporal", "spatial"), groupings=None):
    """(factor, input shape) with at least one output position; any geometry ONNX allows."""
    style = draw(st.sampled_from([style for style in styles if axes in FLAT[style]]))
    grouping = draw(st.sampled_from(groupings or ["dense", "dense", "grouped", "depthwise"]))
    groups = 1 if grouping == "dense" else draw(st.integers(2, 4))
    into, per_group = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    if grouping == "depthwise":
        into = per_group = 1
    taps, stride, dilation, pads, sizes = [], [], [], [], []
    for axis in range(axes):
        flat = axis in FLAT[style][axes]
        rare = draw(st.integers(0, 9)) == 0
        taps.append(1 if flat else draw(st.integers(1, 4)))
        still = flat and not rare
        stride.append(1 if still else draw(st.sampled_from([1, 1, 2, 3])))
        dilation.append(1 if still else draw(st.sampled_from([1, 1, 1, 2, 3])))
        reach = dilation[-1] * (taps[-1] - 1) + 1
        most = 0 if still else reach - 1 if not rare else reach + 2
        pads.append((draw(st.integers(0, most)), draw(st.integers(0, most))))
        sizes.append(max(reach - sum(pads[-1]), 1) + draw(st.integers(0, 6)))
    seed = draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    factor = Factor(
        rng.standard_normal((per_group * groups, into, *taps)).astype(np.float32),
        tuple(stride),
        tuple(pads),
        tuple(dilation),
        groups,
        rng.standard_normal(per_group * groups).astype(np.float32) if draw(st.booleans()) else None,
        draw(st.sampled_from([None, None, *ACTIVATIONS])),
    )
    batch = draw(st.sampled_from([1, 1, 2]))
    return factor, (batch, into * groups, *sizes)


def sample(shape: Shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def apply(factor: Factor, x: np.ndarray) -> np.ndarray:
    """What a factor computes, tap by tap in float64."""
    y = linear(factor, x)
    return {
        None: lambda: y,
        "relu": lambda: np.maximum(y, 0),
        "relu6": lambda: np.clip(y, 0, 6),
        "sigmoid": lambda: 1 / (1 + np.exp(-y)),
        "tanh": lambda: np.tanh(y),
    }[factor.activation]()


def linear(factor: Factor, x: np.ndarray) -> np.ndarray:
    """The factor without its activation."""
    kernel, axes = factor.kernel.astype(np.float64), factor.spatial_rank
    bias = np.zeros(factor.out_channels) if factor.bias is None else factor.bias.astype(np.float64)
    if not axes:
        return x.astype(np.float64) @ kernel.T + bias
    result = factor.output_shape(x.shape)
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *factor.pads])
    x = x.reshape(x.shape[0], factor.groups, -1, *x.shape[2:])
    kernel = kernel.reshape(factor.groups, -1, *kernel.shape[1:])
    y = np.zeros((result[0], factor.groups, kernel.shape[1], *result[2:]))
    for tap in np.ndindex(*factor.kernel_size):
        met = tuple(
            slice(d * t, d * t + s * (o - 1) + 1, s)
            for d, t, s, o in zip(factor.dilation, tap, factor.stride, result[2:], strict=True)
        )
        weights = kernel[(slice(None), slice(None), slice(None), *tap)]
        y += np.einsum("goi,ngi...->ngo...", weights, x[(slice(None),) * 3 + met])
    return y.reshape(result) + bias.reshape(-1, *(1,) * axes)


def single(
    shape: Shape, body: Callable[[Emitter, ir.Value], ir.Value], dtype: ir.DataType = ir.DataType.FLOAT
) -> ir.Model:
    """A model of one input ``x`` of this shape and what ``body`` emits."""
    e = Emitter(["x"])
    x = ir.Value(name="x", type=ir.TensorType(dtype), shape=ir.Shape(shape))
    y = body(e, x)
    graph = ir.Graph(
        [x],
        [y],
        nodes=e.nodes,
        initializers=list(e.constants.values()),
        opset_imports={"": 18},
        name="form",
    )
    return ir.Model(graph, ir_version=10)


def offered(offer: Offer, factor: Factor, shape: Shape) -> ir.Model:
    """The form of an offer between native tensors."""

    def body(e: Emitter, x: ir.Value) -> ir.Value:
        read = convert(e, x, shape, NATIVE, Label(offer.reads))
        made = offer.emit(e, read)
        return convert(e, made, factor.output_shape(shape), Label(offer.gives), NATIVE)

    return single(shape, body)


def check_offers(offers: Sequence[Offer], factor: Factor, shape: Shape) -> None:
    """Every offer computes what the factor does."""
    x = sample(shape)
    for offer in offers:
        (y,) = run(offered(offer, factor, shape), x)
        assert_factor(y, factor, x, offer.form)


def assert_factor(y: np.ndarray, factor: Factor, x: np.ndarray, where: str = "") -> None:
    expected = apply(factor, x)
    scale = max(np.abs(linear(factor, x)).max(), 1e-3)
    assert y.shape == expected.shape, where
    assert np.abs(y - expected).max() <= TOLERANCE * scale, where
