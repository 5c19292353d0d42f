"""The paper's claims over several runs: one family, in the order of their ids."""

import dataclasses

import pytest
from example_study import make_claim, make_cost, make_manifest, make_record, read_results

from cabench.evidence.claims import claims_ledger
from cabench.records.schema import ManifestSetting

BASE = [10.0, 11.0, 12.0]
CLEAR = [b - d for b, d in zip(BASE, [1.9, 2.0, 2.1], strict=True)]  # p = .00083 at n = 3
MARGINAL = [b - d for b, d in zip(BASE, [1.3, 2.0, 2.7], strict=True)]  # p = .0385


def run_of(can, id, paper="as the paper says", metrics=("kid",), size=None, **claim):
    manifest = make_manifest(
        ["base", "can"],
        "base",
        range(3),
        {name: {"label": name.upper()} for name in metrics},
        [make_claim("can", "base", "kid", id=id, paper=paper) | claim],
    )
    trials = [(arm, s, v) for arm, of in (("base", BASE), ("can", can)) for s, v in enumerate(of)]
    manifest["trials"] = [{"arm": a, "seed": s, "key": f"{a}@{s}"} for a, s, _ in trials]
    cost = None if size is None else make_cost(size)
    records = {
        f"{arm}@{s}": make_record(arm, s, dict.fromkeys(metrics, value), cost)
        for arm, s, value in trials
    }
    return read_results(manifest, records)


def at(results, **changes):
    """The results of a run of which the manifest has other values."""
    return dataclasses.replace(results, manifest=results.manifest.model_copy(update=changes))


def sizes_of(*repeats, **claim):
    """The ids that the overview has beside home.C1, a claim of a run of size 5 at scale quick."""
    home = at(run_of(MARGINAL, "C1", size=5, **claim), study="home")
    ledger = claims_ledger([("home.quick", home), *((str(i), r) for i, r in enumerate(repeats))])
    assert all(not other.sizes for other in ledger.secondary)
    return [other.own.claim.id for other in ledger.primary[0].sizes]


def test_the_papers_claims_are_corrected_over_all_runs():
    alone = claims_ledger([("one", run_of(MARGINAL, "C1"))]).primary
    assert [entry.verdict.word for entry in alone] == ["supported"]
    both = claims_ledger(
        [("one", run_of(MARGINAL, "C1")), ("two", run_of(BASE[::-1], "C2"))]
    ).primary
    assert [entry.verdict.word for entry in both] == ["unresolved", "unresolved"]
    assert [entry.own.word for entry in both] == ["supported", "unresolved"]
    assert both[0].verdict.p_holm == pytest.approx(2 * alone[0].own.p_holm)


def test_claims_of_our_own_neither_count_nor_change():
    runs = [("one", run_of(MARGINAL, "C1")), ("two", run_of(CLEAR, "G1", paper=""))]
    ledger = claims_ledger(runs)
    assert [entry.verdict.word for entry in ledger.primary] == ["supported"]
    assert [(e.own.claim.id, e.verdict.word) for e in ledger.secondary] == [("G1", "supported")]


def test_arms_of_the_command_line_are_left_out():
    ledger = claims_ledger([("one", run_of(CLEAR, "A1", added=True))])
    assert not ledger.primary and not ledger.secondary


def test_claims_stand_in_the_order_of_their_numbers():
    ids = ("C10", "C2b", "C2a", "C1")
    ledger = claims_ledger([(id, run_of(CLEAR, id)) for id in ids])
    assert [e.own.claim.id for e in ledger.primary] == ["C1", "C2a", "C2b", "C10"]


def test_a_claim_is_shown_in_every_metric_its_own_first():
    (entry,) = claims_ledger([("one", run_of(CLEAR, "C1", metrics=("fid", "kid")))]).primary
    assert [part.metric for part in entry.in_every_metric] == ["kid", "fid"]
    assert all(part.difference.mean == pytest.approx(-2) for part in entry.in_every_metric)


def repeat(id="S1", can=CLEAR, repeats="home.C1", scale="size-9", size=9, **claim):
    return at(run_of(can, id, paper="", repeats=repeats, size=size, **claim), scale=scale)


