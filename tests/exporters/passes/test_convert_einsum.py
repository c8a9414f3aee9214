import pytest
from support.graphs import Net, assert_rewrites, ops, reasons

from tdedge_exporters.passes.convert_einsum import ConvertEinsumPass


class Run:
    def __call__(self, model):
        step = ConvertEinsumPass()
        self.modified = step(model).modified
        self.records = step.records


@pytest.mark.parametrize(
    ("equation", "shape", "weight", "op"),
    [
        ("bcxy,oc->boxy", (2, 4, 6, 7), (5, 4), "Conv"),
        ("bcxy,co->boxy", (2, 4, 6, 7), (4, 5), "Conv"),
        ("bcx, oc -> box", (2, 4, 6), (5, 4), "Conv"),
        ("bcxyz,oc->boxyz", (2, 4, 3, 4, 5), (5, 4), "Conv"),
        ("bc...,oc->bo...", (2, 4, 6, 7), (5, 4), "Conv"),
        ("btc,oc->bto", (2, 3, 4), (5, 4), "MatMul"),
        ("...c,co->...o", (2, 3, 6, 4), (4, 5), "MatMul"),
        ("bc,oc->bo", (2, 4), (5, 4), "Gemm"),
        ("bcxy,c->bcxy", (2, 4, 6, 7), (4,), "Mul"),
    ],
)
@pytest.mark.parametrize("swap", [False, True])
def test_conversions(equation, shape, weight, op, swap):
    net = Net(*shape)
    operands = ["x", net.weight(*weight)]
    if swap:
        left, right = equation.split("->")
        equation = ",".join(reversed(left.split(","))) + "->" + right
        operands.reverse()
    net.add("Einsum", *operands, equation=equation)
    assert ops(assert_rewrites(net, Run())) == {op: 1}


@pytest.mark.parametrize(
    ("equation", "shape", "weight", "reason"),
    [
        ("bcxy,oc->bxyo", (2, 4, 6, 7), (5, 4), "moves axes"),
        ("bcxy,ox->bcoy", (2, 4, 6, 7), (5, 6), "channels on axis 2 of 4"),
        ("bgcx,goc->bgox", (2, 2, 4, 6), (2, 5, 4), "no contraction of one axis with a matrix"),
        ("bcxy,c->bxy", (2, 4, 6, 7), (4,), "no contraction of one axis with a matrix"),
        ("bcxx,oc->box", (2, 4, 6, 6), (5, 4), "takes a diagonal"),
    ],
)
def test_refusals(equation, shape, weight, reason):
    net = Net(*shape)
    net.add("Einsum", "x", net.weight(*weight), equation=equation)
    rewrite = Run()
    assert ops(assert_rewrites(net, rewrite)) == {"Einsum": 1}
    assert reason in reasons(rewrite.records)


def test_two_activations_are_left_alone():
    net = Net(2, 4, 6)
    net.add("Einsum", "x", net.add("Relu", "x"), equation="bcx,bdx->bcd")
    rewrite = Run()
    assert "Einsum" in ops(assert_rewrites(net, rewrite))
    assert "two activations stay" in reasons(rewrite.records)


def test_one_operand_is_left_alone():
    net = Net(2, 4, 6)
    net.add("Einsum", "x", equation="bcx->bxc")
    rewrite = Run()
    assert_rewrites(net, rewrite)
    assert "of 1 operands" in reasons(rewrite.records)
