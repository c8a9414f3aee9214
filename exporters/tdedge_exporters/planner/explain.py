"""A plan in words: rows for a table, and the lines in which two plans differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tdedge_exporters.planner.plan import Form, Piece, TargetPlan


@dataclass(frozen=True)
class Row:
    """One chain: the pieces between which there was a choice.

    Attributes:
        part: names of the first and the last unit.
        considered: forms that were tried, the chosen ones included.
        measured: those whose cost is known.
        chosen: one line per piece.
        plain_ms: cost of the network's own nodes in place.
        chosen_ms: cost of what was chosen.
        why: what stood against it.
    """

    part: str
    considered: int
    measured: int
    chosen: tuple[str, ...]
    plain_ms: float | None
    chosen_ms: float | None
    why: str


def explain(plan: TargetPlan) -> list[Row]:
    """One row per chain, in execution order; parts without a choice are left out."""
    return [_row(chain) for chain in _chains(plan.pieces) if any(piece.rejected for piece in chain)]


def _chains(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Pieces joined by the forms that span several of them."""
    chains: list[list[Piece]] = []
    names: list[set[str]] = []
    for piece in pieces:
        reach = {name for form in (piece, *piece.rejected) for name in form.units}
        joined = [index for index, known in enumerate(names) if known & reach]
        chain = [each for index in joined for each in chains[index]] + [piece]
        reach = reach.union(*(names[index] for index in joined))
        chains = [each for index, each in enumerate(chains) if index not in joined] + [chain]
        names = [each for index, each in enumerate(names) if index not in joined] + [reach]
    return chains


def _row(chain: list[Piece]) -> Row:
    forms: list[Form] = [form for piece in chain for form in (piece, *piece.rejected)]
    costs = [piece.cost_ms for piece in chain]
    units = [name for piece in chain for name in piece.units]
    plain = [form.cost_ms for form in forms if form.plain]
    return Row(
        part=units[0] if len(units) == 1 else f"{units[0]} ... {units[-1]}",
        considered=len(forms),
        measured=sum(form.cost_ms is not None for form in forms),
        chosen=tuple(_said(piece) for piece in chain),
        plain_ms=_sum(plain),
        chosen_ms=_sum(costs),
        why=_why(chain),
    )


def _sum(costs: list[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def _said(form: Form) -> str:
    """``conv1 + conv2: packed.2x2 (native to frames)``."""
    labels = "" if form.reads == form.gives == "native" else f" ({form.reads} to {form.gives})"
    return f"{' + '.join(form.units)}: {form.form}{labels}"


def _why(chain: list[Piece]) -> str:
    """The nearest form of another kind that was not chosen, and its reason."""
    chosen = {piece.form for piece in chain}
    rejected = [row for piece in chain for row in piece.rejected]
    known = [row for row in rejected if row.gap_ms is not None]
    if not known:
        return rejected[0].reason
    best = min(known, key=lambda row: (row.form in chosen, abs(row.gap_ms or 0.0)))
    return f"next best {_said(best)}: {best.reason}"


def diff(a: TargetPlan, b: TargetPlan) -> list[str]:
    """What differs from ``a`` to ``b``; empty where both execute the network alike on the same machine."""
    lines = []
    for name in ("target", "runtime_version", "machine", "threads", "effort", "kernels", "kept"):
        before, after = getattr(a, name), getattr(b, name)
        if before != after:
            lines.append(f"{name}: {before or 'any'} -> {after or 'any'}")
    old = {piece.identity: piece for piece in a.pieces}
    new = {piece.identity: piece for piece in b.pieces}
    lines += _only("-", a.pieces, set(new))
    lines += _only("+", b.pieces, set(old))
    return lines


def _only(sign: str, pieces: Iterable[Piece], known: set[object]) -> Iterator[str]:
    for piece in pieces:
        if piece.identity not in known:
            cost = "" if piece.cost_ms is None else f", {piece.cost_ms:.3f} ms"
            yield f"{sign} {_said(piece)}{cost}"
