"""Save a compressed network: ``.onnx`` for any source, ``.safetensors`` for a torch module's state."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from tdedge.artifact import atomic_file
from tdedge.errors import UsageError
from tdedge_exporters.prepare import Prepared, Source

NETWORK_SUFFIXES = (".onnx", ".safetensors")
PLAN_SUFFIXES = (".toml", ".json")


def check_savable(path: Path, source: Source | None, *, force: bool) -> None:
    """Refuse an output before any work is done; ``source`` is None for a plan file.

    Raises:
        UsageError: when the suffix is unknown, does not fit the source, or the file exists.
    """
    suffixes = PLAN_SUFFIXES if source is None else NETWORK_SUFFIXES
    if path.suffix not in suffixes:
        raise UsageError(f"{path}: unknown suffix {path.suffix!r}; expected {' or '.join(suffixes)}")
    if path.suffix == ".safetensors" and source is not None and not source.is_module:
        raise UsageError(f"{path}: only a torch module has a state to save; write .onnx instead")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; pass --force to replace it")


def save_network(prepared: Prepared, path: Path, plan_path: Path | None, *, force: bool) -> None:
    """Write the compressed network and, where asked for, the plan with every layer's ranks.

    Raises:
        UsageError: when a file exists or cannot be written.
    """
    with atomic_file(path, force=force) as part:
        if path.suffix == ".safetensors":
            from safetensors.torch import save_model

            save_model(prepared.module, str(part))
        else:
            ir.save(prepared.model, part)
    if plan_path is not None and prepared.plan is not None and prepared.compression is not None:
        with atomic_file(plan_path, force=force) as part:
            prepared.plan.resolved(prepared.compression).save(part)
