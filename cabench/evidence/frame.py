"""One tidy frame: a row per arm x seed x metric; what failed or is missing stays visible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ["arm", "seed", "key", "metric", "value", "status", "error"]


def tidy(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Every trial of the manifest in its order; `status` is complete, failed or missing.

    A trial lacking a metric has a row with NaN for each of the study's metrics; values are as
    stored (not scaled). Arms of equal key share one record.
    """
    rows = []
    for trial in manifest["trials"]:
        record = records.get(trial["key"])
        status = record["status"] if record else "missing"
        measured = record.get("metrics") or {} if status == "complete" else {}
        names = [*manifest["metrics"], *(m for m in measured if m not in manifest["metrics"])]
        for name in names:
            rows.append(
                {
                    "arm": trial["arm"],
                    "seed": trial["seed"],
                    "key": trial["key"],
                    "metric": name,
                    "value": measured.get(name),
                    "status": status,
                    "error": (record or {}).get("error"),
                }
            )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["value"] = pd.to_numeric(frame["value"], errors="coerce").astype(float)
    return frame.drop_duplicates(["arm", "seed", "metric"]).reset_index(drop=True)


def by_seed(frame: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """One arm's finite values of a metric, indexed by seed."""
    values = frame["value"].to_numpy()
    chosen = (frame["arm"] == arm).to_numpy() & (frame["metric"] == metric).to_numpy()
    chosen &= np.isfinite(values)
    return pd.Series(values[chosen], index=frame["seed"].to_numpy()[chosen])


def study_arms(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The arms that have trials at this scale, in study order."""
    asked = {trial["arm"] for trial in manifest["trials"]}
    return [arm for arm in manifest["arms"] if arm["name"] in asked]


def has_native(manifest: dict[str, Any], arm: str) -> bool:
    """Does the arm hold the backbone's native method, alone or beside others?"""
    return any(a.get("native") for a in manifest["arms"] if a["name"] == arm)


def added_arms(manifest: dict[str, Any]) -> set[str]:
    """Arms given on the command line."""
    return {arm["name"] for arm in manifest["arms"] if arm.get("added")}


def is_bound(manifest: dict[str, Any], arm: str) -> bool:
    return any(entry["name"] == arm and entry.get("bound") for entry in manifest["arms"])


def complete_records(
    manifest: dict[str, Any], records: dict[str, dict[str, Any]], arm: str | None = None
) -> list[dict[str, Any]]:
    """The finished records of the study (or of one arm), in trial order."""
    keys = [t["key"] for t in manifest["trials"] if arm is None or t["arm"] == arm]
    found = [records[key] for key in dict.fromkeys(keys) if key in records]
    return [record for record in found if record["status"] == "complete"]


def progress(frame: pd.DataFrame, arm: str) -> dict[str, int]:
    """How many of an arm's trials are complete, failed, missing; and `asked`, their sum."""
    trials = frame[frame["arm"] == arm].drop_duplicates("seed")
    counts = trials["status"].value_counts()
    found = {status: int(counts.get(status, 0)) for status in ("complete", "failed", "missing")}
    return found | {"asked": len(trials)}


def failures(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> list[str]:
    """'arm (seeds 0, 2): the error's last line' for every failed trial, equal errors joined."""
    groups: dict[tuple[str, str], list[int]] = {}
    for trial in manifest["trials"]:
        record = records.get(trial["key"])
        if record and record["status"] == "failed":
            lines = str(record.get("error") or "").strip().splitlines()
            reason = lines[-1].strip() if lines else "no reason recorded"
            groups.setdefault((trial["arm"], reason), []).append(trial["seed"])
    return [
        f"{arm} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}): {reason}"
        for (arm, reason), seeds in groups.items()
    ]


def costs(manifest: dict[str, Any], records: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row per arm: macs, conditioning_macs (one sample, one forward), params, images_per_s."""
    rows = []
    for arm in study_arms(manifest):
        done = complete_records(manifest, records, arm["name"])
        cost = done[0].get("cost", {}) if done else {}
        rates = [r.get("timing", {}).get("train_images_per_s") for r in done]
        rates = [rate for rate in rates if rate]
        rows.append(
            {
                "arm": arm["name"],
                "macs": cost.get("macs", {}).get("total"),
                "conditioning_macs": cost.get("macs", {}).get("conditioning"),
                "params": cost.get("params", {}).get("total"),
                "images_per_s": float(np.mean(rates)) if rates else None,
            }
        )
    frame = pd.DataFrame(rows, columns="arm macs conditioning_macs params images_per_s".split())
    return frame.astype(dict.fromkeys(frame.columns[1:], float))
