"""Plans: files, rules by name, mistakes."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tdedge import formats
from tdedge.compress import CompressionReport, LayerReport
from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan, LayerRule, make_plan

TOML = """
keep = ["head.*"]
[layers.stem]
format = "svd"
ranks = [8]
[layers."block*.conv?"]
format = "ht2"
energy = 0.95
[layers."*.cell"]
format = "ntt"
rule = "evbmf"
init = "scratch"
[default]
format = "tucker"
ratio = 0.5
"""


def write(folder, text, name="plan.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def mistake(path):
    with pytest.raises(UsageError) as caught:
        CompressionPlan.load(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
    return str(caught.value)


def test_a_toml_plan(tmp_path):
    plan = CompressionPlan.load(write(tmp_path, TOML))
    assert plan.keep == ("head.*",)
    assert plan.layers["stem"] == LayerRule(format="svd", ranks=(8,))
    assert plan.layers["block*.conv?"].energy == 0.95
    assert plan.layers["*.cell"].init == "scratch"
    assert plan.default == LayerRule(format="tucker", ratio=0.5)


def test_a_json_plan(tmp_path):
    content = {"version": 1, "layers": {"a.b": {"format": "cp", "ranks": [4]}}}
    plan = CompressionPlan.load(write(tmp_path, json.dumps(content), "plan.json"))
    assert plan.layers == {"a.b": LayerRule(format="cp", ranks=(4,))}
    assert plan.default is None


def test_rules_by_name(tmp_path):
    plan = CompressionPlan.load(write(tmp_path, TOML))
    rules = {name: plan.rule_for(name) for name in ("stem", "block1.conv2", "x.cell", "head.fc", "other")}
    formats_by_name = {name: rule.format if rule else None for name, rule in rules.items()}
    assert formats_by_name == {
        "stem": "svd", "block1.conv2": "ht2", "x.cell": "ntt", "head.fc": None, "other": "tucker",
    }  # fmt: skip


def test_the_first_matching_rule_counts_and_keep_wins():
    rules = {"conv*": LayerRule(format="svd", energy=0.9), "conv1": LayerRule(format="cp", energy=0.9)}
    plan = CompressionPlan(layers=rules, keep=("conv2",))
    assert plan.rule_for("conv1").format == "svd"
    assert plan.rule_for("conv2") is None
    assert plan.rule_for("Conv1") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[default]\nformat = 'tuker'\nenergy = 0.9\n", ["default.format", "tuker", "'tucker'", "ht2"]),
        ("[default]\nformat = 'tucker'\nenrgy = 0.9\n", ["default.enrgy", "'energy'", "ranks"]),
        ("[layers.conv1]\nformat = 'tucker'\nenergy = 1.5\n", ["layers.conv1.energy", "1.5", "less than 1"]),
        ("[default]\nformat = 'tucker'\nratio = 0.0\n", ["default.ratio", "0.0", "greater than 0"]),
        ("[default]\nformat = 'tucker'\nrule = 'magic'\n", ["default.rule", "magic", "evbmf"]),
        ("[default]\nformat = 'tucker'\nranks = [2, 0]\n", ["default.ranks.1", "0", "greater"]),
        ("[default]\nformat = 'tucker'\nranks = [2, 1.5]\n", ["default.ranks.1", "1.5", "integer"]),
        ("[default]\nformat = 'tucker'\nranks = []\n", ["default.ranks", "at least 1"]),
        (
            "[default]\nformat = 'tucker'\n",
            ["default", "exactly one of ranks, energy, ratio, rule", "none"],
        ),
        ("[default]\nformat = 'cp'\nenergy = 0.9\nratio = 0.5\n", ["default", "energy and ratio"]),
        ("[default]\nenergy = 0.9\n", ["default.format", "missing", "tucker"]),
        ("[default]\nformat = 'cp'\nenergy = 0.9\ninit = 'zeros'\n", ["default.init", "zeros", "scratch"]),
        ("kep = ['a']\n", ["kep", "'keep'"]),
        ("keep = 'conv1'\n", ["keep", "conv1"]),
        ("version = 2\n", ["version", "2", "1"]),
        ("layers = 3\n", ["layers", "3"]),
        ("[default\n", ["TOML", "line 1"]),
        ("a = 1\na = 2\n", ["TOML"]),
    ],
)
def test_mistakes_in_a_file(tmp_path, text, words):
    message = mistake(write(tmp_path, text))
    assert [word for word in words if word not in message] == [], message


def test_several_mistakes_are_counted(tmp_path):
    text = "[default]\nformat = 'tuker'\nenergy = 2.0\n"
    assert "1 more mistake" in mistake(write(tmp_path, text))


def test_files_that_are_no_plan(tmp_path):
    assert "JSON" in mistake(write(tmp_path, "{", "plan.json"))
    assert "dictionary" in mistake(write(tmp_path, "[1]", "plan.json"))
    assert ".toml or .json" in mistake(write(tmp_path, "", "plan.yaml"))
    assert "No such file" in mistake(tmp_path / "nowhere.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    assert "TOML" in mistake(tmp_path / "bytes.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "directory" in mistake(tmp_path / "folder.toml")


def test_a_rule_made_in_python_is_checked():
    for values in [{"format": "tuker", "energy": 0.9}, {"format": "cp"}, {"format": "cp", "ranks": (True,)}]:
        with pytest.raises(ValidationError):
            LayerRule(**values)


def test_make_plan():
    plan = make_plan("cp", ranks=[4], keep=["a", "b*"])
    assert plan == CompressionPlan(keep=("a", "b*"), default=LayerRule(format="cp", ranks=(4,)))
    assert make_plan("tucker", rule="evbmf").default.rule == "evbmf"
    for arguments, words in [
        ({"energy": 1.5}, ["1.5"]),
        ({"rule": "magic"}, ["magic", "evbmf"]),
        ({}, ["exactly one"]),
        ({"energy": 0.9, "ratio": 0.5}, ["energy and ratio"]),
    ]:
        with pytest.raises(UsageError) as caught:
            make_plan("tucker", **arguments)
        assert all(word in str(caught.value) for word in words)
    with pytest.raises(UsageError, match="'tucker'"):
        make_plan("tuker", energy=0.9)


def test_keys_that_match_no_layer():
    names = ["stem.conv", "block.conv1", "block.conv2"]
    rule = LayerRule(format="svd", energy=0.9)
    CompressionPlan(layers={"block.*": rule}, keep=("stem.conv",)).check_names(names)
    for plan in (CompressionPlan(layers={"block.conv3": rule}), CompressionPlan(keep=("block.conv3",))):
        with pytest.raises(UsageError, match=r"block\.conv3.*block\.conv[12]"):
            plan.check_names(names)
    with pytest.raises(UsageError, match=r"zzz.*layers are: stem\.conv"):
        CompressionPlan(layers={"zzz": rule}).check_names(names)


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_saved_plans_load_equal(tmp_path, suffix):
    plan = CompressionPlan.load(write(tmp_path, TOML))
    path = tmp_path / f"saved{suffix}"
    plan.save(path)
    loaded = CompressionPlan.load(path)
    assert loaded == plan
    assert list(loaded.layers) == list(plan.layers)
    with pytest.raises(UsageError, match=r"\.toml or \.json"):
        plan.save(tmp_path / "plan.yml")


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=0, max_size=12)
ranks = st.one_of(
    st.lists(st.integers(1, 2**40), min_size=1, max_size=5).map(lambda r: {"ranks": tuple(r)}),
    st.floats(0, 1, exclude_min=True, exclude_max=True).map(lambda e: {"energy": e}),
    st.floats(0, 1, exclude_min=True).map(lambda r: {"ratio": r}),
    st.just({"rule": "evbmf"}),
)
rules = st.builds(
    lambda name, way, init: LayerRule(format=name, init=init, **way),
    st.sampled_from(list(formats.FORMATS)),
    ranks,
    st.sampled_from(["decompose", "scratch"]),
)
plans = st.builds(
    lambda keep, layers, default: CompressionPlan(keep=keep, layers=layers, default=default),
    st.lists(names, max_size=3).map(tuple),
    st.dictionaries(names, rules, max_size=4),
    st.none() | rules,
)


@given(plans)
def test_any_plan_survives_both_files(tmp_path_factory, plan):
    folder = tmp_path_factory.getbasetemp()
    for path in (folder / "any.toml", folder / "any.json"):
        plan.save(path)
        loaded = CompressionPlan.load(path)
        assert loaded == plan
        assert list(loaded.layers) == list(plan.layers)


def test_resolved_plans_name_every_decomposed_layer_and_escape_globs():
    def row(name, status, format=None, ranks=None, init="decompose"):
        return LayerReport(name, status, format, ranks, 1, 1, 1, 1, 1, 1, None, "", init)

    report = CompressionReport((
        row("a[0]", "decomposed", "tucker", (2, 3)),
        row("a0", "kept"),
        row("b", "decomposed", "ntt", (4,), "scratch"),
    ))  # fmt: skip
    plan = make_plan("tucker", energy=0.9, keep=["head"]).resolved(report)
    assert plan.default is None
    assert plan.keep == ("head",)
    assert plan.rule_for("a[0]") == LayerRule(format="tucker", ranks=(2, 3))
    assert plan.rule_for("a0") is None
    assert plan.rule_for("b") == LayerRule(format="ntt", ranks=(4,), init="scratch")


def test_plans_need_no_torch():
    code = "import sys, tdedge.plan, tdedge.compress; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
