import importlib.metadata

import pytest

from tdedge.cli import doctor


def test_versions_are_those_installed(tdedge):
    done = tdedge("doctor", "--json")
    parts = {part["name"]: part for part in done.document["parts"]}
    assert set(parts) == set(doctor.PARTS)
    for name in ("numpy", "onnxruntime", "openvino"):
        assert parts[name]["version"] == importlib.metadata.version(name)
        assert parts[name]["install"] is None
        assert parts[name]["version"] in done.err


@pytest.mark.parametrize(
    ("extra", "line"), [("openvino", "pip install 'tdedge[openvino]'"), ("", "pip install tdedge")]
)
def test_missing_part_shows_its_install_line(tdedge, monkeypatch, extra, line):
    monkeypatch.setitem(doctor.PARTS, "no-such-distribution", ("a test", extra))
    done = tdedge("doctor")
    assert done.code == 0
    assert f"missing: {line}" in done.out
    part = tdedge("doctor", "--json", "-q").document["parts"][-1]
    assert part == {"name": "no-such-distribution", "purpose": "a test", "version": None, "install": line}


def test_extras_are_those_of_the_package():
    offered = set(importlib.metadata.metadata("tdedge").get_all("Provides-Extra"))
    assert {extra for _, extra in doctor.PARTS.values() if extra} <= offered
