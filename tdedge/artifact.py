"""The artifact: a folder with the model files of every target, the golden data and a manifest.

The manifest is described by the pydantic models below; ``docs/manifest.schema.json`` is the JSON Schema
they publish (draft 2020-12). Every file is listed with its SHA-256 and size. An artifact appears whole or
not at all: it is written beside its final place and renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tdedge.errors import UsageError

SCHEMA_VERSION: Literal[1] = 1
MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
PLAN = "plan.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(_Part):
    """One file of the artifact."""

    path: str = Field(description="relative to the artifact's folder, with / between parts")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)

    @classmethod
    def of(cls, folder: Path, path: Path) -> FileEntry:
        """The entry of ``path``, which lies inside ``folder``."""
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        return cls(
            path=path.relative_to(folder).as_posix(),
            sha256=digest.hexdigest(),
            size_bytes=path.stat().st_size,
        )


class TensorEntry(_Part):
    """One input or output of the network."""

    name: str
    shape: list[int]
    dtype: str
    layout: str = Field(description="axis letters, such as NCHW or NCDHW; empty where unknown")


class Preprocessing(_Part):
    """What an application does to raw values before the network: ``(value * scale - mean) / std``."""

    scale: float = 1.0
    mean: list[float] = Field(default_factory=list, description="one per channel; empty for 0")
    std: list[float] = Field(default_factory=list, description="one per channel; empty for 1")
    color: str = Field(default="", description="channel order, such as RGB; empty where it does not apply")


class PlanSummary(_Part):
    """How a target came to its forms; the whole plan is in ``plan.json``."""

    effort: str
    threads: int
    kept: Literal["planned", "plain"]
    why: str
    pieces: int = Field(description="parts of the network that are executed as one each")
    not_plain: int = Field(description="those in another form than the network came in")
    kernels: str = Field(
        "",
        description="family of convolution kernels that the file asks for; empty: the runtime's own choice",
    )
    replayed: bool = Field(description="true where an earlier plan was applied again, without measuring")
    plain_ms: float | None = Field(None, description="median latency of the whole network as it came")
    planned_ms: float | None = Field(None, description="the same, planned; interleaved with it")


class TensorQuality(_Part):
    """What rounding did to one tensor of a quantised network, on the calibration data."""

    name: str
    sqnr_db: float | None = Field(
        description="signal over the noise of all roundings up to here; null for none"
    )
    saturated: float = Field(description="share of the values outside the grid")


class QualitySummary(_Part):
    """What 8-bit integers cost on the calibration data; the whole report is in ``quality-TARGET.json``."""

    sqnr_db: float | None = Field(description="of all outputs together, in decibel; null without any noise")
    samples: int = Field(description="that were calibrated on")
    method: str = Field(description="how ranges were found")
    products: int = Field(description="convolutions and matrix products on integers")
    kept: dict[str, str] = Field(description="those that stay float32, and why")
    worst: list[TensorQuality] = Field(description="the noisiest tensors, at most 5")
    equalised: int = Field(0, description="links whose channels share ranges")
    held_out: int = Field(description="samples that the parity of this target was judged on")
    int8_ms: float | None = Field(default=None, description="median latency in the export; null: not timed")
    float32_ms: float | None = Field(default=None, description="of the fastest float32 network beside it")


class IntegerPort(_Part):
    """An input or output that a file has as integers: ``real = (integer - zero_point) * scale``."""

    dtype: Literal["int8", "uint8"]
    scale: float
    zero_point: int


class TargetEntry(_Part):
    """One lowered target with its parity."""

    target: str
    runtime: str
    runtime_version: str
    precision: Literal["float32", "float16", "bfloat16", "int8", "int8-weights"]
    entry: str = Field(description="the file a session opens")
    input_layout: Literal["nchw", "nhwc"] = Field(
        "nchw", description="nhwc: inputs of three axes and more have their channels last in this file"
    )
    notes: list[str] = Field(default_factory=list, description="what a reader should know about the files")
    files: list[FileEntry]
    parity: dict[str, Any] = Field(description="report of the parity check against the captured network")
    plan: PlanSummary | None = Field(None, description="null where the target was not planned")
    quality: QualitySummary | None = Field(None, description="null where activations are floats")
    integers: dict[str, IntegerPort] = Field(
        default_factory=dict, description="inputs and outputs that this file has as integers, by name"
    )


class Manifest(_Part):
    """The content of ``manifest.json``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    tdedge_version: str
    name: str
    network_sha256: str = Field(
        "", description="identity of the exported network; files that carry metadata repeat it"
    )
    source_kind: str
    versions: dict[str, str]
    inputs: list[TensorEntry]
    outputs: list[TensorEntry]
    preprocessing: Preprocessing | None = None
    labels: list[str] | None = None
    golden: FileEntry = Field(description="npz with arrays input.NAME and output.NAME")
    targets: list[TargetEntry]
    plan: FileEntry
    cost: dict[str, Any] = Field(description="parameters, MACs, FLOPs and peak activations per stage")
    compression_error: dict[str, Any] | None = Field(
        description="distance of the compressed network to the dense one; null where nothing was compressed"
    )
    warnings: list[str]


