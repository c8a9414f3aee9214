"""ONNX's own backend conformance cases, run through capture, clean passes, lowering and LiteRT.

A node case of ``onnx.backend.test`` is run when its graph holds operators of our table and constants only;
no case is chosen or left out by name. The expanded form of a function counts under the function's operator.
Where the graph is refused as it is (every input computed), it is run once more with all inputs after the
first as constants, as a trained network has them. Outputs are compared as ONNX's own runner does: element
type, shape, and values within the case's tolerances.

Cases run in a worker process: a file that brings the runtime down is one failed case.

    cd tests
    python -m support.conformance [--only SUBSTRING] [--write ../docs/tflite-operators.md]
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PASSED, CONSTANT, REFUSED, FAILED = "passed", "passed, parameters constant", "not supported", "failed"
#: A case takes milliseconds; one that takes longer than this hangs.
_PATIENCE_S = 120
_CONSTANTS = {"Constant"}


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        case: its name in ``onnx.backend.test``.
        operator: the operator it is about.
        status: one of the four above.
        reason: the message of a refusal or failure.
    """

    case: str
    operator: str
    status: str
    reason: str = ""


@functools.cache
def outcomes(only: str = "") -> tuple[Outcome, ...]:
    """Outcomes of every case whose name contains ``only``; computed once per process."""
    return tuple(_in_worker(only))


def operators() -> list[str]:
    """Operators of our table, in alphabetical order."""
    from tdedge_exporters.tflite.ops.table import OPS

    return sorted(OPS)


# The worker


@functools.cache
def _cases() -> dict[str, tuple[Any, str]]:
    """Name -> (case, operator it is about), for the cases that our table covers."""
    from onnx.backend.test.loader import load_model_tests

    from tdedge_exporters.tflite.ops.table import OPS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = {case.name: case for case in load_model_tests(kind="node")}
    found = {}
    for name, case in sorted(every.items()):
        nodes = case.model.graph.node
        about = every.get(name.split("_expanded")[0], case).model.graph.node[0].op_type
        if {(n.domain, n.op_type) for n in nodes} <= {("", op) for op in {*OPS, *_CONSTANTS}}:
            found[name] = case, about
    return found


def _serve(pipe: Any) -> None:
    """Run the cases that are asked for by name, until None is."""
    pipe.send([(name, about) for name, (_, about) in _cases().items()])
    while (name := pipe.recv()) is not None:
        pipe.send(_outcome(name))


def _outcome(name: str) -> Outcome:
    case, about = _cases()[name]
    status, reason = _run(case, case.model)
    if status == REFUSED and len(case.model.graph.input) > 1:
        again, why = _run(case, _with_parameters(case))
        status, reason = (CONSTANT, "") if again == PASSED else (again, why)
    return Outcome(name, about, status, reason)


def _run(case: Any, proto: Any) -> tuple[str, str]:
    from tdedge.errors import TdedgeError

    try:
        for inputs, outputs in case.data_sets:
            feed = dict(zip(_names(case.model.graph.input), map(_array, inputs), strict=True))
            _compare(case, proto, feed, map(_array, outputs))
    except TdedgeError as error:
        # A file that the runtime does not load was written wrong: nothing refused it by name.
        return (FAILED if "LiteRT refuses" in error.message else REFUSED), error.message
    except AssertionError as error:
        return FAILED, " ".join(str(error).split())[:300] or "an assertion"
    except Exception as error:
        return FAILED, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return PASSED, ""


def _compare(case: Any, proto: Any, feed: dict[str, Any], outputs: Iterable[Any]) -> None:
    from ai_edge_litert.interpreter import Interpreter

    from tdedge_exporters.capture import capture
    from tdedge_exporters.export import rewrite
    from tdedge_exporters.tflite.target import lower

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "case.onnx")
        source.write_bytes(_within_reach(proto).SerializeToString())
        model, _ = rewrite(capture(source).model)
        interpreter = Interpreter(str(lower(model, Path(folder), "float32").entry), num_threads=1)
        interpreter.allocate_tensors()
        run = interpreter.get_signature_runner()
        got = run(**{name: feed[name] for name in run.get_input_details()})
    names = _names(proto.graph.output)
    for name, expected in zip(names, outputs, strict=True):
        assert got[name].dtype == expected.dtype, f"{name}: {got[name].dtype}, expected {expected.dtype}"
        assert got[name].shape == expected.shape, f"{name}: {got[name].shape}, expected {expected.shape}"
        np.testing.assert_allclose(got[name], expected, rtol=case.rtol, atol=case.atol)


def _array(data: Any) -> Any:
    """An element of a data set, which holds arrays and ONNX's own tensors."""
    import onnx

    return onnx.numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data


def _names(values: Iterable[Any]) -> list[str]:
    return [value.name for value in values]


