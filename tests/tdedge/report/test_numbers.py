import pytest

from tdedge.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (13598, "13,598"),
        (999_999, "999,999"),
        (1_000_000, "1.0 M"),
        (2_632_949_760, "2,632.9 M"),
        (158e9, "158.0 G"),
    ],
)
def test_count(value, text):
    assert numbers.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123 ms"), (1, "1.00 ms"), (41.26, "41.26 ms"), (99.99, "99.99 ms"), (123.44, "123.4 ms")],
)
def test_milliseconds(value, text):
    assert numbers.milliseconds(value) == text


def test_units():
    assert numbers.mebibytes(3 * 2**20) == "3.0 MiB"
    assert numbers.mebibytes(2**40) == "1,048,576.0 MiB"
    assert numbers.ratio(5.987) == "5.99x"
    assert numbers.error(3.14e-7) == "3.1e-07"
    assert numbers.decibel(132.44) == "132.4 dB"


@pytest.mark.parametrize(
    "write", [getattr(numbers, n) for n in ["mebibytes", "ratio", "milliseconds", "error", "decibel"]]
)
def test_no_value_is_a_dash_and_zero_is_not(write):
    assert write(None) == "-"
    assert write(0.0) != "-"
