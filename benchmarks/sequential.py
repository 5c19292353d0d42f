"""How often the test of `cabench run --until-resolved` errs, and what it can show.

    python benchmarks/sequential.py [--residuals RUN] [--aa RUN] [--cost RUN...] [--out reports]

Writes sequential.csv and sequential.md: simulated families of four claims that share a control, so
that their paired differences are correlated by .5, from three distributions: Gaussian, heavy tails
(Student's t with 3 degrees of freedom) and skewed differences (exponential), with a look after
every seed. Takes some seconds.

RUN is a study's folder, such as results/reference/layer_placement.quick. --residuals adds a
distribution: the primary metric of the run's baseline over its seeds, centred and drawn with
replacement. --aa prints the tests on a run of studies/aa.yaml. --cost prints what 80 % power costs
for the claims of runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from cabench.evidence.power import POWER, costs_of_evidence
from cabench.evidence.results import Results
from cabench.evidence.sequential import G, e_process
from cabench.evidence.stopping import MOST as MOST_COUNTED
from cabench.records.runs import find_run

CLAIMS, MOST, ALPHA = 4, 20, 0.05
NULL_COLUMNS = ["metric", "pairs", "mean / sd", "p (t)", "final e", "anytime p"]
NULL_COLUMNS += ["smallest p of 3", "median p of 3"]
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
DISTRIBUTIONS: dict[str, Draw] = {  # of an arm's part of a difference, standard deviation 1
    "Gaussian": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "skewed": lambda rng, shape: rng.standard_exponential(shape) - 1,
}


def differences(draw: Draw, repeats: int, effects: np.ndarray, seed: int = 0) -> np.ndarray:
    """Paired differences (repeats, claims, seeds) to one control, with these means and sd 1."""
    rng = np.random.default_rng(seed)
    arms = draw(rng, (repeats, len(effects), MOST))
    # differences of two skewed scores would be symmetric
    common = draw if draw is not DISTRIBUTIONS["skewed"] else DISTRIBUTIONS["Gaussian"]
    control = common(rng, (repeats, 1, MOST))
    return (arms - control) / np.sqrt(2) + effects[:, None]


def holm_rejects(p: np.ndarray) -> np.ndarray:
    """Holm's rejections over axis 1 of p (repeats, claims, looks)."""
    order = np.argsort(p, axis=1)
    m = p.shape[1]
    ordered = np.take_along_axis(p, order, axis=1)
    passed = ordered < ALPHA / np.arange(m, 0, -1)[:, None]
    passed = np.logical_and.accumulate(passed, axis=1)
    rejects = np.zeros_like(passed)
    np.put_along_axis(rejects, order, passed, axis=1)
    return rejects


def t_test(d: np.ndarray) -> np.ndarray:
    """Two-sided p of a t test at every look; 1 at the first."""
    n = np.arange(1, d.shape[-1] + 1)
    mean = np.cumsum(d, axis=-1) / n
    variance = (np.cumsum(d**2, axis=-1) - n * mean**2) / np.maximum(n - 1, 1)
    t = np.abs(mean) / np.sqrt(np.maximum(variance, 1e-300) / n)
    return np.where(n > 1, 2 * stats.t.sf(t, np.maximum(n - 1, 1)), 1.0)


def anytime(d: np.ndarray, g: float = G) -> np.ndarray:
    """Two-sided anytime-valid p at every look."""
    up, down = (np.maximum.accumulate(e_process(s * d, g), axis=-1) for s in (1, -1))
    return np.minimum(1.0, 2 / np.maximum(up, down))


def error_rates(repeats: int) -> pd.DataFrame:
    """Family-wise error where all nulls are true."""
    rows = []
    for name, draw in DISTRIBUTIONS.items():
        d = differences(draw, repeats, np.zeros(CLAIMS))
        t = holm_rejects(t_test(d)).any(axis=1)  # repeats, looks
        e = holm_rejects(anytime(d)).any(axis=1)
        rates = {
            "t test, 3 seeds": t[:, 2],
            "t test, looks at 3 to 5": t[:, 2:5].any(axis=1),
            "t test, looks at 3 to 10": t[:, 2:10].any(axis=1),
            "t test, looks at 3 to 20": t[:, 2:].any(axis=1),
            "anytime-valid, all looks to 20": e.any(axis=1),
        }
        rows += [("family-wise error", name, test, float(r.mean())) for test, r in rates.items()]
        # the confidence sequence excludes the mean where an e value of it exceeds 2 / alpha
        missed = (anytime(d[:, 0]) < ALPHA).any(axis=1)
        coverage = ("coverage", name, "95 % confidence sequence, all looks to 20")
        rows.append((*coverage, float(1 - missed.mean())))
        t_missed = (t_test(d[:, 0])[:, 1:] < ALPHA).any(axis=1)
        coverage = ("coverage", name, "95 % t interval, all looks from 2 to 20")
        rows.append((*coverage, float(1 - t_missed.mean())))
    return pd.DataFrame(rows, columns=pd.Index(["what", "distribution", "test", "rate"]))


def power(repeats: int, effects: tuple[float, ...] = (1.0, 2.0, 3.0)) -> pd.DataFrame:
    """How often one true effect (in sd of a paired difference) beside three nulls is shown."""
    rows = []
    for effect in effects:
        means = np.array([effect, 0, 0, 0])
        d = differences(DISTRIBUTIONS["Gaussian"], repeats, means, seed=1)
        t, e = holm_rejects(t_test(d))[:, 0], holm_rejects(anytime(d))[:, 0]
        for n in (3, 6, 9, 12):
            rows.append((effect, f"t test, {n} seeds fixed", float(t[:, n - 1].mean()), n))
        looks = np.array([3, 6, 9, 12])
        shown = e[:, looks - 1]
        first = np.where(shown.any(axis=1), looks[shown.argmax(axis=1)], looks[-1])
        name = "anytime-valid, looks at 3, 6, 9, 12"
        rows.append((effect, name, float(shown.any(axis=1).mean()), float(first.mean())))
    return pd.DataFrame(rows, columns=pd.Index(["effect", "test", "power", "mean seeds"]))


