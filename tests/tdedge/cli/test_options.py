from pathlib import Path

import pytest

from tdedge.cli import options
from tdedge.errors import UsageError


@pytest.mark.parametrize(
    ("texts", "shapes"),
    [
        (None, {}),
        (["x=1,3,8,8"], {"x": (1, 3, 8, 8)}),
        (["1x3x8x8"], {"": (1, 3, 8, 8)}),
        (["a=b=2", "c = 4"], {"a=b": (2,), "c": (4,)}),
    ],
)
def test_shapes(texts, shapes):
    assert options.parse_shapes(texts) == shapes


@pytest.mark.parametrize("text", ["x=", "x=1,0", "x=1,-3", "x=1.5", "", "x=1,,2"])
def test_wrong_shapes(text):
    with pytest.raises(UsageError, match="expected NAME=1,3,224,224"):
        options.parse_shapes([text])


def plan(plan=None, format_name=None, energy=None, ranks=None, ratio=None, keep=None):
    return options.parse_plan(plan, format_name, energy, ranks, ratio, keep)


def test_plan_of_options():
    assert plan() is None
    made = plan(format_name="cp", ranks="7", keep=["a", "b*"])
    assert (made.default.format, made.default.ranks, made.keep) == ("cp", (7,), ("a", "b*"))
    assert plan(format_name="tt", ranks="evbmf").default.rule == "evbmf"
    assert plan(format_name="tt", energy=0.5).default.energy == 0.5
    assert plan(format_name="tt", ratio=0.5).default.ratio == 0.5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"plan": Path("p.toml"), "format_name": "cp"}, "--plan already says"),
        ({"plan": Path("p.toml"), "keep": ["a"]}, "--plan already says"),
        ({"energy": 0.5}, "--energy needs --format"),
        ({"keep": ["a"]}, "--keep needs --format"),
        ({"format_name": "cp", "energy": 0.5, "ratio": 0.5}, "got --energy, --rank-ratio"),
        ({"format_name": "cp"}, "got none"),
        ({"format_name": "cp", "ranks": "vbmf"}, "vbmf"),
        ({"format_name": "cp", "ranks": "4,x"}, "4,x"),
        ({"format_name": "cp", "ranks": ""}, "rank"),
    ],
)
def test_contradictions(given, words):
    with pytest.raises(UsageError, match=words):
        plan(**given)


def test_source_takes_every_option():
    made = options.source("m:f", Path("w.pt"), ["x=1,2"], [Path("a"), Path("b")], True)
    assert (made.location, made.weights, made.input_shapes) == ("m:f", Path("w.pt"), {"x": (1, 2)})
    assert (made.python_path, made.trust) == ((Path("a"), Path("b")), True)


def test_labels_keep_their_place(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\nkäse\r\n\n  two words \n\n", encoding="utf-8")
    assert options.read_labels(path) == ["", "käse", "", "two words"]
    assert options.read_labels(None) is None


def test_preprocessing(tmp_path):
    path = tmp_path / "pre.json"
    path.write_text('{"mean": [1, 2], "std": [3, 4]}')
    read = options.read_preprocessing(path)
    assert (read.scale, read.mean, read.std, read.color) == (1.0, [1.0, 2.0], [3.0, 4.0], "")
    assert options.read_preprocessing(None) is None
