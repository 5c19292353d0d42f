"""Results as tidy frames, for notebooks and figures of your own: cabench.load and its like.

Read from manifest and records alone, so that neither torch nor the study's data is needed.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from cabench.analysis.generated import generated_rows
from cabench.evidence.frame import tidy
from cabench.records.runs import Run, find_run

SWEPT = re.compile(r"(.+)/g(\d+(?:\.\d+)?)")  # 'kid/g2': the metric kid at guidance 2
COLUMNS = [
    "study",
    "scale",
    "arm",
    "seed",
    "metric",
    "guidance",
    "value",
    "status",
    "n",
    "macs",
    "params",
    "train_images_per_s",
    "key",
]
CURVE_COLUMNS = ["study", "scale", "arm", "seed", "images", "kind", "loss", "key"]
WEIGHT_COLUMNS = ["study", "scale", "arm", "seed", "images", "site", "measure", "value", "key"]


def load(study: str, scale: str | None = None, results: str | Path = "results") -> pd.DataFrame:
    """A study's results, a row per arm x seed x metric, arms and metrics in the study's order.

    `study` is the name in its file, STUDY.SCALE, or the file's path; without `scale` it is the only
    scale that was run, else quick. Warns when the study file has changed since.

    study, scale        names
    arm, seed           of the trial
    metric              'kid', ...; 'heldout_loss/bin0' is the loss at the lowest of the noise bins
    guidance            at which the samples behind the value were drawn, 1 = none;
                        NaN for a loss: it has no samples
    value               as measured: never scaled, an accuracy lies in 0..1; NaN without a result
    status              complete, failed or missing; a trial without a result has a row with NaN for
                        each of the study's metrics
    n                   samples behind the value; <NA> for a loss or without a result
    macs                multiply-adds of one forward of one sample, weight generation included
    params              parameters, all of them
    train_images_per_s  images a second while training, on the machine that ran the trial: a guide
    key                 the record is results/records/KEY.json; arms may share one
    """
    run = _find(study, scale, results)
    records = run.records()
    protocols = [r["protocol"] for r in records.values() if r.get("protocol")]
    usual = protocols[0] if protocols else {}  # so that a failed trial stands beside its like
    rows = []
    for row in tidy(run.told, records).to_dict("records"):
        record = records.get(row["key"], {})
        protocol = record.get("protocol") or {}
        metric, guidance = _split(row["metric"], protocol or usual)
        sampled = metric in protocol.get("metrics", {})
        rows.append(
            _named(run, row)
            | _cost(record)
            | {"metric": metric, "guidance": guidance, "n": protocol["n"] if sampled else None}
        )
    types = dict.fromkeys(("n", "macs", "params"), "Int64")
    types |= dict.fromkeys(("guidance", "value", "train_images_per_s"), float)
    return pd.DataFrame(rows, columns=COLUMNS).astype(types)


def load_curves(
    study: str, scale: str | None = None, results: str | Path = "results"
) -> pd.DataFrame:
    """A study's loss curves, a row per point; arguments as of `load`.

    study, scale, arm, seed, key  as in `load`
    images                        pictures seen up to this point, with repetition
    kind                          'train': mean training loss since the last point, label dropout
                                  included; 'heldout': the averaged network on pictures kept apart
    loss                          mean squared error of the prediction, per pixel

    A trial without curves (not run yet, or failed before they were written) has no rows; nor has
    one whose curves are damaged, which is logged.
    """
    run = _find(study, scale, results)
    curves = run.store.curves(run.records())
    rows = [
        _named(run, trial) | {"images": images, "kind": kind, "loss": loss}
        for trial in run.told["trials"]
        for kind, images, loss in curve_points(curves.get(trial["key"], {}))
    ]
    types = {"seed": int, "images": int, "loss": float}
    return pd.DataFrame(rows, columns=CURVE_COLUMNS).astype(types)


def load_weights(
    study: str, scale: str | None = None, results: str | Path = "results"
) -> pd.DataFrame:
    """What a study's weight generators made while training; arguments as of `load`.

    study, scale, arm, seed, key  as in `load`
    images                        pictures seen up to this point, with repetition
    site                          kind of layer; values are means over its layers
    measure, value                of the averaged network, over a grid of classes and timesteps:
      static                      Frobenius norm of the static weight
      generated                   of the generated one, mean over conditions
      spread_class, spread_time   RMS distance from the mean over classes at one timestep (over
                                  timesteps at one class), in units of the static norm
      effective_rank              exp of the entropy of the normalised squared singular values of
                                  [conditions x generated weights], less the mean over conditions

    A trial without weight generators, or run before they were measured, has no rows.
    """
    run = _find(study, scale, results)
    rows = generated_rows(run.told, run.store.curves(run.records()))
    return rows.assign(study=run.told["study"], scale=run.told["scale"])[WEIGHT_COLUMNS]


def curve_points(told: dict[str, Any]) -> list[tuple[str, int, float]]:
    """(kind, images, loss) of one trial's curves in their order, 'train' before 'heldout'."""
    parts = {"train": told, "heldout": told.get("heldout", {})}
    return [
        (kind, images, loss)
        for kind, part in parts.items()
        for images, loss in zip(part.get("images", []), part.get("loss", []), strict=True)
    ]


def _find(study: str, scale: str | None, results: str | Path) -> Run:
    run = find_run(Path(results), str(study), scale)
    if run.study_file_state == "changed":
        text = f"{run.told['study_file']} has changed since {run.name} was run"
        warnings.warn(text, stacklevel=3)
    return run


def _named(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    return {"study": run.told["study"], "scale": run.told["scale"]} | row


def _split(name: str, protocol: dict[str, Any]) -> tuple[str, float | None]:
    """Metric and guidance; the protocol says which metrics are of samples."""
    swept = SWEPT.fullmatch(name)
    if swept:
        return swept[1], float(swept[2])
    return name, protocol.get("guidance") if name in protocol.get("metrics", {}) else None


def _cost(record: dict[str, Any]) -> dict[str, Any]:
    cost = record.get("cost") or {}
    return {
        "macs": cost.get("macs", {}).get("total"),
        "params": cost.get("params", {}).get("total"),
        "train_images_per_s": (record.get("timing") or {}).get("train_images_per_s"),
    }
