from support.devices import device, document, operator, profile

from tdedge.report.node_data import documents, node_data
from tdedge.report.results import Results


def test_a_node_has_its_time():
    one = node_data("small", profile(operator(0, "conv1", 900.0), operator(1, "relu", 100.0, "Relu")))
    assert one["name"] == "small, ms (measured)"
    assert one["results"] == {"conv1": {"value": 0.9}, "relu": {"value": 0.1}}
    assert [stop["stop"] for stop in one["gradient"]] == [0, 1]


def test_the_same_node_adds_up():
    one = node_data("small", profile(operator(0, "a", 900.0), operator(1, "a", 100.0)))
    assert one["results"] == {"a": {"value": 1.0}}


def test_nodes_that_onnxruntime_changed_keep_the_name_of_the_file():
    one = node_data(
        "a", profile(operator(0, "conv1_nchwc", 900.0), operator(1, "fused fc", 5.0, "FusedGemm"))
    )
    assert list(one["results"]) == ["conv1", "fc"]


def test_operators_of_tflite_files():
    delegated = {**operator(0, "Convolution", 10.0, ""), "delegated": True}
    plain = {**operator(1, "CUMSUM", 20.0, ""), "node": 7}
    keys = list(node_data("small", profile(delegated, plain))["results"])
    assert keys == ["XNNPACK 0: Convolution", "7"]


def test_a_file_per_network():
    names = [name for name, _ in documents(Results.of(document(**{"pi 5/x": device()})))]
    assert names == ["pi-5-x-onnxruntime-base.json"]