def test_a_claim_has_those_that_repeat_it_by_rising_macs():
    home = at(run_of(MARGINAL, "C1", size=5), study="home")
    larger, smaller = repeat("S1"), repeat("S2", BASE[::-1], scale="size-1", size=1)
    other = repeat("S3", repeats="other.C1")
    runs = [("home.quick", home), ("large", larger), ("small", smaller), ("other", other)]
    (entry,) = claims_ledger(runs).primary
    assert [size.own.claim.id for size in entry.sizes] == ["S2", "S1"]
    assert [size.own.word for size in entry.sizes] == ["unresolved", "supported"]
    assert entry.verdict.word == "supported"  # the family is C1 alone


SETTING = ManifestSetting.model_validate({"key": "training.lr", "value": 1e-3, "before": 3e-3})


@pytest.mark.parametrize(
    "run",
    [
        repeat(scale="smoke"),
        at(repeat(), settings=(SETTING,)),
        at(repeat(), scale_file="results/s.size-9/scale.yaml"),  # --data
        at(repeat(), backbone="uvit"),
        repeat(scale="quick"),  # as the home claim's run
        repeat(size=5),  # as large as that run
        repeat(size=None),  # no MACs are known
        repeat(better="base", than="can"),
        repeat(metrics=("kid", "fid"), metric=["kid", "fid"]),
        repeat(also_than=["more"]),
        repeat(test="by_construction", metric="params"),
    ],
)
def test_a_run_of_another_statement_or_no_other_size_is_not_over_size(run):
    assert sizes_of(repeat("S2"), run) == ["S2"]


def test_order_of_metrics_and_rivals_is_of_no_meaning():
    claim = {"metrics": ("kid", "fid"), "also_than": ["x", "y"]}
    other = {"metrics": ("kid", "fid"), "also_than": ["y", "x"], "metric": ["fid", "kid"]}
    assert sizes_of(repeat(**other), metric=["kid", "fid"], **claim) == ["S1"]


def test_a_run_with_changed_settings_has_no_sizes():
    home = at(run_of(MARGINAL, "C1", size=5), study="home", settings=(SETTING,))
    ledger = claims_ledger([("home.quick", home), ("large", repeat())])
    assert all(not entry.sizes for entry in ledger.secondary)


def test_the_study_on_a_further_backbone_has_its_name_with_the_backbones():
    home = at(run_of(MARGINAL, "C1", size=5), study="home-uvit", backbone="uvit")
    runs = [("dit", repeat("S1")), ("uvit", at(repeat("S2"), backbone="uvit"))]
    (entry,) = claims_ledger([("home-uvit.quick", home), *runs]).primary
    assert [size.run for size in entry.sizes] == ["uvit"]


def test_a_copy_of_a_run_or_a_part_of_it_counts_once():
    whole, copy = run_of(MARGINAL, "C1"), run_of(MARGINAL, "C1")
    part = run_of(MARGINAL, "C1")
    trials = tuple(t for t in part.manifest.trials if t.seed < 2)
    part = dataclasses.replace(part, manifest=part.manifest.model_copy(update={"trials": trials}))
    ledger = claims_ledger([("a", whole), ("b", copy), ("c", part)])
    assert [e.run for e in ledger.primary] == ["a"] and not ledger.secondary
    assert ledger.primary[0].verdict.word == "supported"


def test_smoke_runs_and_changed_settings_are_not_of_the_family():
    run = run_of(CLEAR, "C1")
    setting = {"key": "training.lr", "value": 1e-3, "before": 3e-3}
    other = run_of(BASE[::-1], "C2")
    for change in ({"scale": "smoke"}, {"settings": (ManifestSetting.model_validate(setting),)}):
        changed = dataclasses.replace(other, manifest=other.manifest.model_copy(update=change))
        ledger = claims_ledger([("one", run), ("two", changed)])
        assert [e.own.claim.id for e in ledger.primary] == ["C1"]
        assert [e.own.claim.id for e in ledger.secondary] == ["C2"]


def test_seeds_needed_are_those_of_the_larger_family():
    slight = [b - d for b, d in zip(BASE, [0.5, 2.0, 3.5], strict=True)]
    (alone,) = claims_ledger([("one", run_of(slight, "C1"))]).primary
    both = claims_ledger([("one", run_of(slight, "C1")), ("two", run_of(BASE[::-1], "C2"))]).primary
    assert alone.verdict.needed is not None and both[0].verdict.needed is not None
    assert both[0].verdict.needed > alone.verdict.needed


def test_claims_by_counting_have_their_counts():
    run = run_of(CLEAR, "C8", test="by_construction", metric="params", ratio=2.0)
    (entry,) = claims_ledger([("one", run)]).primary
    assert entry.own.is_count and entry.in_every_metric == entry.own.evidence
