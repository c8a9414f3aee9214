"""What is particular to LiteRT: names, delegation, refusals, and a clean standard error."""

import random
import subprocess
import sys

import numpy as np
import pytest
from support.tflite_files import Op, Open, conv_bytes, relu_bytes, tflite_bytes, write

from tdedge_runtimes import tflite
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError
from tdedge_runtimes.session import TensorInfo, open_session, random_inputs


def chain(*names, shape=(1, 4), **more):
    """A file of these operators in a row, from "x" to "y"; CUMSUM is one that XNNPACK leaves alone."""
    tensors = {"x": Open(shape), "axis": np.array(1, np.int32)}
    ops = []
    for number, name in enumerate(names):
        before = "x" if number == 0 else f"t{number - 1}"
        after = "y" if number == len(names) - 1 else f"t{number}"
        tensors[after] = Open(shape)
        if name == "CUMSUM":
            ops.append(Op(name, [before, "axis"], [after], "Cumsum"))
        else:
            ops.append(Op(name, [before], [after]))
    return tflite_bytes(tensors, ops, ["x"], ["y"], **more)


def test_names_come_from_the_signature_and_else_from_the_tensors(tmp_path):
    for signature, names in ((True, ("x", "y")), (False, ("in", "out"))):
        path = write(tmp_path / "net.tflite", conv_bytes(8, signature=signature))
        with open_session("tflite", path) as session:
            assert session.inputs == (TensorInfo(names[0], (1, 3, 12, 12), "float32"),)
            assert session.outputs == (TensorInfo(names[1], (1, 4, 5, 5), "float32"),)
            assert list(session.run(random_inputs(session.inputs))) == [names[1]]


def two_ports(signature):
    tensors = {name: Open((2,)) for name in ("b", "a", "sum", "difference")}
    ops = [Op("ADD", ["b", "a"], ["sum"], "Add"), Op("SUB", ["b", "a"], ["difference"], "Sub")]
    return tflite_bytes(tensors, ops, ["b", "a"], ["sum", "difference"], signature)


@pytest.mark.parametrize(
    "signature",
    [None, ({"second": "a", "first": "b"}, {"z": "difference", "more": "sum"})],
    ids=["none", "one"],
)
def test_ports_keep_the_order_of_the_file(tmp_path, signature):
    """A signature lists them in an order of its own."""
    names = ("b", "a", "sum", "difference") if signature is None else ("first", "second", "more", "z")
    with open_session("tflite", write(tmp_path / "net.tflite", two_ports(signature))) as session:
        assert tuple(info.name for info in (*session.inputs, *session.outputs)) == names
        given = {names[0]: np.float32([5, 6]), names[1]: np.float32([1, 2])}
        outputs = session.run(given)
    assert outputs[names[2]].tolist() == [6, 8]
    assert outputs[names[3]].tolist() == [4, 4]


def test_a_signature_of_other_tensors_is_not_used(tmp_path):
    path = write(tmp_path / "net.tflite", two_ports(({"only": "b"}, {"z": "sum"})))
    with open_session("tflite", path) as session:
        assert [info.name for info in session.inputs] == ["b", "a"]


def test_two_names_of_one_output_are_both_given(tmp_path):
    signature = ({"x": "x"}, {"one": "y", "two": "y"})
    data = tflite_bytes(
        {"x": Open((1,)), "y": Open((1,))}, [Op("RELU", ["x"], ["y"])], ["x"], ["y"], signature
    )
    with open_session("tflite", write(tmp_path / "net.tflite", data)) as session:
        outputs = session.run({"x": np.float32([2])})
    assert {name: value.tolist() for name, value in outputs.items()} == {"one": [2], "two": [2]}


def test_names_that_repeat_get_their_place(tmp_path):
    data = two_ports(None).replace(b"difference", b"sum\0\0\0\0\0\0\0")
    with open_session("tflite", write(tmp_path / "net.tflite", data)) as session:
        assert len({info.name for info in session.outputs}) == 2


def test_a_bound_call_gives_its_own_outputs_whatever_ran_between(nets):
    with open_session("tflite", nets / "small.tflite") as session:
        one, two = (random_inputs(session.inputs, seed=seed) for seed in (1, 2))
        expected = {1: session.run(one)["y"], 2: session.run(two)["y"]}
        first, second = session.bind(one), session.bind(two)

        def output():
            return session._interpreter.get_tensor(session._ports_out["y"]["index"])

        for call, want in ((first, 1), (second, 2), (first, 1), (first, 1)):
            call()
            assert np.array_equal(output(), expected[want])
        session.run(two)
        first()
        assert np.array_equal(output(), expected[1])


def test_a_bound_call_only_invokes(nets, monkeypatch):
    with open_session("tflite", nets / "small.tflite") as session:
        call = session.bind(random_inputs(session.inputs))
        monkeypatch.setattr(session, "_set", lambda *_: pytest.fail("inputs were set again"))
        call()
        call()


@pytest.mark.parametrize(
    ("names", "partitions", "builtin", "provider"),
    [
        (["RELU", "TANH"], 1, 0, "XNNPACK"),
        (["RELU", "CUMSUM", "RELU", "CUMSUM", "TANH", "RELU"], 3, 2, "XNNPACK"),
        (["CUMSUM", "CUMSUM"], 0, 2, "built-in kernels"),
    ],
)
def test_what_the_delegate_took_is_described(tmp_path, names, partitions, builtin, provider):
    path = write(tmp_path / "net.tflite", chain(*names))
    with open_session("tflite", path, threads=2) as session:
        described = session.describe()
    execution = described.pop("execution")
    assert described.pop("version")[0].isdigit()
    assert described == {"runtime": "tflite", "package": "ai-edge-litert", "threads": 2}
    assert (execution["delegate_partitions"], execution["builtin_operators"]) == (partitions, builtin)
    assert execution["provider"].startswith(provider)


