"""Claims about margins, several rivals and differences of differences; sequential verdicts."""

import numpy as np
import pytest
from example_study import make_claim, make_failed, make_manifest, make_record, read_results
from scipy import integrate, stats

from cabench.analysis.verdict_text import disagreement

SEEDS = 6
NOISE = np.array([0.10, -0.05, 0.02, -0.08, 0.06, -0.03])
BASE = 10 + np.array([0.4, -0.2, 0.1, 0.3, -0.5, 0.0])
METRICS = {"kid": {"label": "KID"}, "acc": {"label": "acc", "higher_is_better": True}}


def results(values, claims, margins=None, **design):
    """Results of claims about {arm: {metric: values by seed}}."""
    manifest = make_manifest(list(values), "base", range(SEEDS), METRICS, claims)
    manifest |= {"margins": margins or {}, "design": design}
    records = {
        f"{arm}@{s}": make_record(arm, s, {m: float(of_seeds[s]) for m, of_seeds in scores.items()})
        for arm, scores in values.items()
        for s in range(SEEDS)
    }
    return read_results(manifest, records)


def verdict(difference, test="superiority", margin=None, **design):
    """The verdict on an arm whose KID differs by `difference`, with an sd of .07."""
    values = {"base": {"kid": BASE}, "can": {"kid": BASE + difference + NOISE}}
    claim = make_claim("can", "base", test=test)
    margins = {} if margin is None else {"kid": margin}
    return results(values, [claim], margins, **design).verdicts[0]


def t_p(difference, bound):
    """One-sided p of: the mean of the differences is at least `bound`."""
    return stats.ttest_1samp(difference + NOISE, bound, alternative="less").pvalue


def test_equivalent_within_the_margin_by_two_one_sided_tests():
    close = verdict(0.01, margin=0.3)
    assert close.word == "equivalent"
    assert close.p == pytest.approx(2 * t_p(0.01, 0.3))  # the nearer limit decides
    assert verdict(0.01, margin=0.05).word == "unresolved"
    assert verdict(0.01).word == "unresolved"


def test_decided_and_within_the_margin_is_a_case_of_its_own():
    assert verdict(-0.2, margin=0.5).word == "supported, small"
    assert verdict(+0.2, margin=0.5).word == "contradicted, small"
    assert verdict(-0.2, margin=0.21).word == "supported"
    assert verdict(-0.2).word == "supported"


@pytest.mark.parametrize("sequential", [False, True])
def test_non_inferiority_is_a_test_of_the_shifted_difference(sequential):
    def word(difference):
        return verdict(difference, "non_inferiority", 0.3, sequential=sequential).word

    assert [word(d) for d in (-0.5, 0.0, 0.28, 0.7)] == [
        "supported",
        "supported",
        "unresolved",
        "contradicted",
    ]
    fixed = verdict(0.1, "non_inferiority", 0.3)
    assert fixed.p == pytest.approx(2 * t_p(0.1, 0.3))


def test_equivalence_as_a_claim():
    assert verdict(0.01, "equivalence", 0.3).word == "supported"
    assert verdict(0.9, "equivalence", 0.3).word == "contradicted"
    assert verdict(-0.9, "equivalence", 0.3).word == "contradicted"
    assert verdict(0.3, "equivalence", 0.3).word == "unresolved"
    missing = verdict(0.01, "equivalence")
    assert missing.word == "not tested" and "no margin is stated for 'kid'" in missing.reason


def test_an_interaction_must_beat_every_rival():
    values = {
        "base": {"kid": BASE},
        "a": {"kid": BASE - 1 + NOISE},
        "b": {"kid": BASE - 2 - NOISE},
        "a+b": {"kid": BASE - 2.5 + NOISE[::-1]},
    }
    claim = make_claim("a+b", "a", also_than=["b"])
    actual = results(values, [claim]).verdicts[0]
    assert actual.word == "supported" and [p.sides[1] for p in actual.evidence] == ["a", "b"]
    ps = [stats.ttest_rel(values["a+b"]["kid"], values[arm]["kid"]).pvalue for arm in ("a", "b")]
    assert actual.p == pytest.approx(max(ps))
    level = values | {"a+b": {"kid": BASE - 2 + NOISE[::-1]}}  # better than a alone
    assert results(level, [claim]).verdicts[0].word == "unresolved"


def test_a_difference_of_differences():
    values = {
        "base": {"kid": BASE},
        "base+can": {"kid": BASE - 0.1 + NOISE},
        "mlp": {"kid": BASE[::-1]},
        "mlp+can": {"kid": BASE[::-1] - 1.1 - NOISE},
    }
    claim = make_claim(
        "mlp+can", "base+can", test="difference_of_differences", relative_to=["mlp", "base"]
    )
    actual = results(values, [claim]).verdicts[0]
    (part,) = actual.evidence
    assert actual.word == "supported"
    assert part.difference.mean == pytest.approx(-1.0 - 2 * NOISE.mean())
    assert part.sides == ("(mlp+can - mlp)", "(base+can - base)")


# ---- sequential ---------------------------------------------------------------------------------


def e_by_integration(d, g):
    """The e value against mean <= 0: the likelihood ratio of the scale-free data, integrated.

    sigma by the right-Haar prior d sigma / sigma, the effect size by a half-normal one.
    """
    d = np.asarray(d)

    def marginal(effect):
        def over(log_sigma):
            sigma = np.exp(log_sigma)
            return np.prod(stats.norm.pdf(d, effect * sigma, sigma))

        middle = np.log(np.sqrt(np.mean(d**2)))
        return integrate.quad(over, middle - 12, middle + 12, limit=400, points=[middle])[0]

    prior = stats.norm(0, np.sqrt(g))
    top, _ = integrate.quad(lambda x: 2 * prior.pdf(x) * marginal(x), 0, 8 * np.sqrt(g), limit=400)
    return top / marginal(0.0)


