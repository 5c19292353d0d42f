"""A ladder whose scores follow a power law that is known by hand."""

import math

import numpy as np
import pytest
from example_study import make_claim, make_cost, make_manifest, make_record, read_results

from cabench.commands.ladder import as_document, table
from cabench.errors import CabenchError
from cabench.evidence.ladder import Ladder, Rung, agreement, crossing, training_macs

IMAGES = (1000, 4000, 16000)
NOISE = np.array([0.01, -0.02, 0.01, 0.0])


def run(images, scores, macs=100):
    """Results of one scale: {arm: scores by seed}; a forward pass of every arm takes `macs`."""
    metrics = {"kid": {"label": "KID@2000"}}
    manifest = make_manifest(list(scores), "base", range(4), metrics, [make_claim("can", "base")])
    manifest["scale"] = f"s{images}"
    records = {}
    for arm, values in scores.items():
        for seed, value in enumerate(values):
            record = make_record(arm, seed, {"kid": float(value)})
            record["spec"]["images"] = images
            record["cost"] = make_cost(0)
            record["cost"]["macs"]["total"] = macs
            records[f"{arm}@{seed}"] = record
    return read_results(manifest, records)


def law(images, times=1.0):
    """The baseline's score after `times` as many images: it halves per factor of four."""
    return (images * times) ** -0.5 * np.exp(NOISE)


def ladder(times=2.0):
    return Ladder.of([run(n, {"base": law(n), "can": law(n, times)}) for n in IMAGES[::-1]])


def test_rungs_are_in_the_order_of_their_macs():
    rungs = ladder().rungs
    assert [rung.scale for rung in rungs] == ["s1000", "s4000", "s16000"]
    assert [rung.macs("base") for rung in rungs] == [300 * n for n in IMAGES]
    record = rungs[0].results.complete("can")[0]
    assert training_macs(record) == 3 * 100 * 1000


@pytest.mark.parametrize("times", [2.0, 0.5])
def test_the_compute_multiplier_is_read_off_the_baselines_own_curve(times):
    middle = ladder(times).rungs[1]
    actual = ladder(times).multiplier("can", middle)
    assert actual.n == 4 and actual.mean == pytest.approx(times)
    assert actual.values.tolist() == pytest.approx([times] * 4)
    assert middle.effect("can").mean == pytest.approx(-0.5 * math.log(times))


def test_nothing_is_extrapolated():
    better = ladder(2.0)
    assert better.multiplier("can", better.top).n == 0  # better than the baseline's best
    assert table(better).columns[-1].cells[1].text == "beyond"
    worse = ladder(0.5)
    assert worse.multiplier("can", worse.rungs[0]).n == 0


def test_an_arm_that_costs_more_is_charged_for_it():
    runs = [run(n, {"base": law(n), "can": law(n, 2.0)}) for n in IMAGES]
    for results in runs:
        for key, record in list(results.records.items()):
            if key.startswith("can"):
                macs = record.cost.macs.model_copy(update={"total": 200})
                cost = record.cost.model_copy(update={"macs": macs})
                results.records[key] = record.model_copy(update={"cost": cost})
    actual = Ladder.of(runs)
    assert actual.multiplier("can", actual.rungs[1]).mean == pytest.approx(1.0)


def test_decision_accuracy_counts_pairs():
    def scores(n, order):
        return {arm: law(n) * (1 + 0.1 * rank) for rank, arm in enumerate(order)}

    orders = ("base can mlp", "can base mlp", "mlp can base")
    runs = [run(n, scores(n, order.split())) for n, order in zip(IMAGES, orders, strict=True)]
    actual = Ladder.of(runs)
    below, middle, top = actual.rungs
    assert actual.decision_accuracy(top) == 1.0
    assert actual.decision_accuracy(below) == 0.0  # reversed
    assert actual.decision_accuracy(middle) == pytest.approx(1 / 3)  # can before base
    assert actual.repeatability() == 1.0  # arms share their noise


def test_repeatability_of_pure_noise_is_a_half():
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(40):
        runs = [run(n, {a: np.exp(rng.normal(size=4)) for a in ("base", "can")}) for n in (10, 40)]
        shares.append(Ladder.of(runs).repeatability())
    assert np.mean(shares) == pytest.approx(0.5, abs=0.12)


def test_crossing_and_agreement():
    assert crossing([0, 1, 2], [3, 2, 0], 1.0) == pytest.approx(1.5)
    assert crossing([0, 1, 2], [3, 2, 0], 3.5) is None
    assert agreement({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3, "c": 2}, "abc") == 2 / 3


def test_scores_without_a_logarithm_are_refused():
    runs = [run(n, {"base": law(n), "can": -law(n)}) for n in IMAGES]
    with pytest.raises(CabenchError, match="'kid' of 'can' at scale 's1000': expected positive"):
        Ladder.of(runs).rungs[0].effect("can")


def test_the_document_has_every_number():
    document = as_document(ladder(), ["can", "base"])
    assert document["prediction"]["right"] == 1.0
    middle = document["rungs"][1]["arms"]["can"]
    assert middle["compute_multiplier"]["mean"] == pytest.approx(2.0)
    assert document["rungs"][2]["arms"]["can"]["compute_multiplier"] is None
    assert isinstance(ladder().rungs[0], Rung)