def _within_reach(proto: Any) -> Any:
    """The same graph under the newest operator set we read, where it is valid there too."""
    import onnx

    from tdedge_exporters.safe_onnx import MAX_OPSET

    made = onnx.ModelProto()
    made.CopyFrom(proto)
    for entry in made.opset_import:
        if entry.domain == "" and entry.version > MAX_OPSET:
            entry.version = MAX_OPSET
    try:
        onnx.checker.check_model(made, full_check=True)
    except Exception:
        return proto
    return made


def _with_parameters(case: Any) -> Any:
    """The case with its inputs after the first as initializers."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(case.model)
    inputs, _ = case.data_sets[0]
    for value, array in list(zip(made.graph.input, map(_array, inputs), strict=True))[1:]:
        if isinstance(array, np.ndarray | np.generic) and array.dtype.kind != "O":
            made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), value.name))
            made.graph.input.remove(value)
    return made


# The process that asks


def _in_worker(only: str) -> Iterator[Outcome]:
    worker, pipe, names = _start()
    for name, about in names:
        if only not in name:
            continue
        pipe.send(name)
        try:
            if pipe.poll(_PATIENCE_S):
                yield pipe.recv()
                continue
            worker.kill()
            why = f"took more than {_PATIENCE_S} s"
        except (EOFError, ConnectionResetError):
            worker.join()
            why = f"the process ended with exit code {worker.exitcode}"
        yield Outcome(name, about, FAILED, why)
        worker, pipe, _ = _start()
    pipe.send(None)
    worker.join()


def _start() -> tuple[Any, Any, list[tuple[str, str]]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=_serve, args=(theirs,), daemon=True)
    worker.start()
    theirs.close()
    return worker, ours, ours.recv()


# Reports


def summary(found: Iterable[Outcome]) -> str:
    """One line: how many of which status."""
    found = list(found)
    counts = Counter(outcome.status for outcome in found)
    parts = ", ".join(f"{counts[status]} {status}" for status in (PASSED, CONSTANT, REFUSED, FAILED))
    return f"{len(found)} ONNX conformance cases: {parts}"


def page(found: Iterable[Outcome]) -> str:
    """The Markdown page of operators: counts of each, and why a case is not supported."""
    found = list(found)
    lines = [
        "# Operators of the TensorFlow Lite target",
        "",
        f"ONNX's own backend tests (`onnx.backend.test`, node cases), run by LiteRT. {summary(found)}.",
        "*Constant* counts cases that pass once the inputs after the first are constants, as parameters are;",
        "the others pass with every input computed at run time. An expanded function counts as the function.",
        "A network that needs something else is refused with one line that names the node and the reason.",
        "",
        "| operator | passed | constant | not supported |",
        "|---|---|---|---|",
    ]
    for operator in sorted({outcome.operator for outcome in found} | set(operators())):
        counts = Counter(outcome.status for outcome in found if outcome.operator == operator)
        lines.append(f"| {operator} | {counts[PASSED]} | {counts[CONSTANT]} | {counts[REFUSED]} |")
    lines += ["", "## Not supported", ""]
    reasons: dict[str, Counter[str]] = {}
    for outcome in found:
        if outcome.status == REFUSED:
            reasons.setdefault(_general(outcome.reason), Counter())[outcome.operator] += 1
    for why, counts in sorted(reasons.items()):
        lines.append(f"- {why}: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
    return "\n".join(lines) + "\n"


def _general(reason: str) -> str:
    """A reason without the names and types of one case, its folder and the standing advice."""
    reason = re.sub(r"^tflite: node '[^']*' \(\w+\): ", "", reason)
    reason = re.sub(r"\S*/case\.onnx", "the file", reason)
    reason = re.sub(r"\b(element type|casts to) \w+", r"\1 ...", reason)
    reason = re.sub(r"\b(constant|input|node|output|tensor|value) '[^']*'", r"\1", reason)
    return re.sub(r"; (\w+ the layer, )?or leave tflite out of --to$", "", reason).removeprefix("tflite: ")


def main(arguments: list[str]) -> int:
    """Run the cases and print what became of them; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="support.conformance", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--write", type=Path, help="write the page of operators")
    options = parser.parse_args(arguments)
    found = outcomes(options.only)
    for operator in sorted({outcome.operator for outcome in found}):
        print(operator, "-", summary(o for o in found if o.operator == operator))
    for status in (REFUSED, FAILED):
        for outcome in found:
            if outcome.status == status:
                print(f"{status}: {outcome.case} ({outcome.operator}): {outcome.reason}")
    print(summary(found))
    if options.write is not None:
        options.write.write_text(page(found), encoding="utf-8")
    return int(any(outcome.status == FAILED for outcome in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
