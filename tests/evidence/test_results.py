"""Results of the committed reference: frame and verdicts follow from manifest and records."""

from __future__ import annotations

import pytest
from rundir import TRIALS
from specs import ROOT

from cabench.evidence.results import Results
from cabench.records.runs import find_run


@pytest.fixture(scope="module")
def results():
    return Results.of(find_run(ROOT / "results" / "reference", "layer_placement", "quick"))


def test_the_frame_holds_every_trial_and_metric(results):
    assert len(results.frame.groupby(["arm", "seed"])) == len(results.manifest.trials) == TRIALS
    assert set(results.manifest.metrics) <= set(results.frame["metric"])
    assert results.frame is results.frame  # computed once


def test_the_verdicts_are_those_of_the_claims(results):
    assert [verdict.claim.id for verdict in results.verdicts] == [
        claim.id for claim in results.manifest.claims
    ]
