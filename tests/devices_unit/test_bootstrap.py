"""Which Python of a device is taken; a real new environment is made by tests/devices."""

import json
import sys
from pathlib import Path

import pytest

from tdedge.errors import MissingError, UsageError
from tdedge_devices.bootstrap import PINS, find_python
from tdedge_devices.local import LocalShell

# A stand-in for "python3" that knows these packages, and is no environment.
BARE = f'#!/bin/sh\nexec {sys.executable} -S "$@"\n'


@pytest.fixture
def device(tmp_path):
    """A shell whose only "python3" has no packages."""
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "python3", BARE)
    return LocalShell(tmp_path, {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)


def test_the_versions_are_those_the_tests_run_with():
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    assert {f"{name}=={version}" for name, version in PINS.items()} <= set(lines)


def test_what_is_there_is_taken(device, tmp_path):
    program(tmp_path / "bin" / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert find_python(device, {}) == "python3"
    assert find_python(device, {"runtimes": "onnxruntime, tflite,openvino"}) == "python3"


def test_the_named_one_is_taken_and_no_other(device, tmp_path):
    assert find_python(device, {"python": sys.executable}) == sys.executable
    program(tmp_path / "mine", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert find_python(device, {"python": "~/mine"}) == "./mine"
    with pytest.raises(MissingError, match=r"\(/absent cannot be started\)"):
        find_python(device, {"python": "/absent", "bootstrap": "yes"})


def test_an_environment_of_its_own_comes_first(device, tmp_path):
    own = tmp_path / ".cache/tdedge/venv/bin"
    own.mkdir(parents=True)
    program(own / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert find_python(device, {}) == ".cache/tdedge/venv/bin/python"


def test_the_message_holds_the_lines_to_run(device):
    with pytest.raises(MissingError) as caught:
        find_python(device, {"runtimes": "onnxruntime"}, name="pi5")
    assert caught.value.message == (
        "pi5 has no Python with NumPy and a runtime (python3 has no numpy); run there: "
        "python3 -m venv .cache/tdedge/venv && .cache/tdedge/venv/bin/python -m pip "
        f"install --only-binary :all: numpy=={PINS['numpy']} onnxruntime=={PINS['onnxruntime']} , or set "
        'bootstrap = "yes", or name an interpreter that has them by the setting python'
    )


def test_a_missing_runtime_is_named(device, tmp_path):
    (tmp_path / "site/numpy-2.4.6.dist-info").mkdir(parents=True)
    (tmp_path / "site/numpy-2.4.6.dist-info/METADATA").write_text("Name: numpy\nVersion: 2.4.6\n")
    program(tmp_path / "bin/python3", BARE.replace("exec", f"PYTHONPATH={tmp_path}/site exec"))
    with pytest.raises(MissingError, match="python3 has no onnxruntime and no ai-edge-litert"):
        find_python(device, {"runtimes": "onnxruntime,tflite"})
    with pytest.raises(MissingError, match="python3 has no runtime"):
        find_python(device, {})


@pytest.mark.parametrize(
    ("version", "line"),
    [
        (
            [3, 10],
            r"\(python3 has no numpy\).* install --only-binary :all: numpy onnxruntime ai-edge-litert , or",
        ),
        ([3, 8], r"\(python3 is Python 3\.8; expected 3\.10 or later\)"),
    ],
)
def test_an_older_python(device, tmp_path, version, line):
    """It gets what it can run, as the Python 3.10 of a Jetson does; one that is too old is told so."""
    answer = json.dumps({"python": version, "versions": {}})
    program(tmp_path / "bin" / "python3", f"#!/bin/sh\necho '{answer}'\n")
    with pytest.raises(MissingError, match=line):
        find_python(device, {})


def test_an_installation_that_fails_says_why(device, tmp_path):
    program(tmp_path / "bin" / "python3", '#!/bin/sh\necho "No module named venv" >&2\nexit 1\n')
    with pytest.raises(MissingError, match=r"pi5: python3 -m venv .* failed: No module named venv"):
        find_python(device, {"bootstrap": "yes"}, name="pi5")
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"bootstrap": "true"}, "the setting bootstrap of pi5 is 'true'; expected yes or no"),
        ({"runtimes": "torch"}, "the setting runtimes names 'torch'; expected some of onnxruntime"),
    ],
)
def test_wrong_settings(device, settings, line):
    with pytest.raises(UsageError, match=line):
        find_python(device, settings, name="pi5")
