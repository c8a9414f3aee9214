"""What layers of a network see and say: captured by hooks, without gradients, in evaluation mode."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tdedge.errors import UsageError

#: One batch: the positional arguments of the network.
Batch = tuple[Tensor, ...]


def batches(calibration: Tensor | Sequence[Tensor], size: int) -> list[Batch]:
    """Calibration data, one tensor or the network's positional arguments, in batches of ``size``.

    Raises:
        UsageError: when there are no samples, or the arguments have different numbers of them.
    """
    inputs = (calibration,) if isinstance(calibration, Tensor) else tuple(calibration)
    if size < 1:
        raise UsageError(f"batch_size {size!r}; expected at least 1")
    counts = [len(x) if x.dim() else 0 for x in inputs]
    if not counts or min(counts) == 0 or len(set(counts)) > 1:
        raise UsageError(f"calibration data of {counts} samples; expected at least 1, as many per input")
    return list(zip(*(torch.split(x, size) for x in inputs), strict=True))


def to_device_of(module: nn.Module, batch: Batch) -> Batch:
    """The batch where the module's parameters are."""
    parameter = next(module.parameters(), None)
    return batch if parameter is None else tuple(x.to(parameter.device) for x in batch)


def calls(module: nn.Module, layers: Mapping[str, nn.Module], batch: Batch) -> dict[str, int]:
    """How often each layer is called in a forward pass, in the order of their first calls.

    Layers that are not called are left out.
    """
    counts: dict[str, int] = {}

    def note(name: str) -> None:
        counts[name] = counts.get(name, 0) + 1

    handles = [
        layer.register_forward_pre_hook(lambda *_, name=name: note(name)) for name, layer in layers.items()
    ]
    try:
        module(*to_device_of(module, batch))
    finally:
        for handle in handles:
            handle.remove()
    return counts


def inputs_of(module: nn.Module, layer: nn.Module, batch: Batch, count: int) -> list[Tensor]:
    """Inputs of the first ``count`` calls of ``layer``; the forward pass stops there."""
    seen: list[Tensor] = []

    def note(_: nn.Module, arguments: Batch, keywords: dict[str, Tensor]) -> None:
        x = arguments[0] if arguments else next(iter(keywords.values()))
        seen.append(x if len(seen) == count - 1 else x.clone())  # what follows may work in place
        if len(seen) == count:
            raise _Enough

    handle = layer.register_forward_pre_hook(note, with_kwargs=True)
    return _run(module, batch, handle, seen)


def outputs_of(module: nn.Module, layer: nn.Module, batch: Batch, count: int) -> list[Tensor]:
    """Outputs of the first ``count`` calls of ``layer``; the forward pass stops there."""
    seen: list[Tensor] = []

    def note(_: nn.Module, __: Batch, output: Tensor) -> None:
        seen.append(output if len(seen) == count - 1 else output.clone())  # what follows may work in place
        if len(seen) == count:
            raise _Enough

    return _run(module, batch, layer.register_forward_hook(note), seen)


class _Enough(BaseException):
    """Ends a forward pass when all that was wanted is there; no network catches it."""


def _run(
    module: nn.Module, batch: Batch, handle: torch.utils.hooks.RemovableHandle, seen: list[Tensor]
) -> list[Tensor]:
    try:
        with contextlib.suppress(_Enough):
            module(*to_device_of(module, batch))
    finally:
        handle.remove()
    return seen


def batched(x: Tensor, axes: int) -> Tensor:
    """With a batch axis where a convolution of ``axes`` spatial axes was given none."""
    return x.unsqueeze(0) if axes and x.dim() == axes + 1 else x
