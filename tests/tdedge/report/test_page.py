import re
from html.parser import HTMLParser

import pytest
from support.results import comparison

from tdedge.report.page import page

HOSTILE = "<script>alert(1)</script>\"'&"
STAGES = {"dense": {"params": 1000, "macs": 2_000_000, "flops": 4_000_000, "peak_activation_bytes": 2**20}}
PARITY = [{"target": "openvino", "network": "dense", "max_rel": 3e-7, "sqnr_db": None, "passed": True}]


class Page(HTMLParser):
    """Every tag, every address an attribute loads from, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.loads, self.handlers, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.loads += [
            value
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "data", "action", "srcset")
        ]

    def handle_data(self, data):
        self.text += data


def full(label="small", title="Benchmark") -> str:
    costs = {"dense": {"params": 80, "macs": 400}, label: {"params": 20, "macs": 100}}
    runs = [
        comparison({"dense": 8.0, label: 4.0}, costs, target=target) for target in ("onnxruntime", "openvino")
    ]
    return page(
        title, runs, summary=label, stages=STAGES | {label: STAGES["dense"]}, parity=PARITY,
        layers=[(label, 4000, 1000)],
    )  # fmt: skip


@pytest.mark.parametrize("text", [full(), full(HOSTILE, HOSTILE), page("Nothing", [])])
def test_nothing_is_loaded_and_nothing_runs(text):
    seen = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "img", "base", "form"} & set(seen.tags)
    assert all(address.startswith("#") for address in seen.loads)
    assert seen.handlers == []
    assert "@import" not in text
    assert all(address.startswith("#") for address in re.findall(r"url\(['\"]?([^)'\"]*)", text))


def test_hostile_names_are_text():
    text = full(HOSTILE, HOSTILE)
    assert "<script" not in text.lower()
    seen = Page(text)
    assert seen.tags.count("svg") == 5  # promise, latency twice, memory, layers
    assert seen.text.count("<script>alert(1)</script>") >= 6


def test_names_are_no_formulas():
    assert r"$\frac$" in Page(full(r"a$\frac$")).text


def test_figures_of_the_page():
    seen = Page(full())
    for text in (
        "4.00x",
        "2.00x",
        "1.80 to 2.20",
        "0.50",
        "8.0 MiB",
        "3.0e-07",
        "2.0 M",
        "passed",
        "Some CPU",
    ):
        assert text in seen.text
    assert "other processes" not in seen.text


def test_page_without_comparisons():
    text = page("Costs", [], stages=STAGES, parity=PARITY)
    seen = Page(text)
    assert "svg" not in seen.tags
    assert "Latency" not in seen.text
    assert "2.0 M" in seen.text
    assert "Some CPU" not in seen.text


def test_busy_machine_is_warned_about():
    seen = Page(page("Benchmark", [comparison(quiet=False)]))
    assert "other processes used 40 % of the CPU" in seen.text


def test_without_memory_there_is_no_memory_plot():
    seen = Page(page("Benchmark", [comparison(memory=False)]))
    assert "Memory" not in seen.text
    assert seen.tags.count("svg") == 2


def test_same_runs_give_the_same_page():
    assert full() == full()
