"""The dense layers of a torch module: found with their input shapes, and replaced by chains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tdedge.chain import Chain
from tdedge.compress import LayerSite
from tdedge.errors import UsageError
from tdedge.factor import Shape
from tdedge.modules import DENSE_LAYERS, ChainLayer, geometry_of

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class FoundLayer:
    """A dense layer and what decides about it."""

    module: nn.Module
    site: LayerSite


def as_inputs(example: Sequence[Tensor] | Tensor) -> tuple[Tensor, ...]:
    """The example as a tuple of positional arguments."""
    return (example,) if isinstance(example, Tensor) else tuple(example)


def find(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, FoundLayer]:
    """Every Linear, Conv1d, Conv2d and Conv3d layer by name, subclasses included, in the network's order.

    Raises:
        UsageError: when the network does not run on ``inputs``, or is itself one such layer.
    """
    if isinstance(module, DENSE_LAYERS):
        raise UsageError(f"the network is a single {type(module).__name__}; wrap it in torch.nn.Sequential")
    names = _names(module)
    shapes = _record(module, inputs, [layer for layer in names if isinstance(layer, DENSE_LAYERS)])
    owners = _owners(names)
    counted: set[int] = set()
    found = {}
    for layer, own_names in names.items():
        if not isinstance(layer, DENSE_LAYERS):
            continue
        calls = shapes[layer]
        parameters = [p for p in (layer.weight, layer.bias) if isinstance(p, Tensor)]
        site = LayerSite(
            factor=geometry_of(layer),
            input_shape=calls[0] if calls else None,
            more_shapes=tuple(calls[1:]),
            fixed=_obstacle(layer, own_names, owners, bool(calls)),
            shared_params=sum(p.numel() for p in parameters if id(p) in counted),
        )
        counted |= {id(p) for p in parameters}
        found[own_names[0]] = FoundLayer(layer, site)
    return found


def replace(
    module: nn.Module,
    layers: Mapping[str, FoundLayer],
    chains: Mapping[str, Chain],
    inputs: tuple[Tensor, ...],
) -> None:
    """Put a chain in place of each named layer; where the network then no longer runs, put all back.

    Raises:
        UsageError: when the network does not run on ``inputs`` any more.
    """
    for name, chain in chains.items():
        _set(module, name, _like(ChainLayer.from_chain(chain), layers[name].module))
    try:
        with evaluating(module):
            module(*inputs)
    except Exception as error:
        for name in chains:
            _set(module, name, layers[name].module)
        raise UsageError(
            f"the network no longer runs with its layers replaced ({_line(error)}); it reads a layer's "
            "attributes itself: keep that layer"
        ) from error


def _names(module: nn.Module) -> dict[nn.Module, list[str]]:
    """Every module with all names it is reached by."""
    names: dict[nn.Module, list[str]] = {}
    for name, child in module.named_modules(remove_duplicate=False):
        names.setdefault(child, []).append(name)
    return names


def _owners(names: Mapping[nn.Module, list[str]]) -> dict[int, list[str]]:
    """Names of every parameter, by its identity; modules are visited once."""
    owners: dict[int, list[str]] = {}
    for module, own_names in names.items():
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            owners.setdefault(id(parameter), []).append(f"{own_names[0]}.{attribute}".lstrip("."))
    return owners


def _obstacle(
    layer: nn.Module, names: Sequence[str], owners: Mapping[int, list[str]], called: bool
) -> str | None:
    """Why the layer cannot be replaced; None where it can."""
    if parametrize.is_parametrized(layer):
        return "its weight is parametrised; remove the parametrisation to decompose it"
    if type(layer) not in DENSE_LAYERS:
        return f"{type(layer).__name__} is a subclass with behaviour of its own"
    if len(names) > 1:
        return f"one layer under several names: {', '.join(names)}"
    for parameter in layer.parameters():
        if len(owners[id(parameter)]) > 1:
            return f"its weights are shared: {', '.join(owners[id(parameter)])}"
    if any(getattr(layer, hooks) for hooks in _HOOKS):
        return "it carries hooks, which a replacement would lose"
    if not called:
        return "the forward pass never calls it by itself; its MACs are not counted"
    mode = getattr(layer, "padding_mode", "zeros")
    if mode != "zeros":
        return f"padding_mode {mode!r}: factors pad with zeros"
    return None


def _record(
    module: nn.Module, inputs: tuple[Tensor, ...], layers: Sequence[nn.Module]
) -> dict[nn.Module, list[Shape]]:
    """Input shapes of every call of each layer in one forward pass."""
    shapes: dict[nn.Module, list[Shape]] = {layer: [] for layer in layers}

    def note(layer: nn.Module, arguments: tuple[Tensor, ...], keywords: dict[str, Tensor]) -> None:
        x = arguments[0] if arguments else next(iter(keywords.values()))
        axes = len(getattr(layer, "kernel_size", ()))
        unbatched = axes > 0 and x.dim() == axes + 1
        shapes[layer].append(((1,) if unbatched else ()) + tuple(x.shape))

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        with evaluating(module):
            module(*inputs)
    except Exception as error:
        given = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise UsageError(
            f"the network does not run on an example of shape {given}: {_line(error)}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return shapes


@contextlib.contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every submodule's own mode is restored."""
    modes = {child: child.training for module in modules for child in module.modules()}
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for child, mode in modes.items():
            child.training = mode


def _like(chain: ChainLayer, layer: nn.Module) -> ChainLayer:
    """The chain with the device, type, mode and trainability of the layer it replaces."""
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    return chain.to(weight.device, weight.dtype).train(layer.training).requires_grad_(weight.requires_grad)


def _set(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, layer)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
