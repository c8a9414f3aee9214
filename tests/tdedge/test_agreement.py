import math

import numpy as np
import pytest

from tdedge.agreement import SQNR_FLOORS, TOLERANCES, agree, doubts, golden_floor, within


def test_distance_is_relative_to_the_scale():
    one = agree("y", [np.array([1.0, -4.0])], [np.array([1.0, -4.1], np.float32)])
    assert one.max_abs == pytest.approx(0.1, rel=1e-5)
    assert one.max_rel == pytest.approx(0.025, rel=1e-5)
    assert (one.scale, one.reason, one.top1_agreement) == (4.0, "", None)
    assert one.sqnr_db == pytest.approx(10 * math.log10(17 / 0.01), rel=1e-4)


def test_all_input_sets_count_together():
    wanted = [np.array([[1.0, 2.0]]), np.array([[9.0, 3.0]])]
    one = agree("y", wanted, [wanted[0], wanted[1] + np.array([[0.0, 0.9]])])
    assert one.max_rel == pytest.approx(0.1)
    assert one.top1_agreement == 1.0


@pytest.mark.parametrize(
    ("wanted", "got", "words"),
    [
        (np.ones(3), np.ones(2), "shape (2,), expected (3,)"),
        (np.ones(3), np.ones(3, np.int64), "element type int64"),
        (np.ones(3), np.array([1, np.nan, 1]), "1 of 3 values are NaN or infinite"),
        (np.array([1, 2]), np.array([1, 5], np.int32), "1 of 2 integers differ"),
    ],
)
def test_what_cannot_be_equal_has_a_reason(wanted, got, words):
    assert words in agree("y", [wanted], [got]).reason


def test_same_nan_is_no_difference():
    value = np.array([1.0, np.nan, np.inf])
    assert agree("y", [value], [value.astype(np.float32)]).max_rel == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([np.full(4, 1e-9)], "near zero"),
        ([np.full(4, 3.0)], "constant"),
        ([np.array([1.0, 2.0])] * 2, "does not depend on the input"),
        ([np.array([1.0, 2.0]), np.array([2.0, 1.0])], None),
    ],
)
def test_checks_that_prove_nothing_are_told(values, words):
    found = doubts("y", values, TOLERANCES["float32"])
    assert bool(found) == (words is not None)
    assert words is None or words in found[0]


def test_limits_grow_with_the_rounding():
    assert TOLERANCES["float32"] < TOLERANCES["float16"] < TOLERANCES["bfloat16"] < 1
    assert SQNR_FLOORS["int8"] < SQNR_FLOORS["int8-weights"]


def test_an_output_is_within_its_tolerance_or_above_its_floor():
    wanted, got = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.1])
    one = agree("y", [wanted], [got])  # 31.5 dB
    assert within(one, 0.04)
    assert not within(one, 0.03)
    assert not within(one, None)
    assert within(one, None, 31)
    assert not within(one, None, 32)
    assert within(agree("y", [wanted], [wanted]), None, 300)
    assert not within(agree("y", [wanted], [got[:2]]), None, -300)
    integers = agree("y", [np.array([1, 2])], [np.array([1, 3])])
    assert within(integers, None, 20)
    assert not within(integers, 1.0)


def test_the_golden_inputs_are_held_to_the_lower_of_two_figures():
    assert golden_floor("float32", {}) is None
    assert golden_floor("int8", {}) == SQNR_FLOORS["int8"]
    assert golden_floor("int8", {"min_sqnr_db": 30.0}) == 30.0
    assert golden_floor("int8", {"min_sqnr_db": 30.0, "golden_sqnr_db": 40.0}) == 30.0
    assert golden_floor("int8", {"min_sqnr_db": 30.0, "golden_sqnr_db": 29.5}) == 28.5
