"""Claims as text: what was found, the verdict, and the study's outcome in a sentence."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cabench.analysis.labels import count_unit, decimals, p_text
from cabench.config.schema import COUNTS
from cabench.evidence.metric import Metric, study_metrics
from cabench.evidence.verdicts import judge

COUNT_TITLES = dict(zip(COUNTS, ("MACs", "params"), strict=True))


def ledger(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row per claim, ready to print: id, verdict, says, evidence."""
    metrics = study_metrics(manifest)
    rows = judge(manifest, records).to_dict("records")
    return pd.DataFrame(
        [[identity(r), r["verdict"], r["says"], evidence(r, metrics)] for r in rows],
        columns=["id", "verdict", "says", "evidence"],
    )


def identity(row: dict[str, Any]) -> str:
    return f"{row['id']} (added)" if row["added"] else str(row["id"])


def evidence(row: dict[str, Any], metrics: dict[str, Metric]) -> str:
    """'KID x10^3 @2000 ↓: can-3 - native+dw = -1.2 [-1.9, -0.5], n = 3, p = .012, after ...'.

    Several metrics one after the other, each with its own p; then the largest of the p's.
    """
    texts = []
    for part in row["parts"]:
        if row["test"] == "by_construction":
            ours, base = counts(part)
            texts.append(
                f"{COUNT_TITLES[part['metric']]}: {row['better']} {ours}, {row['than']} {base}, "
                f"{times(part)}{limit(row)}"
            )
        elif part["n"] and part["metric"] in metrics:
            metric = metrics[part["metric"]]
            text = f"{metric.title}: {row['better']} - {row['than']} = {effect(part, metric)}"
            alone = len(row["parts"]) == 1 or part["p"] != part["p"]
            texts.append(f"{text}, n = {part['n']}" + ("" if alone else f", {p_text(part['p'])}"))
    if row["p_holm"] == row["p_holm"]:
        largest = "largest " if len(row["parts"]) > 1 else ""
        texts[-1] += f", {largest}{p_text(row['p'])}, after Holm {p_text(row['p_holm'])}"
    return "; ".join(texts + [row["reason"]] * bool(row["reason"]))


def effect(part: dict[str, Any], metric: Metric) -> str:
    """'-1.2 [-1.9, -0.5]': the paired difference, in printed units."""
    diff, low, high = (part[k] * metric.scale for k in ("diff", "low", "high"))
    places = decimals([diff], [(high - low) / 2], digits=2)
    text = f"{diff:+z.{places}f}"
    return f"{text} [{low:+z.{places}f}, {high:+z.{places}f}]" if low == low else text


def means(part: dict[str, Any], metric: Metric) -> tuple[str, str]:
    """The means of both arms over the seeds they share, as precise as their difference."""
    diff, low, high = (part[k] * metric.scale for k in ("diff", "low", "high"))
    places = decimals([diff], [(high - low) / 2], digits=2)
    return tuple(f"{part[side] * metric.scale:z.{places}f}" for side in ("better", "than"))


def counts(part: dict[str, Any]) -> tuple[str, str]:
    size, unit = count_unit([part["better"], part["than"]])
    return tuple(f"{part[side] / size:,.4g}{unit}" for side in ("better", "than"))


def times(part: dict[str, Any]) -> str:
    return f"{part['better'] / part['than']:.3g} times"


def limit(row: dict[str, Any]) -> str:
    ratio = row["ratio"]
    return f" (at most {ratio:g})" if ratio is not None and ratio == ratio else ""


# ---- the outcome -------------------------------------------------------------------------------


def outcome(rows: list[dict[str, Any]]) -> str:
    """'None of the 3 tested claims is supported: 3 unresolved; 1 not tested.'"""
    found = []
    for added, noun in ((False, "claim"), (True, "claim added to the study")):
        family = [row for row in rows if row["added"] == added]
        tests = [row["verdict"] for row in family if row["test"] != "by_construction"]
        facts = [row["verdict"] for row in family if row["test"] == "by_construction"]
        found += [_of_tests(tests, noun)] * bool(tests) + [_of_facts(facts, noun)] * bool(facts)
    return " ".join(found)


def _of_tests(verdicts: list[str], noun: str) -> str:
    tested = [v for v in verdicts if v != "not tested"]
    won, skipped = tested.count("supported"), len(verdicts) - len(tested)
    nouns = noun.replace("claim", "claims", 1)
    if not tested:
        return f"No {noun} could be tested ({skipped} of {skipped} not tested)."
    if len(tested) == 1:
        text = f"The one tested {noun} is {tested[0]}"
    elif won == len(tested):
        text = f"{'Both' if won == 2 else f'All {won}'} tested {nouns} are supported"
    else:
        lost = [f"{tested.count(v)} {v}" for v in ("contradicted", "unresolved") if v in tested]
        text = f"{won or 'None'} of the {len(tested)} tested {nouns} {'are' if won > 1 else 'is'} "
        text += f"supported: {', '.join(lost)}"
    return text + (f"; {skipped} not tested." if skipped else ".")


def _of_facts(verdicts: list[str], noun: str) -> str:
    kinds = {"by construction": "true", "contradicted": "false", "not tested": "not counted"}
    found = [f"{verdicts.count(v)} {text}" for v, text in kinds.items() if v in verdicts]
    nouns = noun.replace("claim", "claims", 1)
    nouns = noun if len(verdicts) == 1 else nouns
    return f"Counting decides {len(verdicts)} {nouns} about cost: {', '.join(found)}."
