"""Committed learning-rate searches stand in for missing ones, with --use-reference alone."""

import dataclasses
import shutil

import pytest
from specs import ROOT

from cabench.execution.run import Options, prepare
from cabench.execution.tuning import outcome
from cabench.planning.tuning import searches
from cabench.records.schema import SearchOutcome
from cabench.records.store import REFERENCE, Store

STUDY = ROOT / "studies" / "control_methods.yaml"  # `tune` gives each arm a rate of its own


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    return Options(results=tmp_path / "results", cache=tmp_path / "cache")


def test_a_tuned_study_searches_and_trains_nothing(options):
    prepared = prepare(STUDY, dataclasses.replace(options, use_reference=True))
    assert not prepared.remaining.searches and not prepared.remaining.trials
    rates = {arm: search.lr for arm, search in prepared.manifest.tuning.items()}
    assert len(set(rates.values())) > 1 and set(rates) == set(prepared.plan.arms)

    remaining = prepare(STUDY, options).remaining
    assert {search.arm for search in remaining.searches} == set(rates)
    assert remaining.trials


def test_while_one_search_is_missing_the_records_of_other_arms_count(options):
    first = searches(prepare(STUDY, options).plan)[0]
    shutil.copytree(ROOT / REFERENCE / "tuning", options.results / "tuning")
    (options.results / "records").symlink_to(ROOT / REFERENCE / "records")
    assert not prepare(STUDY, options).remaining.trials
    Store(options.results, options.cache).tuning(first.key).unlink()
    prepared = prepare(STUDY, options)
    assert [search.arm for search in prepared.remaining.searches] == [first.arm]
    trials = [trial for trial in prepared.plan.all_trials if trial.arm == first.arm]
    assert [t.key for t in prepared.remaining.trials] == [t.key for t in trials]


def test_a_search_of_the_results_comes_first(options):
    committed = Store(options.results, options.cache, ROOT / REFERENCE)
    search = searches(prepare(STUDY, options).plan)[0]
    of_reference = outcome(search, committed)
    assert of_reference is not None
    path = committed.tuning(search.key)
    path.parent.mkdir(parents=True)
    shutil.copyfile(ROOT / REFERENCE / "tuning" / path.name, path)
    own = Store(options.results, options.cache)
    assert committed.find_tuning(search.key) == own.find_tuning(search.key) == path
    assert isinstance(outcome(search, own), SearchOutcome)
    path.unlink()
    assert outcome(search, own) is None and outcome(search, committed) == of_reference
