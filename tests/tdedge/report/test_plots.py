import re
from xml.etree import ElementTree

import pytest
from support.results import comparison

from tdedge.report import plots


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]


def bars(svg: str, colour: str) -> int:
    return len(re.findall(f"fill: {colour}", svg))


def test_promise_beside_measurement():
    svg = plots.promised_and_measured([comparison(), comparison(target="openvino")])
    shown = texts(svg)
    assert shown.count("4.00x") == shown.count("2.00x") == 2
    assert {"onnxruntime", "openvino", "promised by MACs", "measured"} <= set(shown)


def test_without_macs_only_the_measurement_is_drawn():
    shown = texts(plots.promised_and_measured([comparison({"a": 4.0, "b": 2.0})]))
    assert "2.00x" in shown
    assert "promised by MACs" not in shown


def test_every_sample_is_a_dot():
    svg = plots.latencies(comparison({"a": 4.0, "b": 2.0, "c": 1.0}))
    for colour, count in ((plots.REFERENCE, 3), (plots.OTHER, 6)):
        uses = re.findall(rf'<use [^>]*style="fill: {colour}', svg)
        assert len(uses) == count
    assert {"4.0 ms", "2.0 ms", "1.0 ms", "a", "b", "c"} <= set(texts(svg))


def test_memory_of_every_network_and_target():
    svg = plots.memory([comparison(), comparison(target="openvino")])
    assert {"onnxruntime: dense", "openvino: small", "8.0", "4.0"} <= set(texts(svg))
    assert (bars(svg, plots.REFERENCE), bars(svg, plots.OTHER)) == (2, 2)


def test_no_memory_no_plot():
    assert plots.memory([comparison(memory=False)]) is None
    assert plots.memory([]) is None


def test_layers_before_and_after():
    shown = texts(plots.layer_macs([("conv1", 8000, 1000), ("conv2", 300, 600)]))
    assert {"conv1", "conv2", "8.0x", "0.5x", "dense", "compressed"} <= set(shown)


@pytest.mark.parametrize("name", ["<b>&\"'", r"$\alpha$", "a_$x$"])
def test_names_are_shown_as_they_are(name):
    run = comparison({name: 4.0, "b": 2.0}, {name: {"macs": 1, "params": 1}, "b": {"macs": 1, "params": 1}})
    assert name in texts(plots.latencies(run))
    assert f"onnxruntime: {name}" in texts(plots.memory([run]))
    assert name in texts(plots.layer_macs([(name, 2, 1)]))
