"""Every update of a factor is its least-squares optimum; two factors reach the global one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tdedge.factor import Factor
from tdedge.formats import get
from tdedge.training import alternate as module
from tdedge.training.alternate import Equations, Problem, alternate, composed
from tdedge.training.subchains import linear_end

RNG = np.random.default_rng(0)

CASES = [
    ("svd", (4,), (3, 3)), ("spatial_svd", (4,), (3, 3)), ("tucker1", (3,), (3, 3)),
    ("tucker", (3, 4), (3, 3)), ("tucker", (3, 4), (2, 3, 3)), ("cp", (4,), (3, 3)), ("cp", (4,), (2, 3, 3)),
    ("tt", (3, 4, 4), (3, 3)), ("tt", (3, 4, 4, 4), (2, 3, 3)), ("ht2", (3, 4, 4), (3, 3)),
    ("kcp", (4,), (3, 3)), ("kcp", (4,), (2, 3, 3)), ("svd", (3,), ()), ("cp", (3,), (4,)),
]  # fmt: skip


def dense_layer(taps, outputs=6, inputs=5, groups=1) -> Factor:
    return Factor(RNG.normal(size=(groups * outputs, inputs, *taps)), groups=groups)


def random_problem(prior: torch.Tensor, ridge=0.0, rows=400) -> Problem:
    """Correlated inputs, targets that no chain fits."""
    width = prior[0].numel()
    x = torch.tensor(RNG.normal(size=(rows, width)) @ RNG.normal(size=(width, width)))
    y = torch.tensor(RNG.normal(size=(rows, len(prior)))) + x @ prior.reshape(len(prior), -1).T
    return Problem.make(x.T @ x / rows, y.T @ x / rows, float(y.square().sum()) / rows, prior, ridge)


def started(name, ranks, taps):
    """Cores of a decomposed random kernel, that kernel, and a problem."""
    dense = dense_layer(taps)
    part = linear_end(get(name).decompose(dense, ranks), limit=4096)
    assert part.start == 0
    prior = torch.tensor(dense.kernel)
    return part.cores[0], prior, random_problem(prior)


@pytest.mark.parametrize(("name", "ranks", "taps"), CASES)
def test_composed_is_the_chain(name, ranks, taps):
    dense = dense_layer(taps)
    chain = get(name).decompose(dense, ranks)
    part = linear_end(chain, limit=4096)
    assert np.allclose(composed(part.cores[0]).numpy(), chain.reconstruct())


@pytest.mark.parametrize(("name", "ranks", "taps"), CASES)
def test_every_update_is_the_optimum_of_its_factor(name, ranks, taps):
    """The value it tells is J; and no small change of this factor lowers J."""
    cores, _, problem = started(name, ranks, taps)
    for index, core in enumerate(cores):
        before = problem.value(composed(cores))
        kernel, value = Equations.of(cores, index, problem).improved(core.kernel, problem.c)
        changed = list(cores)
        changed[index] = replace(core, kernel=kernel)
        assert value == pytest.approx(problem.value(composed(changed)), rel=1e-8)
        assert value < before
        for _ in range(5):
            nudge = 1e-3 * torch.tensor(RNG.normal(size=tuple(kernel.shape)))
            for sign in (1, -1):
                changed[index] = replace(core, kernel=kernel + sign * nudge)
                assert problem.value(composed(changed)) > value


@pytest.mark.parametrize(("name", "ranks", "taps"), CASES)
def test_sweeps_only_go_down(name, ranks, taps):
    cores, _, problem = started(name, ranks, taps)
    solution = alternate(cores, problem, 15)
    values = np.array(solution.values)
    assert len(values) > 1
    assert (np.diff(values) <= 1e-9 * values[0]).all()
    assert values[-1] == pytest.approx(problem.value(composed(solution.cores)), rel=1e-8)


@pytest.mark.parametrize("name", ["tucker", "tt", "tucker1", "spatial_svd"])
def test_conjugate_gradients_reach_what_the_formed_equations_do(name, monkeypatch):
    ranks = {"tucker": (3, 4), "tt": (3, 4, 4), "tucker1": (3,), "spatial_svd": (4,)}[name]
    cores, _, problem = started(name, ranks, (3, 3))
    _, exact = Equations.of(cores, 0, problem).improved(cores[0].kernel, problem.c)
    monkeypatch.setattr(module, "FORMED", 0)
    before = problem.value(composed(cores))
    _, close = Equations.of(cores, 0, problem).improved(cores[0].kernel, problem.c)
    assert exact <= close <= exact + 1e-3 * (before - exact)


@pytest.mark.parametrize("taps", [(), (3, 3)])
def test_two_factors_reach_the_reduced_rank_regression(taps):
    """The best kernel of rank R under the data's metric: the SVD of W A^(1/2), W that of plain regression."""
    cores, prior, problem = started("svd", (3,), taps)
    width = prior[0].numel()
    a, b = problem.a.reshape(width, width), problem.b.reshape(len(prior), width)
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.sqrt() @ vectors.T
    regression = torch.linalg.solve(a, b.T).T
    u, s, v = torch.linalg.svd(regression @ root, full_matrices=False)
    best = u[:, :3] * s[:3] @ v[:3] @ torch.linalg.inv(root)
    optimum = problem.value(best.reshape(prior.shape))
    solution = alternate(cores, problem, 200)
    assert optimum < 0.98 * solution.values[0]
    assert optimum - 1e-9 <= solution.values[-1] <= optimum + 0.02 * (solution.values[0] - optimum)


def test_a_strong_pull_is_the_weights_and_none_is_the_data():
    cores, prior, problem = started("svd", (3,), (3, 3))
    width = prior[0].numel()
    a, b = problem.a.reshape(width, width), problem.b.reshape(len(prior), width)
    pulled = Problem.make(a, b, problem.c, prior, ridge=1e5)
    gap = prior.reshape(len(prior), -1)
    best = (gap - composed(cores).reshape(gap.shape)).norm()  # the truncated SVD is optimal in the weights
    held = alternate(cores, pulled, 50).cores
    assert float((gap - composed(held).reshape(gap.shape)).norm()) == pytest.approx(float(best), rel=1e-2)
    assert pulled.value(prior) == pytest.approx(problem.value(prior), rel=1e-5)


def test_dead_inputs_and_zero_kernels_do_no_harm():
    cores, _, problem = started("tucker", (3, 4), (3, 3))
    nothing = Problem(torch.zeros_like(problem.a), torch.zeros_like(problem.b), problem.c)
    solution = alternate(cores, nothing, 3)
    assert all(torch.equal(a.kernel, b.kernel) for a, b in zip(solution.cores, cores, strict=True))
    zeros = [replace(core, kernel=torch.zeros_like(core.kernel)) for core in cores]
    values = alternate(zeros, problem, 3).values
    assert values[-1] == pytest.approx(problem.c)
