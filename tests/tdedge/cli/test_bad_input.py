"""Every mistake of a user is one clear line and the documented exit code, and leaves nothing behind.

The commands run as a user runs them: in a process of their own.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[3]


def save_network(path: Path, channels: int = 8, size: int = 16, depth: int = 1) -> Path:
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    before = 3
    for index in range(depth):
        kernel = rng.standard_normal((channels, before, 3, 3)) / np.sqrt(9 * before)
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"w{index}"))
        source = "x" if index == 0 else f"h{index - 1}"
        sink = "y" if index == depth - 1 else f"h{index}"
        nodes.append(helper.make_node("Conv", [source, f"w{index}"], [sink], f"conv{index}", pads=[1] * 4))
        before = channels
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, size, size])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def tdedge(*arguments, cwd, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tdedge.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, **options)


def assert_refused(done: subprocess.CompletedProcess, code: int, *words: str) -> None:
    message = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert message[-1].startswith("tdedge: ")
    for word in words:
        assert word in message[-1]


@pytest.fixture
def net(tmp_path):
    return save_network(tmp_path / "net.onnx")


def test_truncated_onnx(tmp_path, net):
    net.write_bytes(net.read_bytes()[: net.stat().st_size // 2])
    done = tdedge("export", net, "-o", "out", cwd=tmp_path)
    assert_refused(done, 2, "net.onnx")
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_missing_file(tmp_path):
    assert_refused(tdedge("export", "nowhere.onnx", "-o", "out", cwd=tmp_path), 2, "nowhere.onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("location", ["../../secret.bin", "/etc/hostname"])
def test_external_data_outside_the_folder(tmp_path, location):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 8 * 27))
    path = save_network(inner / "net.onnx")
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    done = tdedge("export", path, "-o", "out", cwd=tmp_path)
    assert_refused(done, 2, location)
    assert not (tmp_path / "out").exists()


class Evil:
    """Its pickle would write a file when loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


@pytest.mark.parametrize("as_weights", [False, True])
def test_pickle_is_never_loaded(tmp_path, as_weights):
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Evil()))
    source = ["tdedge.networks.thetis:dense", "--weights", "model.pt"] if as_weights else ["model.pt"]
    assert_refused(tdedge("export", *source, "-o", "out", cwd=tmp_path), 2, "model.pt")
    assert os.listdir(tmp_path) == ["model.pt"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (["--format", "tucker", "--ranks", "magic"], ["magic", "evbmf"]),
        (["--format", "tuker", "--energy", "0.9"], ["tuker", "tucker"]),
        (["--format", "tucker", "--energy", "1.5"], ["1.5"]),
        (["--format", "tucker", "--energy", "0.9", "--rank-ratio", "0.5"], ["--energy", "--rank-ratio"]),
        (["--format", "tucker"], ["--energy"]),
        (["--energy", "0.9"], ["--format"]),
        (["--plan", "none.toml"], ["none.toml"]),
    ],
)
def test_wrong_compression_rule(tmp_path, net, rule, words):
    done = tdedge("compress", net, *rule, "-o", "small.onnx", cwd=tmp_path)
    assert_refused(done, 2, *words)
    assert os.listdir(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[default]\nformat = 'tucker'\nenrgy = 0.9\n", ["plan.toml", "enrgy"]),
        ("[default\n", ["plan.toml"]),
        ("[layers.conv7]\nformat = 'tucker'\nenergy = 0.9\n", ["conv7", "conv0"]),
    ],
)
def test_wrong_plan_file(tmp_path, net, text, words):
    (tmp_path / "plan.toml").write_text(text)
    done = tdedge("compress", net, "--plan", "plan.toml", "-o", "small.onnx", cwd=tmp_path)
    assert_refused(done, 2, *words)
    assert sorted(os.listdir(tmp_path)) == ["net.onnx", "plan.toml"]


def test_wrong_input_shape(tmp_path, net):
    done = tdedge("export", net, "-o", "out", "--input-shape", "x=1,4,16,16", cwd=tmp_path)
    assert_refused(done, 2, "x", "4")
    assert os.listdir(tmp_path) == ["net.onnx"]
    assert_refused(tdedge("export", net, "--input-shape", "x=1,three", cwd=tmp_path), 2, "x=1,three")
    assert_refused(tdedge("export", net, "--input-shape", "z=1,3,16,16", cwd=tmp_path), 2, "z", "x")


