"""Gates, tables and error lines of the comparison with other converters, on figures made up here."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.comparison import FormResult, gates, markdown
from benchmarks.peers.convert import Conversion, Sample, convert, disagreement, failure, laid_out
from benchmarks.peers.environment import environment
from benchmarks.peers.peer import OURS, PEERS, Converter
from benchmarks.tflite import NETWORKS
from tdedge.errors import MissingError
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.memory import baseline_model


def form(network="c3d", name="tucker", rank=3, *, ours=10.0, heap=10.0, peers=None, reasons=None, quiet=True):
    """Latencies in ms and heaps in MiB; ``peers`` name -> (latency, heap), ``reasons`` of those that fail."""
    figures = {OURS: (ours, heap), **(peers or {})}
    made = {peer: Conversion(peer, 2.0, Path("model.tflite"), 1e-6) for peer in figures}
    made |= {peer: Conversion(peer, 3.0, reason=text) for peer, text in (reasons or {}).items()}
    models = {
        peer: {
            "latency": {"median_ms": latency, "mad_ms": 0.1},
            "memory": {"own_heap_bytes": {"value": None if size is None else size * 2**20}},
        }
        for peer, (latency, size) in figures.items()
    }
    ratios = {
        peer: {
            "speedup": {
                "value": ours / latency,
                "low": 0.9 * ours / latency,
                "high": 1.25 * ours / latency,
            }
        }
        for peer, (latency, _) in (peers or {}).items()
    }
    return FormResult(network, name, rank, made, {"models": models, "ratios": ratios, "quiet": quiet})


def test_ratios_are_the_peers_figure_over_ours():
    (other,) = form(ours=10.0, heap=10.0, peers={"p": (30.0, 60.0)}).against()
    assert other.faster == pytest.approx(3.0)
    assert (other.low, other.high) == (pytest.approx(3.0 / 1.25), pytest.approx(3.0 / 0.9))
    assert other.smaller == pytest.approx(6.0)


def test_the_best_peer_is_the_fastest():
    result = form(peers={"slow": (50.0, 60.0), "fast": (30.0, 90.0)})
    assert result.best().peer == "fast"


def test_gates_pass_on_the_worst_form():
    results = [
        form(name="dense", peers={"p": (20.0, 70.0)}),
        form(name="tucker", peers={"p": (26.0, 50.0)}),
        form(name="depthwise", reasons={"p": "no such operator"}),
        form("res2d", "dense", 2, ours=1.0, peers={"p": (0.98, 1.0), "q": (1.1, 1.0)}),
    ]
    assert [gate.passed for gate in gates(results)] == [True, True, True]
    assert gates(results)[0].measured == "2.60x (c3d tucker)"
    assert gates(results)[1].measured == "0.98x (res2d dense)"


@pytest.mark.parametrize(
    ("results", "failing", "text"),
    [
        ([form(peers={"p": (24.0, 60.0)})], 0, "2.40x"),
        ([form("res2d", "cp", 2, ours=1.0, peers={"p": (0.96, 1.0)})], 1, "0.96x"),
        ([form(peers={"p": (40.0, 90.0), "q": (50.0, 49.0)})], 2, "4.90x"),
        ([form(peers={"p": (40.0, None)})], 2, "not measurable: c3d tucker"),
        ([form(heap=0.0, peers={"p": (40.0, 90.0)})], 2, "not measurable: c3d tucker"),
        ([form(reasons={"p": "no"})], 0, "no peer runs"),
        ([], 1, "no peer runs"),
        ([FormResult("c3d", "cp", 3, {}, None)], 0, "our file does not run: c3d cp"),
    ],
)
def test_gates_fail(results, failing, text):
    gate = gates(results)[failing]
    assert not gate.passed
    assert text in gate.measured
    assert gate.line().startswith("FAIL: ")


def test_dense_volumes_have_no_speed_gate():
    results = [form(name="dense", peers={"p": (11.0, 60.0)}), form(peers={"p": (30.0, 60.0)})]
    assert gates(results)[0].passed


def test_the_table_names_every_reason():
    results = [
        form(peers={"p": (30.0, 60.0)}, reasons={"q": "no operator 'A|B'"}, quiet=False),
        FormResult("c3d", "cp", 3, {OURS: Conversion(OURS, 1.0, reason="cannot express X")}, None),
    ]
    text = markdown(results, {"p": 2**31})
    assert "| c3d | tucker | p | 30.00 ms ± 0.10 | 3.00x | 2.40 to 3.33 | 60.0 MiB | 6.00x |" in text
    assert r"does not run: no operator 'A\|B'" in text
    assert "does not run: cannot express X" in text
    assert "more than 6 % of the CPU during runs of: c3d tucker." in text
    assert "| p | 2,048.0 MiB |" in text
    table = text.split("\n\n")[0].splitlines()
    assert len({line.replace(r"\|", "").count("|") for line in table}) == 1


def test_reason_is_the_exception():
    lines = ("W0 noise", "Traceback (most recent call last):", "  File x", "ValueError: it failed:", "Ops: A")
    stderr = "\n".join((*lines, "Details:", "\tmore"))
    assert failure(1, "", stderr) == "ValueError: it failed: Ops: A"
    assert failure(1, "\x1b[31mERROR: bad node\x1b[0m\nbye\n", "W0000 noise\n") == "ERROR: bad node"
    assert failure(3, "", "") == "it ended with code 3 and said nothing"
    assert failure(-9, "", "") == "it was ended by SIGKILL"
    assert len(failure(1, "", f"ValueError: {'x' * 999}")) == 240


def test_layouts():
    values = np.arange(24.0).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(laid_out(values, (1, 2, 3, 4)), values)
    np.testing.assert_array_equal(laid_out(values, [1, 3, 4, 2]), np.transpose(values, (0, 2, 3, 1)))
    with pytest.raises(RuntimesError, match=r"\[1, 5\]"):
        laid_out(values, (1, 5))


def converter(code):
    return Converter("p", ".onnx", (sys.executable, "-c", code))


def test_a_file_that_computes_something_else_does_not_run(tmp_path):
    """The process copies a one-operation file, a ReLU, whatever it is asked for."""
    source = tmp_path / "relu"
    source.write_bytes(baseline_model(".tflite"))
    copy = converter("import shutil, sys; shutil.copy(*sys.argv[1:])")
    right = Sample(np.ones(1, np.float32), np.ones(1, np.float32))
    wrong = Sample(np.ones(1, np.float32), np.full(1, 2, np.float32))
    made = convert(copy, source, tmp_path / "a.tflite", right)
    assert (made.file, made.error, made.reason) == (tmp_path / "a.tflite", 0.0, "")
    assert disagreement(made.file, wrong) == pytest.approx(0.5)
    refused = convert(copy, source, tmp_path / "b.tflite", wrong)
    assert refused.file is None
    assert "differs by 5.0e-01" in refused.reason


@pytest.mark.parametrize(
    ("code", "timeout_s", "reason"),
    [
        ("pass", 60.0, "without an error and without a file"),
        ("raise ValueError('no such node')", 60.0, "ValueError: no such node"),
        ("import time; time.sleep(60)", 0.5, "took longer than 0.5 s"),
        ("import sys; open(sys.argv[2], 'wb').close()", 60.0, "it is not a .tflite file"),
    ],
)
def test_conversions_that_do_not_run(tmp_path, code, timeout_s, reason):
    sample = Sample(np.ones(1, np.float32), np.ones(1, np.float32))
    made = convert(converter(code), tmp_path / "x", tmp_path / "y.tflite", sample, timeout_s=timeout_s)
    assert made.file is None
    assert reason in made.reason


def test_environment_is_made_once_and_again_for_another_list(tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("# nothing\n")
    made = environment("peer", listed, tmp_path / "cache")
    assert made.python.exists()
    assert made.installed_bytes > 0
    mark = made.folder / "mark"
    mark.touch()
    assert environment("peer", listed, tmp_path / "cache") == made
    assert mark.exists()
    listed.write_text("# nothing else\n")
    environment("peer", listed, tmp_path / "cache")
    assert not mark.exists()


def test_environment_that_cannot_be_made(tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{tmp_path / 'absent'}{os.sep}package.whl\n")
    with pytest.raises(MissingError, match=r"environment of peer cannot be made .*ERROR"):
        environment("peer", listed, tmp_path / "cache")


def test_every_peer_has_its_script_and_a_pinned_list():
    folder = Path(sys.modules["benchmarks.peers.peer"].__file__).parent
    for peer in PEERS:
        assert (folder / f"{peer.module}.py").is_file()
        pins = [line for line in (folder / f"{peer.module}.txt").read_text().splitlines() if line[:1] != "#"]
        assert all("==" in line for line in pins)
        name, version = peer.name.split()
        assert f"{name}=={version}" in pins


def test_every_form_has_a_plan_and_a_rank():
    assert {len(network.shape) - 2 for network in NETWORKS} == {2, 3}
    for network in NETWORKS:
        assert [form for form in network.forms if network.plan(form) is None] == ["dense"]
