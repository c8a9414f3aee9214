import pytest
from support.graphs import Net, assert_close, ops, run

from tdedge_exporters.quantize.exact import for_integers


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 3, 4, 5, 2), (2, 3, 7)])
def test_a_mean_over_all_places_is_a_pooling(shape, keepdims):
    net = Net(*shape)
    axes = net.weight(array=list(range(2, len(shape))))
    net.add("ReduceMean", "x", axes, keepdims=keepdims, name="y")
    model = net.model()
    x = net.sample()
    made = for_integers(model)
    assert "GlobalAveragePool" in ops(made)
    assert "ReduceMean" not in ops(made)
    assert ("Reshape" in ops(made)) is not bool(keepdims)
    assert_close(run(made, x), run(model, x), 1e-6)
    assert ops(model) == {"ReduceMean": 1}


@pytest.mark.parametrize("axes", [[2], [1, 2, 3], [0, 2, 3]])
def test_any_other_mean_stays(axes):
    net = Net(2, 3, 5, 4)
    net.add("ReduceMean", "x", net.weight(array=axes), name="y")
    assert ops(for_integers(net.model())) == {"ReduceMean": 1}
