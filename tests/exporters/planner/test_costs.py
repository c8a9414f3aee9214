"""The measured cost table."""

import sqlite3

import pytest

from tdedge.errors import UsageError
from tdedge_exporters.planner.costs import Cost, CostTable, Place, default_path, open_table

PLACE = Place("onnxruntime", "1.22", "float32", 1, "some processor, 2 cores")
COST = Cost(1.5, 0.25, 12, False)


def test_what_is_put_is_got():
    with open_table(None) as table:
        assert table.get(PLACE, "a") is None
        table.put(PLACE, "a", {"form": "conv"}, COST)
        assert table.get(PLACE, "a") == COST
        table.put(PLACE, "a", {"form": "conv"}, Cost(2.0))
        assert table.get(PLACE, "a") == Cost(2.0)


@pytest.mark.parametrize(
    "other",
    [
        Place("openvino", "1.22", "float32", 1, PLACE.machine),
        Place("onnxruntime", "1.23", "float32", 1, PLACE.machine),
        Place("onnxruntime", "1.22", "float16", 1, PLACE.machine),
        Place("onnxruntime", "1.22", "float32", 2, PLACE.machine),
        Place("onnxruntime", "1.22", "float32", 1, "another"),
    ],
)
def test_every_part_of_the_place_counts(other):
    with open_table(None) as table:
        table.put(PLACE, "a", {}, COST)
        assert table.get(other, "a") is None


def test_file_is_kept(tmp_path):
    path = tmp_path / "cache" / "costs.sqlite"
    for trial in "ab":
        with open_table(path) as table:
            table.put(PLACE, trial, {"form": trial}, COST)
    with open_table(path) as table:
        assert [row["trial"] for row in table.rows()] == ["a", "b"]
        assert table.get(PLACE, "a") == COST


def test_rows_carry_a_table_elsewhere():
    with open_table(None) as first, open_table(None) as second:
        first.put(PLACE, "b", {"shape": [1, 2]}, COST)
        first.put(PLACE, "a", {"form": "conv"}, Cost(3.0))
        rows = list(first.rows())
        assert [(row["trial"], row["key"]) for row in rows] == [
            ("a", {"form": "conv"}),
            ("b", {"shape": [1, 2]}),
        ]
        assert rows[0]["place"]["runtime"] == "onnxruntime"
        second.read_rows(rows)
        assert second.get(PLACE, "b") == COST
        assert second.get(PLACE, "a") == Cost(3.0)


def test_file_of_something_else_is_refused_in_one_line(tmp_path):
    path = tmp_path / "costs.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(UsageError, match=r"costs\.sqlite is no usable cost table") as caught:
        CostTable(path)
    assert path.read_bytes() == b"this is no database" * 100
    assert "\n" not in caught.value.message


def test_table_of_another_form_is_refused(tmp_path):
    path = tmp_path / "costs.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("create table costs (name text)")
    db.close()
    with pytest.raises(UsageError, match="no such column"):
        CostTable(path)


def test_default_is_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "tdedge" / "costs.sqlite"
