import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tdedge.errors import UsageError
from tdedge.plan import CompressionPlan, LayerRule
from tdedge.searching.front import check_front, non_dominated, write_front
from tdedge.searching.result import SearchResult, Tried


def tried(number, accuracy, latency_ms):
    rule = LayerRule(format="svd", ranks=(number,)) if number else None
    plan = CompressionPlan(layers={"a": rule} if rule else {})
    return Tried(number, accuracy, latency_ms, 100 - number, 1000 - number, plan)


def result(*figures):
    return SearchResult("search", tuple(tried(i, *pair) for i, pair in enumerate(figures)), {9: "died"}, {})


def figures_of(each):
    return each.accuracy, each.latency_ms


def beats(a, b):
    return a.accuracy >= b.accuracy and a.latency_ms <= b.latency_ms and figures_of(a) != figures_of(b)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=30))
def test_the_front_is_what_no_other_beats(figures):
    everything = result(*figures).tried
    front = non_dominated(everything)
    for each in everything:
        beaten = any(beats(other, each) for other in everything)
        equal = [
            other for other in front if (other.accuracy, other.latency_ms) == (each.accuracy, each.latency_ms)
        ]
        assert len(equal) == (0 if beaten else 1)
    assert [each.latency_ms for each in front] == sorted({each.latency_ms for each in front})


FIGURES = ((0.9, 8.0), (0.8, 3.0), (0.7, 4.0), (0.85, 5.0), (0.85, 5.0))


def test_the_folder_holds_plans_figures_and_a_plot(tmp_path):
    folder = tmp_path / "front"
    content = write_front(folder, result(*FIGURES), kind="measured")
    assert sorted(path.name for path in folder.iterdir()) == [
        *("01.toml", "02.toml", "03.toml"),
        *("front.json", "front.svg"),
    ]
    assert json.loads((folder / "front.json").read_text()) == content
    assert [(row["file"], row["trial"], row["latency_ms"]) for row in content["front"]] == [
        ("01.toml", 1, 3.0),
        ("02.toml", 3, 5.0),
        ("03.toml", 0, 8.0),
    ]
    assert len(content["tried"]) == 5
    assert content["failed"] == {"9": "died"}
    for row in content["front"]:
        assert CompressionPlan.load(folder / row["file"]) == CompressionPlan.model_validate(row["plan"])
    root = ElementTree.fromstring((folder / "front.svg").read_text())
    texts = {"".join(each.itertext()).strip() for each in root.iter() if each.tag.endswith("text")}
    assert {"01", "02", "03", "dense", "accuracy"} <= texts
    assert "04" not in texts


def test_the_same_search_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        write_front(tmp_path / name, result(*FIGURES), kind="measured")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_front_is_replaced_whole_and_only_with_force(tmp_path):
    folder = tmp_path / "front"
    write_front(folder, result(*FIGURES), kind="measured")
    with pytest.raises(UsageError, match="pass --force"):
        write_front(folder, result((1.0, 1.0)), kind="measured")
    write_front(folder, result((1.0, 1.0)), kind="emulated", force=True)
    assert sorted(path.name for path in folder.iterdir()) == ["01.toml", "front.json", "front.svg"]
    assert [path.name for path in tmp_path.iterdir()] == ["front"]


def test_other_folders_are_never_replaced(tmp_path):
    (tmp_path / "front").mkdir()
    check_front(tmp_path / "front", force=False)
    (tmp_path / "front" / "mine.txt").write_text("")
    with pytest.raises(UsageError, match=r"holds no front \(no front.json\)"):
        check_front(tmp_path / "front", force=True)
    with pytest.raises(UsageError, match="is no folder"):
        check_front(tmp_path / "front" / "mine.txt", force=True)


def test_a_write_that_fails_leaves_the_old_front(tmp_path, monkeypatch):
    folder = tmp_path / "front"
    write_front(folder, result(*FIGURES), kind="measured")
    before = (folder / "front.json").read_bytes()

    def full(self, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(CompressionPlan, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_front(folder, result((1.0, 1.0)), kind="measured", force=True)
    assert (folder / "front.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["front"]
