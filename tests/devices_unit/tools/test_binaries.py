"""Programs for a device are checked before they go there."""

import hashlib

import pytest

from tdedge.errors import MissingError, UsageError
from tdedge_devices.tools.binaries import Binary


@pytest.fixture
def program(tmp_path):
    (tmp_path / "tool").write_bytes(b"\x7fELF...")
    return tmp_path / "tool"


def test_a_program_with_its_digest(program):
    digest = hashlib.sha256(b"\x7fELF...").hexdigest()
    settings = {"benchmark_model": str(program), "benchmark_model_sha256": digest.upper()}
    assert Binary.of("benchmark_model", settings) == Binary("benchmark_model", program, digest)


def test_none_is_given():
    with pytest.raises(
        MissingError, match=r"needs the program benchmark_model .*set benchmark_model = PATH and"
    ):
        Binary.of("benchmark_model", {})


def test_no_digest_or_another(program):
    with pytest.raises(UsageError, match="expected the SHA-256 of"):
        Binary.of("benchmark_model", {"benchmark_model": str(program)})
    settings = {"benchmark_model": str(program), "benchmark_model_sha256": "ab" * 32}
    with pytest.raises(UsageError, match=r"says abab.*: it is another file"):
        Binary.of("benchmark_model", settings)


def test_no_such_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        Binary.of("benchmark_model", {"benchmark_model": str(tmp_path / "none")})