def test_an_interpreter_that_does_not_list_its_operators():
    for figure in tflite.delegation(object()):
        assert figure["value"] is None
        assert figure["reason"]


def test_bfloat16_is_refused(nets):
    with pytest.raises(RuntimeInputError, match="tflite computes in no bfloat16"):
        open_session("tflite", nets / "small.tflite", precision="bfloat16")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_precision_is_that_of_the_file(tmp_path, nets, dtype):
    """Asking for float16 changes nothing: arithmetic is float32, and the description says so."""
    path = write(tmp_path / "net.tflite", conv_bytes(8, dtype=dtype))
    with open_session("tflite", nets / "small.tflite") as full:
        inputs = random_inputs(full.inputs)
        expected = full.run(inputs)["y"]
    values = []
    for precision in ("float32", "float16"):
        with open_session("tflite", path, precision=precision) as session:
            assert session.describe()["execution"]["precision"].startswith("as in the file")
            values.append(session.run(inputs)["y"])
    assert np.array_equal(*values)
    tolerance = 1e-6 if dtype == "float32" else 2e-3
    assert np.abs(values[0] - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is not a .tflite file"),
        (b"\x1c\0\0\0TFL3", "it is not a .tflite file"),
        (relu_bytes().replace(b"TFL3", b"TFL2"), "bytes 4 to 8 are not 'TFL3'"),
        (relu_bytes()[:200], "is not a valid Flatbuffer"),
        (chain("CUSTOM:FlexErf"), "the runtime has no operator 'FlexErf'; write the file with built-in"),
        (chain("RELU", "CUSTOM:Mine"), "the runtime has no operator 'Mine'"),
    ],
    ids=["empty", "short", "other identifier", "cut", "flex", "custom"],
)
def test_files_that_cannot_run_are_one_line(tmp_path, data, message):
    with pytest.raises(RuntimeInputError) as raised:
        open_session("tflite", write(tmp_path / "bad.tflite", data))
    assert str(raised.value).startswith("tflite cannot load 'bad.tflite': ")
    assert message in raised.value.message
    assert "\n" not in str(raised.value)


def test_ports_that_cannot_be_filled_are_refused(tmp_path):
    with pytest.raises(RuntimeInputError, match=r"'x' has the shape \[\?, 4\]; fix the shape on export"):
        open_session("tflite", write(tmp_path / "open.tflite", chain("RELU", shape=(-1, 4))))
    text = {"x": Open((1,), "string"), "y": Open((1,), "string")}
    data = tflite_bytes(text, [Op("RELU", ["x"], ["y"])], ["x"], ["y"])
    with pytest.raises(RuntimeInputError, match="expected a tensor of numbers"):
        open_session("tflite", write(tmp_path / "text.tflite", data))


def test_a_failure_while_running_is_one_line(tmp_path):
    """A gather whose index lies outside is found only when it runs."""
    tensors = {"x": Open((4,)), "at": Open((1,), "int32"), "y": Open((1,))}
    data = tflite_bytes(tensors, [Op("GATHER", ["x", "at"], ["y"], "Gather")], ["x", "at"], ["y"])
    with open_session("tflite", write(tmp_path / "net.tflite", data)) as session:
        assert session.run({"x": np.float32([1, 2, 3, 4]), "at": np.int32([2])})["y"].tolist() == [3]
        with pytest.raises(RuntimeFailed, match="tflite failed: ") as raised:
            session.run({"x": np.zeros(4, np.float32), "at": np.int32([9])})
    assert "\n" not in str(raised.value)


FUZZ = """
import sys
from tdedge_runtimes.errors import RuntimesError
from tdedge_runtimes.session import open_session, random_inputs
opened = 0
for path in sys.stdin.read().split():
    try:
        with open_session("tflite", path) as session:
            opened += 1
    except RuntimesError as error:
        assert "\\n" not in str(error)
print(opened)
"""


def test_damaged_files_do_not_end_the_process(tmp_path):
    generator, data = random.Random(0), conv_bytes(4)
    paths = []
    for number in range(60):
        damaged = bytearray(data)
        for _ in range(generator.choice([1, 8, 64])):
            damaged[generator.randrange(8, len(damaged))] = generator.randrange(256)
        end = generator.randrange(100, len(data)) if number % 3 == 0 else len(data)
        paths.append(write(tmp_path / f"{number}.tflite", bytes(damaged[:end])))
    done = subprocess.run(
        [sys.executable, "-c", FUZZ],
        input="\n".join(map(str, paths)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < len(paths)


def test_standard_error_stays_clean(nets):
    """XNNPACK's announcement is taken off it; what others write meanwhile arrives."""
    code = (
        "import os\n"
        "from tdedge_runtimes import tflite\n"
        "real = tflite.baseline_model\n"
        "def chatting(suffix):\n"
        "    os.write(2, b'from elsewhere\\n')\n"
        "    return real(suffix)\n"
        "tflite.baseline_model = chatting\n"
        "for _ in range(2):\n"
        f"    tflite.TFLiteSession(tflite.Path({str(nets / 'small.tflite')!r})).close()\n"
        "os.write(2, b'afterwards\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "from elsewhere\nafterwards\n"


def test_a_closed_standard_error_is_no_hindrance(nets):
    code = (
        "import os, sys; os.close(2); sys.stderr = None\n"
        "from tdedge_runtimes.session import open_session\n"
        f"print(open_session('tflite', {str(nets / 'small.tflite')!r}).describe()['runtime'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "tflite\n"
