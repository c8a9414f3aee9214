"""Ways of quantising are judged on samples that their ranges were not found on."""

import math

import numpy as np
import pytest
from support.eight_bits import residual, samples

from tdedge_exporters.quantize import judge
from tdedge_exporters.quantize.assemble import assemble, seen
from tdedge_exporters.quantize.report import outputs_sqnr_db
from tdedge_exporters.quantize.settings import Int8

MSE = Int8(method="mse")


@pytest.fixture
def spied(monkeypatch):
    """(samples that ranges were found on, samples that were judged on), a set for every time."""

    def spy(call):
        calls = []

        def inner(model, feeds, *others, **options):
            calls.append({id(feed["x"]) for feed in feeds})
            return call(model, feeds, *others, **options)

        return calls, inner

    learnt, seen_too = spy(judge.seen)
    judged, exact_too = spy(judge.Exact)
    monkeypatch.setattr(judge, "seen", seen_too)
    monkeypatch.setattr(judge, "Exact", exact_too)
    return learnt, judged


@pytest.mark.parametrize(("count", "folds"), [(8, 2), (15, 2), (16, 4), (18, 4)])
def test_the_ranges_of_all_other_folds_are_judged_on_each(spied, count, folds):
    learnt, judged = spied
    model = residual()
    feeds = samples(model, count)
    every = {id(feed["x"]) for feed in feeds}
    asked = judge.Judge(model, feeds, twins=[model] * folds)
    asked.expected_db(MSE)
    asked.expected_db(MSE)
    assert learnt.pop(0) == every, "of the graph itself"
    assert len(learnt) == len(judged) == folds, "once, however often it is asked"
    assert [each | other for each, other in zip(learnt, judged, strict=True)] == [every] * folds
    assert sorted(each for fold in judged for each in fold) == sorted(every), "each judges once"
    asked.about_db(MSE, ())
    assert len(judged[-1]) == 4
    assert not judged[-1] & learnt[0]


@pytest.mark.parametrize("count", [8, 18])
def test_one_run_over_the_samples_serves_all_folds(spied, count):
    learnt, _ = spied
    model = residual()
    feeds = samples(model, count)
    asked = judge.Judge(model, feeds)
    twins = judge.Judge(model, feeds, twins=[model] * judge.fold_count(count))
    assert asked.expected_db(MSE) == pytest.approx(twins.expected_db(MSE), abs=0.1)
    assert len(learnt) == 2 + judge.fold_count(count), "one of the graph of each, one of every twin"


def test_what_was_asked_once_is_known(monkeypatch):
    model = residual()
    asked = judge.Judge(model, samples(model, 8))
    first = asked.expected_db(MSE, ("n_b",))
    monkeypatch.setattr(judge, "assemble", None)
    assert asked.expected_db(MSE, ["n_b"]) == first
    with pytest.raises(TypeError):
        asked.expected_db(MSE, ("n_d",))


def test_it_expects_what_other_samples_have():
    model = residual()
    feeds, come = samples(model, 32), samples(model, 64, seed=9)
    (statistics,) = seen(model, feeds)
    made = assemble(model, statistics, MSE, ())
    expected = judge.Judge(model, feeds).expected_db(MSE)
    assert expected == pytest.approx(outputs_sqnr_db(model, made.model, come), abs=1.0)


def test_few_samples_are_judged_on_themselves(spied):
    learnt, judged = spied
    model = residual()
    feeds = samples(model, 3)
    asked = judge.Judge(model, feeds)
    made = assemble(model, asked.statistics, MSE, ())
    assert asked.expected_db(MSE) == outputs_sqnr_db(model, made.model, feeds)
    assert learnt == judged == [{id(feed["x"]) for feed in feeds}]
    assert math.isfinite(judge.Judge(model, feeds[:1]).about_db(MSE, ()))


