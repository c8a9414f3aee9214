"""The rows and gates of the emulated benchmark; what is counted needs an hour and is not run here."""

from benchmarks.emulated.benchmark import Row, failures, markdown


def row(runtime="tflite", planned_ms=100.0) -> Row:
    return Row(runtime, 900.0, 300.0, planned_ms, 5.99, 3e-6, {"packed": 2, "conv": 1})


def test_ratios_are_to_dense():
    assert (row().plain_ratio, row().planned_ratio) == (3.0, 9.0)


def test_gates_of_each_runtime():
    assert failures([row(), row("onnxruntime", planned_ms=150.0)]) == ()
    (line,) = failures([row(planned_ms=107.0), row("onnxruntime", planned_ms=149.0)])
    assert line == "tflite: planned takes 8.41x fewer instructions than dense; required 8.5x"
    assert len(failures([row("onnxruntime", planned_ms=151.0)])) == 1


def test_the_table_names_what_was_required_and_chosen():
    line = markdown([row()]).splitlines()[-1]
    assert "| 900.0 | 300.0 | 100.0 | 5.99x | 3.00x | 9.00x | 8.5x | 3.0e-06 | 1 conv, 2 packed |" in line
