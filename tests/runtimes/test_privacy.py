"""No runtime writes an identifier or speaks to the network when it is used through this package."""

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
def test_nothing_is_written_and_nobody_is_called(net_for, tmp_path, runtime):
    code = (
        f"{GUARD}\n"
        "from tdedge_runtimes.session import open_session, random_inputs\n"
        f"s = open_session({runtime!r}, {str(net_for(runtime))!r})\n"
        "s.run(random_inputs(s.inputs))\n"
        "loaded = [m for m in sys.modules if m.startswith('openvino_telemetry')]\n"
        "print(opened, loaded)\n"
    )
    done = child(code, tmp_path)
    assert done.stdout == "[] []\n", done.stderr
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    ("runtime", "packages", "line"),
    [
        (
            "onnxruntime",
            ["onnxruntime"],
            "onnxruntime is not installed; install it with: pip install onnxruntime",
        ),
        (
            "openvino",
            ["openvino"],
            "openvino is not installed; install it with: pip install 'tdedge[openvino]'",
        ),
        (
            "tflite",
            ["ai_edge_litert", "tflite_runtime"],
            "ai_edge_litert is not installed; install it with: pip install 'tdedge[tflite]'",
        ),
    ],
)
def test_a_missing_runtime_says_how_to_install_it(net_for, tmp_path, runtime, packages, line):
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({packages!r}))\n"
        "from tdedge_runtimes.session import open_session\n"
        "from tdedge_runtimes.errors import RuntimeMissing\n"
        "try:\n"
        f"    open_session({runtime!r}, {str(net_for(runtime))!r})\n"
        "except RuntimeMissing as error:\n"
        "    print(error.message, error.exit_code, error.package, sep='|')\n"
    )
    assert child(code, tmp_path).stdout == f"{line}|3|{packages[0]}\n"


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


INTERPRETER = """
import sys
sys.path.insert(0, {folder!r})
sys.modules.update(dict.fromkeys({absent!r}))
from tdedge_runtimes.errors import RuntimeMissing
from tdedge_runtimes.privacy import import_tflite
try:
    print(import_tflite().__name__)
except RuntimeMissing as error:
    print(error.message)
"""


def package(folder, name, interpreter):
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("")
    (folder / name / "interpreter.py").write_text(interpreter)


@pytest.mark.parametrize(
    ("absent", "printed"),
    [([], "ai_edge_litert.interpreter"), (["ai_edge_litert"], "tflite_runtime.interpreter")],
)
def test_the_older_package_is_taken_where_only_it_is_installed(tmp_path, absent, printed):
    package(tmp_path, "tflite_runtime", "")
    code = INTERPRETER.format(folder=str(tmp_path), absent=absent)
    assert child(code, tmp_path).stdout == f"{printed}\n"


def test_an_older_package_that_does_not_fit_numpy_says_what_does(tmp_path):
    package(tmp_path, "tflite_runtime", "raise ImportError('numpy.core.multiarray failed to import')\n")
    code = INTERPRETER.format(folder=str(tmp_path), absent=["ai_edge_litert"])
    assert child(code, tmp_path).stdout == (
        "tflite_runtime cannot be imported (numpy.core.multiarray failed to import); "
        "install it with: pip install 'tflite-runtime==2.14.0' 'numpy<2'\n"
    )


def test_a_vendor_package_is_not_run_by_importing_litert(tmp_path):
    (tmp_path / "ai_edge_litert_sdk_intel").mkdir()
    (tmp_path / "ai_edge_litert_sdk_intel" / "__init__.py").write_text("print('the vendor runs')\n")
    code = INTERPRETER.format(folder=str(tmp_path), absent=[]) + "import ai_edge_litert_sdk_intel\n"
    assert child(code, tmp_path).stdout == "ai_edge_litert.interpreter\nthe vendor runs\n"