def test_a_sequential_verdict_rests_on_the_largest_e_value_so_far():
    actual = verdict(-0.2, sequential=True)
    gains = 0.2 - NOISE
    # with these gains it grows from the third seed on
    largest = max(e_by_integration(gains[:n], 9.0) for n in range(SEEDS - 1, SEEDS + 1))
    assert actual.p == pytest.approx(2 / largest, rel=1e-3)
    assert actual.word == "supported"
    difference = actual.evidence[0].difference
    assert difference.low < difference.mean < difference.high < 0
    assert difference.low < verdict(-0.2).evidence[0].difference.low  # wider than the t interval


def test_order_of_seeds_is_that_of_the_manifest():
    """The largest e value depends on the order in which differences were seen."""
    values = {"base": {"kid": BASE}, "can": {"kid": BASE - np.array([3, 3.1, 3, 2.9, -9, 9])}}
    claim = make_claim("can", "base")
    late = results(values, [claim], sequential=True)
    manifest = late.manifest
    turned = manifest.model_copy(update={"trials": tuple(reversed(manifest.trials))})
    early = type(late)(turned, late.records)
    assert late.verdicts[0].word == "supported"  # on the first four; what follows can't undo it
    assert early.verdicts[0].word == "unresolved"


def test_several_metrics_in_opposite_directions_say_nothing():
    up = {"kid": BASE - 1 + NOISE, "acc": BASE - 1 + NOISE}
    values = {"base": {"kid": BASE, "acc": BASE}, "can": up}
    claim = make_claim("can", "base", ["kid", "acc"])
    for sequential in (False, True):
        actual = results(values, [claim], sequential=sequential).verdicts[0]
        assert actual.word == "unresolved" and actual.p > 0.9


# ---- degenerate differences ---------------------------------------------------------------------


def test_a_start_without_spread_decides_nothing():
    """Four equal differences, then the opposite: the equal ones say nothing about the spread."""
    d = np.array([1.0, 1.0, 1.0, 1.0, -8.0, -9.0])
    values = {"base": {"kid": BASE}, "can": {"kid": BASE - d}}
    actual = results(values, [make_claim("can", "base")], sequential=True).verdicts[0]
    assert actual.word == "unresolved" and actual.p > 0.1


def test_rounding_is_no_effect():
    """A difference of differences of rounded scores that cancels leaves only float noise."""
    a = np.array([0.624, 0.756, 0.746, 0.611, 0.702, 0.733])
    c = np.array([0.226, 0.492, 0.431, 0.318, 0.377, 0.405])
    values = {arm: {"kid": v} for arm, v in zip("abcd", (a, a - 0.05, c, c - 0.05), strict=True)}
    claim = make_claim("a", "c", test="difference_of_differences", relative_to=["b", "d"])
    for sequential in (False, True):
        actual = results({"base": {"kid": a}} | values, [claim], sequential=sequential)
        verdict = actual.verdicts[0]
        assert verdict.p == 1.0 and verdict.evidence[0].difference.p == 1.0


def test_a_mean_of_zero_has_its_sequential_p():
    d = np.array([1, 1.1, 0.9, 1.05, 0.95, -5])
    values = {"base": {"kid": BASE}, "can": {"kid": BASE - d}}
    actual = results(values, [make_claim("can", "base")], sequential=True).verdicts[0]
    difference = actual.evidence[0].difference
    assert abs(difference.mean) < 1e-9 and difference.p == pytest.approx(actual.p)


# ---- twins, failed seeds ------------------------------------------------------------------------


def test_a_margin_makes_no_disagreement_with_the_twin():
    metrics = {
        "kid": {"label": "KID", "twin": "kid_trained"},
        "kid_trained": {"label": "KID-trained", "twin": "kid"},
    }
    claims = [make_claim("can", "base", id="C1"), make_claim("can", "base", id="C2")]
    claims[1]["test"] = "non_inferiority"
    manifest = make_manifest(["base", "can"], "base", range(SEEDS), metrics, claims)
    manifest["margins"] = {"kid": 0.5}
    records = {
        f"{arm}@{s}": make_record(arm, s, dict.fromkeys(metrics, float(value)))
        for arm, values in (("base", BASE), ("can", BASE - 0.2 + NOISE))
        for s, value in enumerate(values)
    }
    actual = read_results(manifest, records)
    assert [v.word for v in actual.verdicts] == ["supported, small", "supported"]
    assert list(actual.twin_verdicts) == ["C1"] and disagreement(actual) == ""


def test_a_failed_seed_that_the_claim_does_not_use_plays_no_part():
    claims = [make_claim("can", "base", id="C1"), make_claim("mlp", "base", id="C2")]
    values = {"base": BASE, "can": BASE - 1 + NOISE, "mlp": BASE + NOISE[::-1]}
    manifest = make_manifest(list(values), "base", range(SEEDS), METRICS, claims)
    manifest["trials"] += [{"arm": a, "seed": 9, "key": f"{a}@9"} for a in ("base", "mlp")]
    manifest["design"] = {"sequential": True}
    records = {
        f"{arm}@{s}": make_record(arm, s, {"kid": float(value)})
        for arm, of_arm in values.items()
        for s, value in enumerate(of_arm)
    } | {"base@9": make_failed("base", 9, "boom"), "mlp@9": make_record("mlp", 9, {"kid": 9.0})}
    first, second = read_results(manifest, records).verdicts
    assert first.word == "supported"
    assert second.word == "not tested" and "'base' failed at seed 9" in second.reason
    assert first.p_holm == pytest.approx(2 * first.p)  # the other still counts in the family
