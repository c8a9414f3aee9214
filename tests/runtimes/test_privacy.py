"""Neither runtime writes an identifier or speaks to the network when it is used through this package."""

import os
import subprocess
import sys

import pytest

from tdedge_runtimes.session import RUNTIMES

# Sockets of the internet families are refused, which also fails a name look-up that a thread makes.
GUARD = """
import socket, sys
opened = []
real = socket.socket
class Guarded(real):
    def __init__(self, family=-1, *rest, **more):
        if family != socket.AF_UNIX:
            opened.append(family)
        super().__init__(family, *rest, **more)
socket.socket = Guarded
socket.getaddrinfo = lambda *a, **k: opened.append(a) or []
"""


def child(code, home, **extra):
    kept = {key: os.environ[key] for key in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if key in os.environ}
    env = {**kept, "HOME": str(home), **extra}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_nothing_is_written_and_nobody_is_called(nets, tmp_path, runtime):
    code = (
        f"{GUARD}\n"
        "from tdedge_runtimes.session import open_session, random_inputs\n"
        f"s = open_session({runtime!r}, {str(nets / 'small.onnx')!r})\n"
        "s.run(random_inputs(s.inputs))\n"
        "loaded = [m for m in sys.modules if m.startswith('openvino_telemetry')]\n"
        "print(opened, loaded)\n"
    )
    done = child(code, tmp_path)
    assert done.stdout == "[] []\n", done.stderr
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("runtime", "line"),
    [
        ("onnxruntime", "onnxruntime is not installed; install it with: pip install onnxruntime"),
        ("openvino", "openvino is not installed; install it with: pip install 'tdedge[openvino]'"),
    ],
)
def test_a_missing_runtime_says_how_to_install_it(nets, tmp_path, runtime, line):
    code = (
        "import sys\n"
        f"sys.modules[{runtime!r}] = None\n"
        "from tdedge_runtimes.session import open_session\n"
        "from tdedge_runtimes.errors import RuntimeMissing\n"
        "try:\n"
        f"    open_session({runtime!r}, {str(nets / 'small.onnx')!r})\n"
        "except RuntimeMissing as error:\n"
        "    print(error.message, error.exit_code, error.package, sep='|')\n"
    )
    assert child(code, tmp_path).stdout == f"{line}|3|{runtime}\n"


def test_a_broken_runtime_tells_what_broke(nets, tmp_path):
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('libtbb.so.12: no such file')\n")
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tdedge_runtimes.privacy import import_openvino\n"
        "from tdedge_runtimes.errors import RuntimeMissing\n"
        "try:\n"
        "    import_openvino()\n"
        "except RuntimeMissing as error:\n"
        "    print(error.message, 'openvino_telemetry' in sys.modules)\n"
    )
    assert child(code, tmp_path).stdout == (
        "openvino cannot be imported (libtbb.so.12: no such file); "
        "install it with: pip install 'tdedge[openvino]' False\n"
    )
