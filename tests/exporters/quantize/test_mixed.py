import onnx_ir as ir
from support.eight_bits import residual, samples

from tdedge_exporters.quantize import mixed
from tdedge_exporters.quantize.quantize import quantize


def test_the_noisiest_products_come_first():
    model = residual()
    weight = model.graph.initializers["w2"]  # of "b": one weight far larger than the others of its channel
    array = weight.const_value.numpy().copy()
    array[:, 0, 0, 0] = 1000.0
    weight.const_value = ir.tensor(array, name="w2")
    feeds = samples(model, 2)
    made = quantize(model, feeds)
    ranked = mixed.noisiest(model, made.grids, feeds)
    assert len(ranked) == 5
    assert [ratio for _, ratio in ranked] == sorted(ratio for _, ratio in ranked)
    assert all(ratio > 10 for _, ratio in ranked)


def test_bisection_keeps_the_fewest():
    ranked = [(name, float(i)) for i, name in enumerate("abcdefgh")]
    asked = []

    def reaches(names):
        asked.append(len(names))
        return 10.0 * len(names)

    assert mixed.keep_for(ranked, reaches, 45) == list("abcde")
    assert len(asked) <= 5
    assert mixed.keep_for(ranked, reaches, 0) == []
    assert mixed.keep_for(ranked, reaches, 1000) == list("abcdefgh")