def schema() -> dict[str, Any]:
    """The JSON Schema of the manifest."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "tdedge-manifest-1",
        **Manifest.model_json_schema(),
    }


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write ``manifest.json`` into ``folder``."""
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    return path


def read_manifest(folder: Path, *, check_hashes: bool = True) -> Manifest:
    """The manifest of the artifact in ``folder``.

    Raises:
        UsageError: when there is none, it does not follow the schema, a listed file lies outside the
            folder, is missing, or was changed.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{folder} is no tdedge artifact: cannot read {MANIFEST} ({error.strerror})"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise UsageError(f"{path}: {where}: {first['msg']}; export the network again") from error
    files = [manifest.golden, manifest.plan, *(f for t in manifest.targets for f in t.files)]
    for entry in files:
        _check_file(folder, entry, check_hashes)
    return manifest


@contextlib.contextmanager
def atomic_folder(final: Path, *, force: bool = False) -> Iterator[Path]:
    """A folder to fill that becomes ``final`` when the block ends well, and vanishes otherwise.

    Raises:
        UsageError: when ``final`` exists and ``force`` is not given, when it exists and is no artifact
            of ours, or when its parent cannot be written.
    """
    check_free(final, force=force)
    scratch = _scratch_beside(final)
    try:
        scratch.chmod(0o755)
        yield scratch
        _swap(scratch, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(final: Path, *, force: bool = False) -> Iterator[Path]:
    """A file name to write to that becomes ``final`` when the block ends well, and vanishes otherwise.

    Raises:
        UsageError: when ``final`` exists and ``force`` is not given, or its parent cannot be written.
    """
    if final.is_dir():
        raise UsageError(f"{final} is a folder; choose another --output")
    if final.exists() and not force:
        raise UsageError(f"{final} exists; pass --force to replace it")
    scratch = _scratch_beside(final)
    try:
        part = scratch / final.name
        yield part
        final.parent.mkdir(parents=True, exist_ok=True)
        part.replace(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_free(final: Path, *, force: bool) -> None:
    """Refuse, before any work is done, an output folder that must not be replaced.

    Raises:
        UsageError: see :func:`atomic_folder`.
    """
    if not final.exists():
        return
    if not final.is_dir():
        raise UsageError(f"{final} exists and is no folder; choose another --output")
    if not any(final.iterdir()):
        return
    if not force:
        raise UsageError(f"{final} exists; pass --force to replace it")
    if not (final / MANIFEST).is_file():
        raise UsageError(
            f"{final} is no tdedge artifact (no {MANIFEST}); it is not replaced, remove it by hand"
        )


def _scratch_beside(final: Path) -> Path:
    """A new folder in the nearest ancestor of ``final`` that exists, to be renamed into place later."""
    ancestor = next(path for path in final.absolute().parents if path.exists())
    try:
        return Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=ancestor))
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"cannot write {final}: {reason}; choose another --output") from error


def _swap(scratch: Path, final: Path) -> None:
    """Rename ``scratch`` to ``final``; what stood there is kept until the new one is in place."""
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch.rename(final)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
    final.rename(old / "previous")
    try:
        scratch.rename(final)
    except BaseException:
        (old / "previous").rename(final)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _check_file(folder: Path, entry: FileEntry, check_hash: bool) -> None:
    path = (folder / entry.path).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UsageError(f"{folder / MANIFEST}: file {entry.path!r} lies outside the artifact")
    if not path.is_file():
        raise UsageError(f"{folder}: file {entry.path!r} is missing; export the network again")
    if check_hash and FileEntry.of(folder.resolve(), path) != entry:
        raise UsageError(f"{folder}: file {entry.path!r} was changed since the export (SHA-256 differs)")
