"""What it costs to resolve a claim."""

import json

import numpy as np
import pytest
from scipy import stats
from specs import ROOT

from cabench.analysis.evidence_cost import evidence_cost_frame, evidence_cost_table
from cabench.evidence.power import seeds_for_power
from cabench.evidence.results import Results
from cabench.records.runs import find_run

REFERENCE = ROOT / "results" / "reference"


@pytest.mark.parametrize(("effect", "n"), [(0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_are_those_of_the_published_tables(effect, n):
    """Cohen 1988 and G*Power: paired t test, two-sided, alpha .05, power .80."""
    assert seeds_for_power(effect, 0.05) == n


@pytest.mark.parametrize(("effect", "alpha"), [(0.7, 0.05 / 4), (2.0, 0.05), (3.5, 0.05 / 3)])
def test_so_many_seeds_show_the_effect_four_times_in_five(effect, alpha):
    n, rng = seeds_for_power(effect, alpha), np.random.default_rng(0)
    for count, least, most in ((n, 0.79, 1.0), (n - 1, 0.0, 0.81)):
        d = rng.standard_normal((40_000, count)) + effect
        shown = stats.ttest_1samp(d, 0, axis=1).pvalue < alpha
        assert least < shown.mean() < most


def test_more_seeds_than_the_limit_are_not_counted():
    assert seeds_for_power(0.05, 0.05) is None and seeds_for_power(0.0, 0.05) is None


def test_the_cost_of_a_claim_is_that_of_the_trials_of_its_arms():
    """C5 of control_methods: can-3 against native+dw, one of three claims of its study."""
    manifest = json.loads((REFERENCE / "control_methods.quick/manifest.json").read_text())
    scores, seconds = {}, {}
    for trial in manifest["trials"]:
        record = json.loads((REFERENCE / f"records/{trial['key']}.json").read_text())
        scores.setdefault(trial["arm"], {})[trial["seed"]] = record["metrics"]["kid_levels"]
        timing = record["timing"]
        names = ("train_s", "sample_s", "score_s", "sample_s/g2", "score_s/g2", "reference_s")
        spent = sum(timing.get(name, 0.0) for name in names)
        seconds.setdefault(trial["arm"], []).append(spent)
    control, can = scores["native+dw"], scores["can-3"]
    d = [can[seed] - control[seed] for seed in control if seed in can]
    effect = 0.05 * np.mean(list(control.values()))
    n = seeds_for_power(effect / np.std(d, ddof=1), 0.05 / 3)
    minutes = n * (np.mean(seconds["native+dw"]) + np.mean(seconds["can-3"])) / 60

    frame = evidence_cost_frame(Results.of(find_run(REFERENCE, "control_methods")))
    row = frame.set_index("claim").loc["C5"]
    assert (row.n, row.seeds) == (len(d), n)
    assert row.minutes == pytest.approx(minutes) and row.effect == pytest.approx(effect)
    # C6a has two rivals: the one with the larger spread decides, and trials of three arms count
    row = frame.set_index("claim").loc["C6a"]
    both = scores["native+can-3"]
    spreads = [np.std([both[s] - r[s] for s in both], ddof=1) for r in (control, can)]
    assert row.sd == pytest.approx(max(spreads))
    time = sum(np.mean(seconds[arm]) for arm in ("native+dw", "can-3", "native+can-3"))
    assert row.minutes == pytest.approx(row.seeds * time / 60)


def test_untested_claims_have_no_cost():
    results = Results.of(find_run(REFERENCE, "new_ideas"))
    assert evidence_cost_frame(results).empty and evidence_cost_table(results) is None