def test_what_stays_float_adds_no_noise():
    model = residual()
    feeds = samples(model, 4)
    products = ("n_stem", "n_b", "n_d", "n_q", "n_y")
    asked = judge.Judge(model, feeds, products[:2])
    assert asked.expected_db(MSE) < asked.expected_db(MSE, products[2:4])
    assert asked.expected_db(MSE, products[2:]) > 100
    zeros = [{"x": np.zeros_like(feed["x"])} for feed in feeds]
    assert judge.Judge(model, zeros, products).expected_db(MSE) > 100


def test_samples_that_are_alike_leave_no_doubt():
    assert judge.error_db(np.array([[100.0, 1.0]] * 8)) == pytest.approx(0.0)
    assert judge.error_db(np.array([[100.0, 1.0], [300.0, 3.0]])) == pytest.approx(0.0)
    assert judge.error_db(np.array([[100.0, 1.0]])) == 0.0, "of one nothing is known"


def test_the_doubt_is_the_deviation_of_the_ratio_over_sets_of_samples():
    rng = np.random.default_rng(0)
    noise = rng.lognormal(0.0, 1.0, (4000, 32))
    energies = np.stack([rng.uniform(90, 110, noise.shape), noise], axis=2)
    ratios = 10 * np.log10(energies[:, :, 0].sum(axis=1) / energies[:, :, 1].sum(axis=1))
    doubts = [judge.error_db(each) for each in energies[:400]]
    assert np.mean(doubts) == pytest.approx(np.std(ratios), rel=0.15)


@pytest.mark.parametrize(("error", "less"), [(0.49, 0.0), ((judge.MARGIN_DB + 1.5) / 2, 1.5)])
def test_doubt_beyond_the_margin_is_taken_off(monkeypatch, error, less):
    monkeypatch.setattr(judge, "error_db", lambda energies: error)
    model = residual()
    feeds = samples(model, 16)
    found = judge.Judge(model, feeds)
    both = found.sure_db(MSE) + less
    assert both == pytest.approx(found.expected_db(MSE))
    folds = [judge._ratio(energies) for energies in found.energies(MSE)]
    assert min(folds) <= both <= max(folds), "the ratio of all samples together"
    every = [node.name for node in model.graph if node.op_type in ("Conv", "Gemm")]
    assert found.sure_db(MSE, every) == math.inf


def ways(rng, count, folds=4, samples=8, gain=0.0):
    """Energies of ways that are alike but for chance; the first has ``gain`` dB more."""
    gains = [10 ** (-gain / 10), *[1.0] * (count - 1)]
    return [
        [
            np.stack([np.full(samples, 100.0), scale * rng.lognormal(0.0, 1.0, samples)], axis=1)
            for _ in range(folds)
        ]
        for scale in gains
    ]


def ratio(way):
    return judge._ratio(np.concatenate(way))


def test_the_best_of_ways_that_are_alike_is_worth_what_each_is():
    rng = np.random.default_rng(1)
    studies = [ways(rng, 6) for _ in range(300)]
    true_db = ratio([energies for study in studies for way in study for energies in way])
    best = np.mean([max(map(ratio, study)) for study in studies])
    corrected = np.mean([max(map(ratio, study)) - judge.optimism_db(study) for study in studies])
    assert best > true_db + 1.0
    assert abs(corrected - true_db) < 0.5


def test_a_way_that_is_better_everywhere_is_no_chance():
    assert judge.optimism_db(ways(np.random.default_rng(1), 6, gain=20.0)) == 0.0


def test_nothing_is_known_of_one_way_or_one_fold():
    rng = np.random.default_rng(1)
    assert judge.optimism_db(ways(rng, 1)) == 0.0
    assert judge.optimism_db(ways(rng, 3, folds=1)) == 0.0
    exact = [[np.array([[1.0, 0.0]])] * 4]
    assert judge.optimism_db([*exact, *exact]) == 0.0, "without any noise"
