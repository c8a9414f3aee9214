"""The rules of the folders: who may import whom, and how large a room may be."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "tdedge": ROOT / "tdedge",
    "tdedge_exporters": ROOT / "exporters" / "tdedge_exporters",
    "tdedge_runtimes": ROOT / "runtimes" / "tdedge_runtimes",
    "tdedge_devices": ROOT / "devices" / "tdedge_devices",
}
ALLOWED = {
    "tdedge": {"tdedge"},
    "tdedge_exporters": {"tdedge_exporters", "tdedge", "tdedge_runtimes"},
    "tdedge_runtimes": {"tdedge_runtimes"},
    "tdedge_devices": {"tdedge_devices", "tdedge", "tdedge_runtimes"},
}
FREE = (ROOT / "tdedge" / "cli", ROOT / "tdedge" / "report")
FILES = [(name, path) for name, folder in PACKAGES.items() for path in sorted(folder.rglob("*.py"))]


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_the_packages_are_found():
    assert {name for name, _ in FILES} == set(PACKAGES)
    assert len(FILES) > 40


@pytest.mark.parametrize(("package", "path"), FILES, ids=lambda v: v if isinstance(v, str) else v.stem)
def test_imports_point_one_way(package, path):
    if any(path.is_relative_to(folder) for folder in FREE):
        return
    ours = {name.split(".")[0] for name in imports(path)} & set(PACKAGES)
    assert ours <= ALLOWED[package], f"{path} imports {ours - ALLOWED[package]}"
    assert not any(name.startswith("tdedge.cli") for name in imports(path)), f"{path} imports the cli"


@pytest.mark.parametrize(("package", "path"), FILES, ids=lambda v: v if isinstance(v, str) else v.stem)
def test_rooms_are_small(package, path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{path} has {lines} lines"


def test_core_import_is_instant():
    """``import tdedge`` and ``tdedge --help`` load neither torch, nor onnx, nor a runtime, nor scipy."""
    import subprocess
    import sys

    heavy = ["torch", "onnx", "onnx_ir", "onnxruntime", "openvino", "scipy", "numpy", "pydantic"]
    code = (
        "import sys, tdedge, tdedge.cli.main as m\n"
        "assert m.run(['--help']) == 0\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