def residuals(folder: Path) -> Draw:
    """Draws from the baseline's scores in a run, standardised."""
    results = Results.of(find_run(folder.parent, folder.name))
    values = results.by_seed(results.manifest.baseline, results.primary.name).to_numpy()
    if len(values) < 10:
        raise SystemExit(f"{folder}: expected 10 or more seeds of the baseline, got {len(values)}")
    scores = (values - values.mean()) / values.std()
    return lambda rng, shape: rng.choice(scores, shape)


def null_pairs(folder: Path, size: int = 3) -> pd.DataFrame:
    """The tests on a run of studies/aa.yaml, where every claim is false.

    Per metric: the mean difference of the pairs in standard deviations, p of the t test on all, the
    final e value in its larger direction, the anytime-valid p, and the smallest and the median p of
    t tests on disjoint groups of `size` pairs, which are uniform if the test holds.
    """
    results = Results.of(find_run(folder.parent, folder.name))
    base, other = results.arms
    rows = []
    for name, metric in results.metrics.items():
        ours, theirs = results.by_seed(other, name), results.by_seed(base, name)
        d = (ours - theirs).dropna().to_numpy()
        groups = [d[i : i + size] for i in range(0, len(d) - size + 1, size)]
        p = np.sort([stats.ttest_1samp(group, 0).pvalue for group in groups])
        final = max(e_process(d)[-1], e_process(-d)[-1])
        rows.append(
            (
                metric.title,
                len(d),
                d.mean() / d.std(ddof=1),
                stats.ttest_1samp(d, 0).pvalue,
                float(final),
                float(anytime(d)[-1]),
                float(p[0]),
                float(np.median(p)),
            )
        )
    return pd.DataFrame(
        rows,
        columns=pd.Index(NULL_COLUMNS),
    )


def cost_of_evidence(folder: Path, repeats: int) -> pd.DataFrame:
    """`costs_of_evidence` of a run, and the seeds that the sequential test needs, by simulation."""
    results = Results.of(find_run(folder.parent, folder.name))
    tests = {verdict.claim.id: verdict.tests for verdict in results.verdicts}
    rows = []
    for cost in costs_of_evidence(results):
        d = np.random.default_rng(2).standard_normal((repeats, MOST * 3)) + cost.effect / cost.sd
        shown = (anytime(d) < ALPHA / tests[cost.claim]).mean(axis=0)
        enough = np.flatnonzero(shown >= POWER)
        n = int(enough[0]) + 1 if len(enough) else None
        per_seed = cost.minutes / cost.seeds if cost.seeds and cost.minutes else None
        for test, seeds in (("t test, fixed", cost.seeds), ("anytime-valid", n)):
            minutes = "-" if seeds is None or per_seed is None else seeds * per_seed
            limit = MOST_COUNTED if test == "t test, fixed" else MOST * 3
            row = (cost.claim, cost.n, cost.sd, cost.effect, test, seeds or f"> {limit}", minutes)
            rows.append(row)
    names = ["claim", "n", "sd", "effect", "test", "seeds", "worker-minutes"]
    return pd.DataFrame(rows, columns=pd.Index(names))


def largest_e() -> pd.DataFrame:
    """The largest e value that n equal differences give."""
    e = e_process(np.ones(6))
    return pd.DataFrame({"seeds": np.arange(1, 7), "largest e": e})


def table(frame: pd.DataFrame) -> str:
    """The frame as Markdown, numbers with three digits."""
    lines = [list(frame.columns), ["---"] * frame.shape[1]]
    lines += [
        [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in frame.itertuples(index=False)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20000)
    parser.add_argument("--out", type=Path, default=Path("reports"))
    parser.add_argument("--residuals", type=Path, help="folder of a run with many seeds")
    parser.add_argument("--aa", type=Path, help="folder of a run of studies/aa.yaml")
    parser.add_argument("--cost", type=Path, nargs="+", default=[], help="runs with claims")
    options = parser.parse_args()
    if options.residuals:
        DISTRIBUTIONS["measured"] = residuals(options.residuals)
    errors, shown = error_rates(options.repeats), power(options.repeats)
    costs = []
    if options.aa:
        title = f"Two draws of the same arm ({options.aa}); every claim is false:"
        costs += [title, table(null_pairs(options.aa))]
    for run in options.cost:
        title = f"Cost of 80 % power for a difference of 5 % in the primary metric ({run}):"
        costs += [title, table(cost_of_evidence(run, 4000))]
    text = "\n\n".join(
        [
            "# Error and power of the sequential test",
            f"`{' '.join(['python', *sys.argv])}`: {options.repeats:,} "
            f"simulated families of {CLAIMS} claims that share a control, Holm's correction at "
            f"{ALPHA}, g = {G:g}.",
            table(
                errors.pivot_table("rate", ["what", "test"], "distribution", sort=False)
                .reset_index()
                .round(4)
            ),
            "One true effect, in standard deviations of a paired difference, beside three nulls:",
            table(shown),
            "Largest e value that n equal differences give (a family of four needs 160 in one "
            "direction):",
            table(largest_e()),
            *costs,
        ]
    )
    (options.out / "sequential.md").write_text(text + "\n", encoding="utf-8")
    pd.concat([errors, shown]).to_csv(options.out / "sequential.csv", index=False)
    print(text)


if __name__ == "__main__":
    main()
