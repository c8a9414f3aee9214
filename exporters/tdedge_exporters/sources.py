"""Load a torch module from the user's own code, and a state into it from a file that nobody vouches for."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tdedge.errors import MissingError, UsageError
from tdedge_exporters.static import brief

if TYPE_CHECKING:
    import torch
    from torch import nn

#: Suffixes of files that hold weights and no network.
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")
_SHOWN = 3


def require_torch() -> ModuleType:
    """The torch package.

    Raises:
        MissingError: when it is not installed; holds the install line.
    """
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise MissingError.extra("torch", "torch") from error


def load_module(
    source: str | Path, *, weights: Path | None = None, python_path: Sequence[Path] = ()
) -> tuple[nn.Module, Any]:
    """The module of ``package.module:factory`` or ``folder/file.py:factory``, and its example input.

    This imports and runs the user's own code. What it prints goes to stderr. The working folder is not
    importable unless ``python_path`` names it.

    Args:
        source: where the factory is: a callable without arguments that returns a module, or a pair of
            module and example inputs; or a module.
        weights: state to load strictly into the module.
        python_path: folders to import from, before all others.

    Returns:
        The module, and its example: from the pair, else the module's attribute ``example_input_array`` or
        ``example_input``, else None.

    Raises:
        UsageError: when the code cannot be found or run, or the state does not fit.
        MissingError: when torch is not installed.
    """
    nn = require_torch().nn
    text = str(source)
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise UsageError(f"{text!r} names no factory; expected package.module:factory or file.py:factory")
    with _importable(python_path), contextlib.redirect_stdout(sys.stderr):
        found = _attribute(_import(place, text), name, text)
        if not isinstance(found, nn.Module):
            if not callable(found):
                raise UsageError(f"{text}: {name} is a {type(found).__name__}; expected a function or class")
            found = _guarded(found, f"{text}: calling {name}() failed")
    module, example = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"{text}: {name}() returned {type(found).__name__}; expected a torch module, or a pair of module "
            "and example inputs"
        )
    if weights is not None:
        load_weights(module, weights)
    return module, own_example(module) if example is None else example


def load_function(source: str, python_path: Sequence[Path] = ()) -> Callable[..., Any]:
    """The function that ``module:function`` or ``file.py:function`` names; runs the module's code.

    Raises:
        UsageError: when it cannot be found or is no function.
    """
    place, _, name = str(source).rpartition(":")
    if not place or not name:
        raise UsageError(
            f"{source!r} names no function; expected package.module:function or file.py:function"
        )
    with _importable(python_path), contextlib.redirect_stdout(sys.stderr):
        found = _attribute(_import(place, str(source)), name, str(source))
    if not callable(found):
        raise UsageError(f"{source}: {name} is a {type(found).__name__}; expected a function")
    made: Callable[..., Any] = found
    return made


def own_example(module: nn.Module) -> Any:
    """The example input a module carries as ``example_input_array`` or ``example_input``, or None."""
    for name in ("example_input_array", "example_input"):
        if (example := getattr(module, name, None)) is not None:
            return example
    return None


def load_weights(module: nn.Module, path: Path) -> None:
    """Load the state dict in ``path`` strictly into ``module``.

    ``.safetensors`` holds tensors alone; ``.pt`` and ``.pth`` are unpickled with ``weights_only=True``.

    Raises:
        UsageError: when the file cannot be read safely, or a key is missing, unexpected or of another shape.
    """
    state = _read_state(Path(path))
    wanted = module.state_dict()
    for key in set(wanted) - set(state):
        shared = _shared_key(key, wanted, state)
        if shared is not None:
            state[key] = state[shared]
    problems = [
        _listed("missing", sorted(set(wanted) - set(state))),
        _listed("unexpected", sorted(set(state) - set(wanted))),
        _listed(
            "of another shape",
            [
                f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
                for key in wanted
                if key in state and state[key].shape != wanted[key].shape
            ],
        ),
    ]
    if any(problems):
        raise UsageError(f"{path} does not fit {type(module).__name__}: {'; '.join(filter(None, problems))}")
    module.load_state_dict(state, strict=True)


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    torch = require_torch()
    if path.suffix not in WEIGHT_SUFFIXES:
        raise UsageError(f"{path}: unknown suffix; weights are read from {', '.join(WEIGHT_SUFFIXES)}")
    if not path.is_file():
        raise UsageError(f"{path} does not exist; expected a file with weights")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise UsageError(f"{path} is not a readable .safetensors file: {brief(error)}") from error
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} holds pickled objects beside tensors and is not loaded; save its state_dict() instead, "
            "best as .safetensors"
        ) from error
    except Exception as error:
        raise UsageError(f"{path} is not a readable state dict: {brief(error)}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UsageError(f"{path} holds a {type(state).__name__}; expected a state dict, names to tensors")
    return dict(state)


def _shared_key(key: str, wanted: Mapping[str, Any], state: Mapping[str, Any]) -> str | None:
    """A key of the state that is the same tensor in the module: files store tied weights once."""
    tensor = wanted[key]
    same = (tensor.data_ptr(), tensor.shape, tensor.stride())
    for other, value in wanted.items():
        if other in state and tensor.numel() and (value.data_ptr(), value.shape, value.stride()) == same:
            return other
    return None


def _listed(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}"


@contextlib.contextmanager
def _importable(python_path: Sequence[Path]) -> Iterator[None]:
    before = list(sys.path)
    for folder in python_path:
        if not Path(folder).is_dir():
            raise UsageError(f"--python-path {folder} is not a folder")
    sys.path[:0] = [str(Path(folder).absolute()) for folder in python_path]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _import(place: str, text: str) -> ModuleType:
    if place.endswith(".py"):
        return _import_file(Path(place), text)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise UsageError(
                f"{text}: there is no module {error.name!r}; pass --python-path with the folder it lies in"
            ) from error
        raise _failure(error, f"{text}: importing {place} failed") from error
    except (Exception, SystemExit) as error:
        raise _failure(error, f"{text}: importing {place} failed") from error


def _import_file(path: Path, text: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{text}: {path} does not exist; expected a Python file")
    path = path.absolute()
    name = f"_tdedge_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        hint = ""
        if isinstance(error, ModuleNotFoundError) and (path.parent / f"{error.name}.py").exists():
            hint = f"; pass --python-path {path.parent}"
        raise _failure(error, f"{text}: importing {path.name} failed", hint) from error
    return module


def _attribute(module: ModuleType, name: str, text: str) -> Any:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{text}: there is no {name!r} in {module.__name__.removeprefix('_tdedge_')}")
        found = getattr(found, part)
    return found


def _guarded(function: Any, what: str) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise _failure(error, what) from error


def _failure(error: BaseException, what: str, hint: str = "") -> UsageError:
    """One line for an exception in the user's code: its type, text, file and line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return UsageError(
        f"{what}: {type(error).__name__}: {brief(error)} ({Path(last.filename).name}:{last.lineno}){hint}"
    )
