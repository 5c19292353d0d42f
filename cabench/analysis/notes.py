"""What stands below a table: the protocol, what an interval is, what a MAC is, what went wrong."""

from __future__ import annotations

import json
from typing import Any

from cabench.evidence.frame import complete_records, progress, study_arms, tidy

PROTOCOL = ("n", "guidance", "judge", "sampler", "steps", "images")  # must agree to compare


def footnotes(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> list[str]:
    """One string a note, in reading order; warnings first."""
    done = complete_records(manifest, records)
    bounds = [arm["name"] for arm in study_arms(manifest) if arm.get("bound")]
    asked = {arm["name"] for arm in study_arms(manifest)}
    left_out = [arm["name"] for arm in manifest["arms"] if arm["name"] not in asked]
    notes = [*warnings(done), protocol(manifest, done)]
    notes.append(
        "± and [ ]: 95 % Student-t interval over seeds. Differences are to "
        f"{manifest['baseline']}, paired by seed. 'better', 'worse': p < .05, two-sided paired t, "
        "Holm over the arms; a difference without either word is unresolved."
    )
    if len(manifest["seeds"]) == 1:
        notes.append("One seed: no interval and no test; differences may be chance.")
    if manifest.get("tuning"):
        notes.append(tuning(manifest["tuning"]))
    if manifest.get("claims"):
        text = "Claims are fixed beforehand: the same test, Holm over those tested."
        if any(not isinstance(claim["metric"], str) for claim in manifest["claims"]):
            text += " Over several metrics: the largest of their p's."
        if any(claim.get("added") for claim in manifest["claims"]):
            text += " Added claims were not; Holm over them alone."
        notes.append(f"{text} {manifest.get('caveat', '')}".strip())
    if any(_floor(record) for record in done):
        notes.append(
            "real vs real: a disjoint real set of the same n and labels, same feature extractor. A "
            "KID close to it, not to 0, is as good as real: sets with equal labels lie a little "
            "below 0."
        )
    notes += dict.fromkeys(m["note"] for m in manifest["metrics"].values() if m.get("note"))
    unseen = [m["label"] for name, m in manifest["metrics"].items() if name.endswith("/unseen")]
    if unseen:
        notes.append(
            "(unseen): samples told the conditions of pictures of concepts that neither generator "
            "nor feature extractors know in any style; the other columns are of concepts known in "
            "others."
        )
    if bounds:
        notes.append(f"{', '.join(bounds)}: lower bound without conditions, not tested.")
    counters = sorted({str(r["cost"]["macs"].get("counter")) for r in done if _macs(r)})
    if counters:
        notes.append(
            "MAC: one multiply-accumulate, of one forward of one sample, conditioning included; "
            "'conditioning MACs': what the arm's methods add to the same network told nothing; "
            f"counted by {', '.join(counters)}. "
            "images/s: training, as it ran; a rough guide, not to be compared across machines."
        )
    if left_out:
        notes.append(f"Not run at scale {manifest['scale']}: {', '.join(left_out)}.")
    return notes


def protocol(manifest: dict[str, Any], done: list[dict[str, Any]]) -> str:
    """'2,000 samples at guidance 1, 20 steps, ...; trained on 70,000 images; seeds 0, 1, 2'."""
    found = done[0].get("protocol", {}) if done else {}
    parts = [found[name] for name in ("data", "backbone", "training") if found.get(name)]
    if found.get("images"):
        parts.append(f"{found['images']:,} images seen")
    if "n" in found:
        parts.append(f"n = {found['n']:,} samples a trial")
    if "guidance" in found:
        parts.append(f"guidance {found['guidance']:g}")
    if found.get("sampler"):
        sampler = found["sampler"]
        parts.append(
            "sampler "
            + (
                ", ".join(f"{v}" for v in sampler.values())
                if isinstance(sampler, dict)
                else str(sampler)
            )
        )
    if found.get("steps"):
        parts.append(f"{found['steps']} sampling steps")
    if found.get("judge"):
        parts.append(f"feature extractor {found['judge']}")
    parts.append("seeds " + ", ".join(map(str, manifest["seeds"])))
    return f"Protocol (scale {manifest['scale']}): {'; '.join(parts)}."


def tuning(found: dict[str, dict[str, Any]]) -> str:
    """'Learning rates were searched ...: native+dw 0.003, can-3 0.0015.'"""
    one = next(iter(found.values()))
    rates = ", ".join(f"{arm} {told['lr']:g}" for arm, told in found.items())
    return (
        f"Learning rates were searched for each arm alike ({len(one['tried'])} rates, "
        f"{one['images']:,} images each, seed {one['seed']}, {one['judged']}): {rates}."
    )


def warnings(done: list[dict[str, Any]]) -> list[str]:
    """Where finished trials were not measured alike."""
    notes = []
    for name in PROTOCOL:
        values = [r["protocol"].get(name) for r in done if "protocol" in r]
        found = {json.dumps(value, sort_keys=True) for value in values}
        if len(found) > 1:
            notes.append(
                f"WARNING: trials differ in protocol '{name}' ({' / '.join(sorted(found))}): "
                "their scores do not compare."
            )
    return notes


def status(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> dict[str, str]:
    """By arm: '' when all its trials are complete, else 'failed (1 of 3)', 'not run (2 of 3)'."""
    frame = tidy(manifest, records)
    texts = {}
    for arm in study_arms(manifest):
        found = progress(frame, arm["name"])
        words = (("failed", found["failed"]), ("not run", found["missing"]))
        texts[arm["name"]] = ", ".join(f"{w} ({k} of {found['asked']})" for w, k in words if k)
    return texts


def _floor(record: dict[str, Any]) -> dict[str, float]:
    return record.get("protocol", {}).get("floor") or {}


def _macs(record: dict[str, Any]) -> dict[str, Any]:
    return record.get("cost", {}).get("macs") or {}
