"""The compression plan: which layer becomes which format, at which ranks.

A plan is written by hand (TOML or JSON), made from one rule (:func:`make_plan`), or resolved from a
compression that was done, with explicit ranks everywhere, so that it can be repeated::

    version = 1
    keep = ["head.*"]

    [layers."stem"]
    format = "svd"
    ranks = [8]

    [default]
    format = "tucker"
    energy = 0.9
"""

from __future__ import annotations

import difflib
import fnmatch
import glob
import json
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tdedge import formats
from tdedge.errors import UsageError

if TYPE_CHECKING:
    from tdedge.compress import CompressionReport

_RANK_KEYS = ("ranks", "energy", "ratio", "rule")
Rank = Annotated[int, Field(ge=1, strict=True)]


class LayerRule(BaseModel):
    """How a layer is decomposed: a format and exactly one way to its ranks.

    Attributes:
        format: name of a format.
        ranks: explicit ranks, those of one group, as many as the format takes.
        energy: share of the squared singular values to keep, between 0 and 1.
        ratio: ranks as this share of the layer's channels, at most 1.
        rule: ``"evbmf"``, the ranks above the noise.
        init: start from the dense weights, or from random ones to be trained from scratch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    ranks: Annotated[tuple[Rank, ...], Field(min_length=1)] | None = None
    energy: Annotated[float, Field(gt=0, lt=1)] | None = None
    ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    rule: Literal["evbmf"] | None = None
    init: Literal["decompose", "scratch"] = "decompose"

    @field_validator("format")
    @classmethod
    def _known_format(cls, name: str) -> str:
        try:
            formats.get(name)
        except UsageError as error:
            raise ValueError(error.message) from error
        return name

    @model_validator(mode="after")
    def _one_way_to_ranks(self) -> LayerRule:
        given = [key for key in _RANK_KEYS if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of {', '.join(_RANK_KEYS)} must be given, not {' and '.join(given) or 'none'}"
            )
        return self


class CompressionPlan(BaseModel):
    """Rules for the layers of a network, by name.

    Attributes:
        version: of this file format.
        keep: names or globs of layers that stay dense, whatever else matches.
        layers: name or glob -> rule; the first that matches counts.
        default: rule for every other layer; where None they stay dense.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    keep: tuple[str, ...] = ()
    layers: dict[str, LayerRule] = Field(default_factory=dict)
    default: LayerRule | None = None

    @classmethod
    def load(cls, path: Path) -> CompressionPlan:
        """Read a ``.toml`` or ``.json`` file.

        Raises:
            UsageError: naming the file, the key, its value and what was expected.
        """
        return _validated(_read(Path(path)), f"{path}: ")

    def save(self, path: Path) -> None:
        """Write a ``.toml`` or ``.json`` file that :meth:`load` reads back equal.

        Raises:
            UsageError: when the suffix is another one.
        """
        path = Path(path)
        content = self.model_dump(mode="json", exclude_none=True)
        if path.suffix == ".json":
            text = json.dumps(content, indent=2) + "\n"
        elif path.suffix == ".toml":
            text = _toml(content)
        else:
            raise UsageError(f"{path}: a compression plan is saved as .toml or .json")
        path.write_text(text, encoding="utf-8", newline="\n")

    def rule_for(self, name: str) -> LayerRule | None:
        """The rule of the layer called ``name``; None where it stays dense."""
        if any(_matches(name, key) for key in self.keep):
            return None
        return next((rule for key, rule in self.layers.items() if _matches(name, key)), self.default)

    def check_names(self, names: Collection[str]) -> None:
        """Refuse a key that matches no layer: it is a mistake that would go unseen.

        Raises:
            UsageError: naming the key and the nearest layer names.
        """
        for section, keys in (("layers", self.layers), ("keep", self.keep)):
            for key in keys:
                if not any(_matches(name, key) for name in names):
                    raise UsageError(
                        f"plan: {section} {key!r} matches no layer of the network; {_hint(key, names)}"
                    )

    def resolved(self, report: CompressionReport) -> CompressionPlan:
        """The plan with format and ranks of every layer that was decomposed, to repeat the compression."""
        layers = {
            glob.escape(row.name): LayerRule(format=row.format, ranks=row.ranks, init=row.init)
            for row in report.rows
            if row.format is not None and row.ranks is not None
        }
        return CompressionPlan(keep=self.keep, layers=layers)


