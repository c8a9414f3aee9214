import optuna

from tdedge.searching.sampler import SeededByNumber


def values(study, trials):
    study.optimize(lambda trial: (trial.suggest_int("x", 0, 1000), trial.suggest_float("y", 0, 1)), trials)
    return [tuple(trial.params.values()) for trial in study.trials]


def made(seed):
    return optuna.create_study(directions=["minimize", "maximize"], sampler=SeededByNumber(seed))


def test_a_trial_depends_on_its_number_and_what_was_finished():
    whole = values(made(1), 24)
    study = made(1)
    values(study, 17)
    study.sampler = SeededByNumber(1)  # as a process that begins anew
    assert values(study, 7) == whole
    assert values(made(2), 24) != whole
    assert len(set(whole)) == 24


def test_it_learns():
    """After the first ten random trials proposals are better in both, on average."""
    found = values(made(0), 60)
    before, after = found[:10], found[40:]
    assert sum(x for x, _ in after) / 20 < 0.7 * sum(x for x, _ in before) / 10
    assert sum(y for _, y in after) / 20 > 1.3 * sum(y for _, y in before) / 10