def test_wrong_shape_of_given_inputs(tmp_path, net):
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    done = tdedge("export", net, "-o", "out", "--inputs", "in.npz", cwd=tmp_path)
    assert_refused(done, 2, "in.npz", "x")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def small_environment(tmp_path_factory):
    """A real environment that lacks torch and openvino: links to every other installed package."""
    folder = tmp_path_factory.mktemp("site")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(("torch", "openvino", "tensorly_torch", "tltorch")):
            (folder / entry.name).symlink_to(entry)
    paths = [folder, ROOT, *(ROOT / name for name in ("exporters", "runtimes", "devices"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}

    def call(*arguments, cwd):
        command = [sys.executable, "-S", "-m", "tdedge.cli.main", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment)

    return call


def test_missing_extra_prints_the_install_line(tmp_path, net, small_environment):
    done = small_environment("export", net, "-o", "out", "--to", "openvino", cwd=tmp_path)
    assert_refused(done, 3, "pip install 'tdedge[openvino]'")
    done = small_environment("export", "tdedge.networks.thetis:dense", "-o", "out", cwd=tmp_path)
    assert_refused(done, 3, "pip install 'tdedge[")
    done = small_environment(
        "export", "tdedge.networks.thetis:dense", "--to", "onnxruntime", "-o", "out", cwd=tmp_path
    )
    assert_refused(done, 3, "pip install 'tdedge[torch]'")
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_graphs_need_no_torch(tmp_path, net, small_environment):
    done = small_environment(
        *("export", net, "-o", "out", "--to", "onnxruntime", "--effort", "none"),
        *("--format", "tucker", "--rank-ratio", "0.5"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.mark.parametrize("place", ["/proc/tdedge/out", "net.onnx/out"])
def test_unwritable_output(tmp_path, net, place):
    assert_refused(tdedge("export", net, "-o", place, cwd=tmp_path), 2, place)
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_read_only_output_folder(tmp_path, net):
    """For root, whom no mode stops, a folder of the kernel's that takes no files."""
    locked = Path("/proc/self") if os.geteuid() == 0 else tmp_path / "locked"
    if os.geteuid() != 0:
        locked.mkdir(mode=0o555)
    assert_refused(tdedge("export", net, "-o", locked / "out", cwd=tmp_path), 2, str(locked))
    assert not (locked / "out").exists()


def test_existing_output_needs_force(tmp_path, net):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    assert_refused(tdedge("export", net, "-o", "out", cwd=tmp_path), 2, "--force")
    assert_refused(tdedge("export", net, "-o", "out", "--force", cwd=tmp_path), 2, "no tdedge artifact")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_unknown_target_and_option(tmp_path, net):
    assert_refused(tdedge("export", net, "--to", "openvimo", cwd=tmp_path), 2, "openvimo", "openvino")
    assert_refused(tdedge("export", net, "--to", "onnxruntime:int4", cwd=tmp_path), 2, "int4")
    assert_refused(tdedge("export", net, "--colour", cwd=tmp_path), 2, "--colour")
    assert_refused(tdedge("exprot", net, cwd=tmp_path), 2, "exprot")
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_failed_parity_is_a_gate_and_leaves_nothing(tmp_path, net):
    done = tdedge("export", net, "-o", "out", "--tolerance", "1e-12", "--effort", "none", cwd=tmp_path)
    assert_refused(done, 1, "parity", "y")
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_interrupt_in_the_middle(tmp_path, tmp_path_factory):
    """Ctrl-C while the network is planned and its artifact written: exit 130 and no trace of it."""
    save_network(tmp_path / "net.onnx", channels=64, size=96, depth=12)
    command = [sys.executable, "-m", "tdedge.cli.main", "export", "net.onnx", "-o", "out"]
    cache = {**os.environ, "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    process = subprocess.Popen(command, cwd=tmp_path, env=cache, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(name.startswith(".out") for name in os.listdir(tmp_path)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert "Traceback" not in message
    assert message.strip().splitlines()[-1] == "tdedge: interrupted; nothing was left half-written"
    assert os.listdir(tmp_path) == ["net.onnx"]


def test_json_stays_clean_when_notes_are_printed(tmp_path, net):
    done = tdedge("inspect", net, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["network"]["params"] == 8 * 27


def test_settings_file_gives_defaults_and_the_command_line_wins(tmp_path, net):
    (tmp_path / "tdedge.toml").write_text(
        "[export]\nto = 'openvino'\noutput-folder = 'from-file'\neffort = 'none'\n"
    )
    done = tdedge("export", net, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "from-file" / "model.xml").is_file()
    done = tdedge("export", net, "-o", "mine", "--to", "onnxruntime", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "mine" / "model.xml").exists()
    (tmp_path / "tdedge.toml").write_text("to = [")
    assert_refused(tdedge("export", net, cwd=tmp_path), 2, "tdedge.toml")
