"""Least squares over the factors of a chain, one factor at a time, on moments of the data.

A chain whose factors own different spatial axes is a tensor network. With the links s = r0, r1, ..., rn = t,

    W[t, s, taps] = sum over inner links of  K1[r1, s, taps1] K2[r2, r1, taps2] ... Kn[t, r(n-1), tapsn]

where a depthwise factor, K[r, taps], shares one letter between its two links. The squared error on data (A, B
and c of :mod:`tdedge.training.moments`), pulled towards a kernel W0 where the data say nothing,

    J(W) = tr(W A W') - 2 <W, B> + c + ridge m |W - W0|^2,        m = tr(A) / (S L),

is quadratic in every factor with the others fixed. With P[t, o, p] the network behind the factor (p: its
taps), Q the network in front and M = Q A Q' over (j, k, p), the normal equations for K[o, j, k] are

    sum over (o*, j*, k*, p, p*) of  (P'P)[o p, o* p*] M[j k p, j* k* p*] K[o*, j*, k*]  =  (P' B Q')[o, j, k]

Where no taps come behind the factor they are a Kronecker product, solved exactly by two Cholesky
factorisations; else they are formed and solved exactly where small; else a few conjugate-gradient steps are
taken, preconditioned by a Kronecker product. What is solved for is the change of K, with a proximal term of
rounding size on it, so every step lowers J or leaves it.

Sources: the error is that of Zhang, Zou, He, Sun 2016 (arXiv 1505.06798); alternation over the cores of a
tensor network: Holtz, Rohwedder, Schneider 2012, SIAM J. Sci. Comput. 34(2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tdedge.errors import UsageError

#: Unknowns of a dense factor up to which equations that are no Kronecker product are formed.
FORMED = 1024
_STEPS = 30  # of conjugate gradients, at most
_RESIDUAL = 1e-3  # relative residual at which they stop
_PROXIMAL = 1e-10  # of the mean diagonal
_TOLERANCE = 1e-4  # relative decrease of J over a sweep at which the sweeps stop
_LINKS = "abcdefgh"
_AXES = "xyz"


@dataclass(frozen=True)
class Core:
    """One factor of one group.

    Attributes:
        kernel: (o, j, *taps), or (r, *taps) where depthwise; float64.
        axes: the spatial axis of every entry of taps.
        depthwise: one group per channel.
    """

    kernel: Tensor
    axes: tuple[int, ...]
    depthwise: bool


@dataclass(frozen=True)
class Problem:
    """J of the module's text, for one group.

    Attributes:
        a: (S, *taps, S, *taps), pull included; taps in the order of the axes.
        b: (T, S, *taps), pull included.
        c: the constant.
    """

    a: Tensor
    b: Tensor
    c: float

    @classmethod
    def make(cls, a: Tensor, b: Tensor, c: float, prior: Tensor, ridge: float) -> Problem:
        """From moments per position, (S*L, S*L), (T, S*L) and a number, and the kernel W0 (T, S, *taps)."""
        weight = ridge * float(a.diagonal().mean())
        shape = prior.shape[1:]
        pulled = a + weight * torch.eye(len(a), dtype=a.dtype, device=a.device)
        target = b.reshape(prior.shape) + weight * prior
        return cls(pulled.reshape(*shape, *shape), target, c + weight * float(prior.square().sum()))

    def value(self, kernel: Tensor) -> float:
        """J of a kernel (T, S, *taps)."""
        rows = kernel.reshape(len(kernel), -1)
        image = rows @ self.a.reshape(rows.shape[1], rows.shape[1])
        return float((image * rows).sum() - 2 * (kernel * self.b).sum()) + self.c


@dataclass(frozen=True)
class Solution:
    """What :func:`alternate` found: the cores, and J before and after every sweep."""

    cores: tuple[Core, ...]
    values: tuple[float, ...]


def alternate(cores: Sequence[Core], problem: Problem, sweeps: int) -> Solution:
    """Lower J over one core after the other, from the last to the first and back, until it stands still."""
    current = list(cores)
    values = [problem.value(composed(current))]
    order = [*reversed(range(len(current))), *range(1, len(current) - 1)]
    for _ in range(sweeps):
        value = values[-1]
        for index in order:
            equations = Equations.of(current, index, problem)
            kernel, value = equations.improved(current[index].kernel, problem.c)
            current[index] = replace(current[index], kernel=kernel)
        values.append(value)
        if len(current) == 1 or values[-2] - value <= _TOLERANCE * abs(values[-2]):
            break
    return Solution(tuple(current), tuple(values))


def composed(cores: Sequence[Core]) -> Tensor:
    """The kernel (T, S, *taps) of the network; taps in the order of the axes."""
    links = _links(cores)
    return _contracted(_terms(cores), links[-1] + links[0] + _taps(cores))


@dataclass(frozen=True)
class Equations:
    """The normal equations of one core.

    Attributes:
        post: (u, o, p) with ``post' post = P'P``.
        moment: M as a matrix over (j, k, p), each flattened.
        rhs: (o, j, k), or (r, k) where depthwise.
        depthwise: whether the core is.
    """

    post: Tensor
    moment: Tensor
    rhs: Tensor
    depthwise: bool

    @classmethod
    def of(cls, cores: Sequence[Core], index: int, problem: Problem) -> Equations:
        """Of core ``index``, the others as they are."""
        terms, links, taps = _terms(cores), _links(cores), _taps(cores)
        core, last = cores[index], len(cores) - 1
        source, j, o, target = links[0], links[index], links[index + 1], links[-1]
        own = "".join(_AXES[axis] for axis in core.axes)
        after = "".join(_AXES[axis] for later in cores[index + 1 :] for axis in later.axes)
        kept = j + own + after

        whole = source + taps
        moment, rhs = problem.a, problem.b
        if index > 0:
            before = "".join(letter for letter in taps if letter not in own + after)
            front = "".join(dict.fromkeys(j + source + before))
            q = _contracted(terms[:index], front)
            moment = torch.einsum(f"{whole}{whole.upper()},{front}->{kept}{whole.upper()}", moment, q)
            moment = torch.einsum(f"{kept}{whole.upper()},{front.upper()}->{kept}{kept.upper()}", moment, q)
            rhs = torch.einsum(f"{target}{whole},{front}->{target}{kept}", rhs, q)
        else:
            moment = torch.einsum(f"{whole}{whole.upper()}->{kept}{kept.upper()}", moment)
            rhs = torch.einsum(f"{target}{whole}->{target}{kept}", rhs)
        outputs, unknown = len(core.kernel), own if core.depthwise else j + own
        if index == last:
            post = torch.eye(outputs, dtype=rhs.dtype, device=rhs.device)
        else:
            behind = target + o + after
            p = _contracted(terms[index + 1 :], behind)
            rhs = torch.einsum(f"{target}{kept},{behind}->{o}{unknown}", rhs, p)
            if not cores[last].depthwise and not cores[last].axes:  # its rows T may be many, its rank is not
                letters, kernel = terms[last]
                terms[last] = (letters, torch.linalg.qr(kernel, mode="r").R)
            post = _contracted(terms[index + 1 :], behind)
        width = math.prod(moment.shape[: len(kept)])
        shape = (outputs, -1) if core.depthwise else (*core.kernel.shape[:2], -1)
        return cls(
            post.reshape(-1, outputs, math.prod(post.shape[2:])),
            moment.reshape(width, width),
            rhs.reshape(shape),
            core.depthwise,
        )

    def apply(self, kernel: Tensor) -> Tensor:
        """The normal matrix times a kernel of the shape of ``rhs``."""
        channels = "uokp" if self.depthwise else "ujkp"
        unknown = "ok" if self.depthwise else "ojk"
        wide = torch.einsum(f"uop,{unknown}->{channels}", self.post, kernel)
        image = (wide.reshape(len(wide), -1) @ self.moment).reshape(wide.shape)
        return torch.einsum(f"uop,{channels}->{unknown}", self.post, image)

    def improved(self, kernel: Tensor, constant: float) -> tuple[Tensor, float]:
        """A kernel of lower J, of least J where solved exactly; and that J."""
        old = kernel.reshape(self.rhs.shape)
        residual = self.rhs - self.apply(old)
        if self.depthwise or (self.post.shape[2] > 1 and residual.numel() <= FORMED):
            change = _solve(self.formed(), residual.reshape(-1, 1)).reshape(residual.shape)
        elif self.post.shape[2] == 1:
            change = _Kronecker(self).solve(residual)
        else:
            change = self._conjugate_gradients(residual)
        new = old + change
        value = float((new * self.apply(new)).sum() - 2 * (new * self.rhs).sum()) + constant
        return new.reshape(kernel.shape), value

    def formed(self) -> Tensor:
        """The normal matrix."""
        outputs, behind = self.post.shape[1:]
        gram = torch.einsum("uop,uqr->opqr", self.post, self.post)
        if self.depthwise:
            blocks = self.moment.reshape((outputs, len(self.moment) // (outputs * behind), behind) * 2)
            matrix = torch.einsum("opqr,okpqlr->okql", gram, blocks)
        else:
            blocks = self.moment.reshape((len(self.moment) // behind, behind) * 2)
            matrix = torch.einsum("opqr,jpir->ojqi", gram, blocks)
        return matrix.reshape(self.rhs.numel(), self.rhs.numel())

    def _conjugate_gradients(self, residual: Tensor) -> Tensor:
        """The change after a few preconditioned steps from no change."""
        preconditioner = _Kronecker(self)
        change = torch.zeros_like(residual)
        ahead = preconditioner.solve(residual)
        direction, fall = ahead, float((residual * ahead).sum())
        start = fall
        for _ in range(_STEPS):
            if fall <= _RESIDUAL**2 * start or fall <= 0:
                break
            image = self.apply(direction)
            length = fall / float((direction * image).sum())
            change = change + length * direction
            residual = residual - length * image
            ahead = preconditioner.solve(residual)
            previous, fall = fall, float((residual * ahead).sum())
            direction = ahead + fall / previous * direction
        return change


class _Kronecker:
    """``(P'P) (x) M`` where nothing comes behind; else the mean of M over equal taps behind."""

    def __init__(self, equations: Equations) -> None:
        post, behind = equations.post, equations.post.shape[2]
        blocks = equations.moment.reshape((len(equations.moment) // behind, behind) * 2)
        self.left = _factorised(torch.einsum("uop,uqp->oq", post, post))
        self.right = _factorised(blocks.diagonal(dim1=1, dim2=3).mean(-1))

    def solve(self, residual: Tensor) -> Tensor:
        """The inverse times a kernel (o, j, k)."""
        rows = torch.cholesky_solve(residual.reshape(len(residual), -1), self.left)
        return torch.cholesky_solve(rows.mT, self.right).mT.reshape(residual.shape)


def _solve(matrix: Tensor, rhs: Tensor) -> Tensor:
    return torch.cholesky_solve(rhs, _factorised(matrix))


def _factorised(matrix: Tensor) -> Tensor:
    """Cholesky factor of a positive semidefinite matrix plus as little on its diagonal as that takes."""
    diagonal = matrix.diagonal()
    scale = float(diagonal.mean()) or 1.0
    share = _PROXIMAL
    while True:
        shifted = matrix.clone()
        shifted.diagonal().add_(share * scale)
        factor, info = torch.linalg.cholesky_ex(shifted)
        if int(info) == 0:
            cholesky: Tensor = factor
            return cholesky
        share *= 100
        if not share < 1:
            raise UsageError("a layer's activations or kernels are too large for float64, or not finite")


def _links(cores: Sequence[Core]) -> str:
    """One letter per link; a depthwise core has the same on both sides."""
    letters = _LINKS[0]
    for index, core in enumerate(cores):
        letters += letters[-1] if core.depthwise else _LINKS[index + 1]
    return letters


def _taps(cores: Sequence[Core]) -> str:
    return "".join(_AXES[axis] for axis in sorted(axis for core in cores for axis in core.axes))


def _terms(cores: Sequence[Core]) -> list[tuple[str, Tensor]]:
    """(letters, kernel) of every core."""
    links = _links(cores)
    terms = []
    for index, core in enumerate(cores):
        channels = links[index + 1] if core.depthwise else links[index + 1] + links[index]
        terms.append((channels + "".join(_AXES[axis] for axis in core.axes), core.kernel))
    return terms


def _contracted(terms: Sequence[tuple[str, Tensor]], keep: str) -> Tensor:
    """The product of the terms, summed over every letter but ``keep``, whose order it has."""
    letters, product = terms[0]
    for position, (own, kernel) in enumerate(terms[1:], start=1):
        needed = set(keep).union(*(other for other, _ in terms[position + 1 :]))
        merged = "".join(letter for letter in dict.fromkeys(letters + own) if letter in needed)
        product = torch.einsum(f"{letters},{own}->{merged}", product, kernel)
        letters = merged
    return torch.einsum(f"{letters}->{keep}", product)
