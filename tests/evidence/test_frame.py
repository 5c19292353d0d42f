import numpy as np
import pytest

from cabench.evidence.frame import Progress


def test_a_row_per_trial_and_metric(study):
    example = study()
    frame = example.results().frame
    assert list(frame.columns[:6]) == ["arm", "seed", "key", "metric", "value", "status"]
    assert not frame.duplicated(["arm", "seed", "metric"]).any()
    one = frame[(frame["arm"] == "can-3") & (frame["seed"] == 1) & (frame["metric"] == "kid")]
    assert one["value"].item() == example.records["can-3@1"]["metrics"]["kid"]
    assert set(frame[frame["metric"] == "kid/g2"]["seed"]) == {0}


def test_failed_and_missing_trials_keep_their_rows(study):
    results = study(failed=[("can-3", 1)], missing=[("can-3", 2)]).results()
    frame = results.frame
    rows = frame[(frame["arm"] == "can-3") & (frame["metric"] == "kid")].set_index("seed")
    assert list(rows["status"]) == ["complete", "failed", "missing"]
    assert rows["value"].isna().tolist() == [False, True, True]
    assert "not finite" in rows.loc[1, "error"]
    assert results.progress("can-3") == Progress(complete=1, failed=1, missing=1)
    assert results.progress("can-3").total == 3
    assert list(results.by_seed("can-3", "kid").index) == [0]


def test_values_that_are_missing_or_infinite_are_not_used(study):
    example = study()
    del example.records["native@0"]["metrics"]["kid"]
    example.records["native@1"]["metrics"]["kid"] = float("inf")
    assert list(example.results().by_seed("native", "kid").index) == [2]


def test_no_records_at_all(study):
    example = study()
    example.records.clear()
    frame = example.results().frame
    assert len(frame) == 12 * 3 * 4 and set(frame["status"]) == {"missing"}
    assert frame["value"].dtype == np.float64


def test_failures_are_joined_by_reason(study):
    results = study(failed=[("can-3", 0), ("can-3", 2), ("native", 1)]).results()
    assert results.failures() == [
        "native (seed 1): Diverged: loss is not finite",
        "can-3 (seeds 0, 2): Diverged: loss is not finite",
    ]
    assert results.failures("native") == ["native (seed 1): Diverged: loss is not finite"]


def test_arms_without_trials_are_left_out(study):
    example = study()
    example.manifest["trials"] = [t for t in example.manifest["trials"] if t["arm"] != "can-all"]
    assert "can-all" not in example.results().arms


def test_costs_are_those_of_an_arms_complete_trials(study):
    example = study(failed=[("can-all", s) for s in range(3)])
    costs = example.results().costs
    record = example.records["can-3@0"]
    assert costs["can-3"].macs == record["cost"]["macs"]["total"]
    assert costs["can-3"].conditioning_macs == record["cost"]["macs"]["conditioning"]
    assert costs["can-3"].params == record["cost"]["params"]["total"]
    rates = [example.records[f"can-3@{s}"]["timing"]["train_images_per_s"] for s in range(3)]
    assert costs["can-3"].images_per_s == pytest.approx(sum(rates) / 3)
    assert np.isnan([costs["can-all"].macs, costs["can-all"].images_per_s]).all()
