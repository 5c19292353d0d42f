import numpy as np

from cabench.evidence.frame import by_seed, failures, progress, study_arms, tidy


def test_a_row_per_trial_and_metric(study):
    manifest, records, _ = study()
    frame = tidy(manifest, records)
    assert list(frame.columns[:6]) == ["arm", "seed", "key", "metric", "value", "status"]
    assert not frame.duplicated(["arm", "seed", "metric"]).any()
    one = frame[(frame["arm"] == "can-3") & (frame["seed"] == 1) & (frame["metric"] == "kid")]
    assert one["value"].item() == records["can-3@1"]["metrics"]["kid"]
    assert set(frame[frame["metric"] == "kid/g2"]["seed"]) == {0}


def test_what_failed_or_is_missing_stays_visible(study):
    manifest, records, _ = study(failed=[("can-3", 1)], missing=[("can-3", 2)])
    frame = tidy(manifest, records)
    rows = frame[(frame["arm"] == "can-3") & (frame["metric"] == "kid")].set_index("seed")
    assert list(rows["status"]) == ["complete", "failed", "missing"]
    assert rows["value"].isna().tolist() == [False, True, True]
    assert "not finite" in rows.loc[1, "error"]
    assert progress(frame, "can-3") == {"complete": 1, "failed": 1, "missing": 1, "asked": 3}
    assert list(by_seed(frame, "can-3", "kid").index) == [0]


def test_numbers_that_are_none_or_infinite_are_not_used(study):
    manifest, records, _ = study()
    records["native@0"]["metrics"]["kid"] = None
    records["native@1"]["metrics"]["kid"] = float("inf")
    assert list(by_seed(tidy(manifest, records), "native", "kid").index) == [2]


def test_no_records_at_all(study):
    manifest, _, _ = study()
    frame = tidy(manifest, {})
    assert len(frame) == 12 * 3 * 4 and set(frame["status"]) == {"missing"}
    assert frame["value"].dtype == np.float64


def test_failures_are_joined_by_reason(study):
    manifest, records, _ = study(failed=[("can-3", 0), ("can-3", 2), ("native", 1)])
    assert failures(manifest, records) == [
        "native (seed 1): Diverged: loss is not finite",
        "can-3 (seeds 0, 2): Diverged: loss is not finite",
    ]


def test_arms_without_trials_are_left_out(study):
    manifest, _, _ = study()
    manifest["trials"] = [t for t in manifest["trials"] if t["arm"] != "can-all"]
    assert "can-all" not in [arm["name"] for arm in study_arms(manifest)]