def load_plans(path: Path) -> tuple[CompressionPlan | None, dict[str, Any]]:
    """What a plan file says: how to compress, and how each target executes the network.

    Args:
        path: a compression plan, which says nothing of targets, or the ``plan.json`` of an artifact.

    Returns:
        The compression, None where there was none, and target -> plan as JSON.

    Raises:
        UsageError: as :meth:`CompressionPlan.load`.
    """
    content = _read(Path(path))
    if not isinstance(content, dict) or "rewrites" not in content:
        return _validated(content, f"{path}: "), {}
    if content.get("schema_version") != 1:
        raise UsageError(f"{path}: schema_version: {content.get('schema_version')!r}; expected 1")
    targets = content.get("targets", {})
    if not isinstance(targets, dict):
        raise UsageError(f"{path}: targets: expected one plan per target, by name")
    compression = content.get("compression")
    return None if compression is None else _validated(compression, f"{path}: compression: "), targets


def _read(path: Path) -> Any:
    """The content of a TOML or JSON file."""
    parse = {".toml": tomllib.loads, ".json": json.loads}.get(path.suffix)
    if parse is None:
        raise UsageError(f"{path}: a compression plan is a .toml or .json file")
    try:
        return parse(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not {path.suffix[1:].upper()}: {error}") from error


def make_plan(
    format_name: str,
    *,
    energy: float | None = None,
    ratio: float | None = None,
    ranks: Sequence[int] | None = None,
    rule: str | None = None,
    keep: Iterable[str] = (),
) -> CompressionPlan:
    """A plan of one rule for every layer but ``keep``.

    Raises:
        UsageError: for an unknown format or rule, a value out of range, or not exactly one way to ranks.
    """
    default = {"format": format_name, "energy": energy, "ratio": ratio, "ranks": ranks, "rule": rule}
    given = {key: value for key, value in default.items() if value is not None}
    return _validated({"keep": list(keep), "default": given}, "")


def _matches(name: str, key: str) -> bool:
    return name == key or fnmatch.fnmatchcase(name, key)


def _hint(key: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(map(repr, near))}?"
    some = ", ".join(list(names)[:8])
    return f"its layers are: {some}{', ...' if len(names) > 8 else ''}" if names else "it has no layer at all"


def _validated(content: Any, where: str) -> CompressionPlan:
    try:
        return CompressionPlan.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{where}{_first_mistake(error)}") from error


def _first_mistake(error: ValidationError) -> str:
    """One line for the first mistake: key, value, what was expected."""
    mistakes = error.errors()
    first = mistakes[0]
    key = ".".join(map(str, first["loc"])) or "plan"
    more = f" (and {len(mistakes) - 1} more mistakes)" if len(mistakes) > 1 else ""
    if first["type"] == "extra_forbidden":
        model = CompressionPlan if len(first["loc"]) == 1 else LayerRule
        known = list(model.model_fields)
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{key}: unknown key; {hint}(keys: {', '.join(known)}){more}"
    if first["type"] == "missing":
        return f"{key}: missing; it names the format ({', '.join(formats.FORMATS)}){more}"
    if first["type"] == "value_error":
        return f"{key}: {first['msg'].removeprefix('Value error, ')}{more}"
    return f"{key}: {first['input']!r}: {first['msg'].lower()}{more}"


def _toml(content: Mapping[str, Any]) -> str:
    """The plan as TOML: keys with plain values first, then one table per rule."""
    lines = [f"{key} = {_value(value)}" for key, value in content.items() if not isinstance(value, dict)]
    tables = {f"layers.{_value(name)}": rule for name, rule in content["layers"].items()}
    if "default" in content:
        tables["default"] = content["default"]
    for name, rule in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in rule.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """A string, number or list of them; JSON's notation of these is TOML's, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
