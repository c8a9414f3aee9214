import ast
import json
import subprocess
import sys
import zipfile
from io import BytesIO

from tdedge_devices.worker_archive import worker_archive


def test_the_same_sources_make_the_same_bytes():
    first = worker_archive()
    worker_archive.cache_clear()
    assert worker_archive() == first


def test_it_holds_the_worker_and_no_page():
    names = zipfile.ZipFile(BytesIO(worker_archive())).namelist()
    assert {"__main__.py", "tdedge_runtimes/worker.py", "tdedge_runtimes/sampler.py"} <= set(names)
    assert not [name for name in names if "/web/" in name or not name.endswith(".py")]


def test_it_runs_alone(tmp_path):
    path = tmp_path / "worker.pyz"
    path.write_bytes(worker_archive())
    job = json.dumps({"schema_version": 1, "kind": "environment"})
    done = subprocess.run([sys.executable, path], input=job, capture_output=True, text=True, cwd=tmp_path)
    assert json.loads(done.stdout)["environment"]["versions"]["numpy"]


def test_it_asks_for_no_newer_python_than_devices_have():
    """Python 3.10, as on a Jetson: its grammar, and no name of ``typing`` or ``datetime`` that it lacks."""
    archive = zipfile.ZipFile(BytesIO(worker_archive()))
    newer = {"Self", "Never", "assert_never", "LiteralString", "Unpack", "override", "UTC", "StrEnum"}
    for name in set(archive.namelist()) - {"tdedge_runtimes/client.py"}:  # that one stays at home
        tree = ast.parse(archive.read(name), feature_version=(3, 10))
        imports = {
            alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        assert not imports & newer, name
