import pytest

from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError
from tdedge_runtimes.operator_times import check_counts, summarise


def test_times_of_every_operator():
    runs = [[("a", False, 3, 10), ("b", True, 0, 4)], [("a", False, 3, 30), ("b", True, 0, 6)]]
    a, b = summarise(runs, ["Conv", "Relu"])
    assert (a.ordinal, a.name, a.delegated, a.node, a.op_type) == (0, "a", False, 3, "Conv")
    assert (a.median_us, a.mean_us, a.min_us, a.max_us) == (20, 20, 10, 30)
    assert (b.ordinal, b.op_type, b.median_us) == (1, "Relu", 5)
    assert summarise(runs)[0].to_json()["op_type"] == ""


@pytest.mark.parametrize("runs", [[[]], [[("a", False, 0, 1)], [("b", False, 0, 1)]]])
def test_no_operators_or_others_in_each_run_are_refused(runs):
    with pytest.raises(RuntimeFailed, match="shows no operators, or others in each run"):
        summarise(runs)


@pytest.mark.parametrize(("threads", "runs", "words"), [(0, 1, "threads is 0"), (1, 1.5, "runs is 1.5")])
def test_counts(threads, runs, words):
    check_counts(1, 1)
    with pytest.raises(RuntimeInputError, match=words):
        check_counts(threads, runs)
