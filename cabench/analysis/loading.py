"""Results as tidy frames for notebooks and own figures: `cabench.load`, `load_curves`, ...

`cabench.load_results` (study_results.py) gives the same frames, with verdicts and figures.
Reads manifests and records only, so it needs neither torch nor the study's data.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from cabench.analysis.summary import SWEPT
from cabench.analysis.training_curves import loss_frame, weight_frame
from cabench.evidence.results import Results
from cabench.records.runs import Run, find_run
from cabench.records.schema import Protocol, Record
from cabench.runtime.cache import RESULTS

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
    "checkpoint",
]
CURVE_COLUMNS = ["study", "scale", "arm", "seed", "images", "kind", "loss", "key"]
WEIGHT_COLUMNS = ["study", "scale", "arm", "seed", "images", "site", "measure", "value", "key"]


def load(study: str, scale: str | None = None, results: str | Path = RESULTS) -> pd.DataFrame:
    """Load a study's results: one row per arm x seed x metric x guidance.

    Args:
        study: its name ("layer_placement"), STUDY.SCALE ("layer_placement.quick"), or the path of
            its file ("studies/layer_placement.yaml").
        scale: one of the scales that the study was run at. Default: the only one, else "quick".
        results: the directory of results, as given to `cabench run --results`. Where the default
            one has no run of the study, the committed reference is read, and the log says so.

    Returns:
        A frame with arms and metrics in the study's order and these columns:

        - `study`, `scale`: names
        - `arm`, `seed`: of the trial
        - `metric`: "kid", "heldout_loss", ...; "heldout_loss/bin0" is the held-out loss in the bin
          with the least noise
        - `guidance`: guidance scale of the samples, 1 = no guidance; NaN for a loss, which needs no
          samples
        - `value`: as measured, not scaled: an accuracy lies in [0, 1]; NaN without a result
        - `status`: "complete", "failed" or "missing"; a trial without a result has a row with NaN
          for each of the study's metrics
        - `n`: samples behind the value; NA for a loss or without a result
        - `macs`: multiply-accumulates of one forward pass of one sample, including the generation
          of weights
        - `params`: parameters of the whole model
        - `train_images_per_s`: training speed on the machine that ran the trial; a rough guide
        - `key`: the record is RESULTS/records/KEY.json; arms that share a trial share its record
        - `checkpoint`: path of the trained network in the cache; NA without a record

    Raises:
        CabenchError: no such study or scale, or its manifest or a record has another format.

    Warns:
        UserWarning: the study file has changed since the run.

    Examples:
        >>> frame = cabench.load("layer_placement")
        >>> kid = frame[(frame["metric"] == "kid") & (frame["guidance"] == 1)]
        >>> kid.groupby("arm", sort=False)["value"].agg(["mean", "std", "count"])
    """
    return trial_frame(Results.of(find(study, scale, results)))


def load_curves(
    study: str, scale: str | None = None, results: str | Path = RESULTS
) -> pd.DataFrame:
    """Load a study's loss curves: one row per trial and point.

    Takes the arguments of `load`, and raises and warns as it does.

    Returns:
        A frame with these columns:

        - `study`, `scale`, `arm`, `seed`, `key`: as in `load`
        - `images`: images seen up to this point, with repetition
        - `kind`: "train": training loss, mean since the previous point, label dropout included;
          "heldout": loss of the EMA model on images of the report split
        - `loss`: mean squared error of the prediction, per pixel

        A trial without curves (it has not run, or failed before it wrote them) has no rows. Nor
        has one whose curves are corrupted; the logger `cabench` names the file.

    Examples:
        >>> curves = cabench.load_curves("layer_placement")
        >>> heldout = curves[curves["kind"] == "heldout"]
        >>> heldout.pivot_table(index="images", columns="arm", values="loss")
    """
    return curve_frame(Results.of(find(study, scale, results), with_curves=True))


def load_weights(
    study: str, scale: str | None = None, results: str | Path = RESULTS
) -> pd.DataFrame:
    """Load measures of the generated weights of a study's weight-space methods during training.

    Takes the arguments of `load`, and raises and warns as it does.

    Returns:
        A frame with one row per trial x images x site x measure and these columns:

        - `study`, `scale`, `arm`, `seed`, `key`: as in `load`
        - `images`: images seen up to this point, with repetition
        - `site`: kind of layer ("depthwise", ...); values are means over its layers
        - `measure`, `value`: of the EMA model, over a grid of classes and timesteps

        The measures:

        - `static`: Frobenius norm of the static weight
        - `generated`: Frobenius norm of the generated weight, mean over conditions
        - `spread_class`: RMS distance of generated weights from their mean over the classes at one
          timestep, divided by the static norm
        - `spread_time`: the same over the timesteps at one class
        - `effective_rank`: exp of the entropy of the normalised squared singular values of the
          matrix (conditions x generated weights), centred over conditions
        - `share_class`, `share_time`, `share_both`: shares of the variance over conditions that are
          due to the class, the timestep, and the interaction of the two
        - `step_static`: RMS change per element of the static weight in one step of the optimiser
        - `step_generated`: the same of the generated weight, mean over conditions

        Trials without weight generators have no rows.
    """
    return weights_frame(Results.of(find(study, scale, results), with_curves=True))


def find(study: str, scale: str | None, results: str | Path) -> Run:
    """The run of a study; warns in the caller's caller where the study file has changed since."""
    run = find_run(Path(results), str(study), scale, or_reference=True)
    if run.study_file_state == "changed":
        text = f"{run.manifest.study_file} has changed since {run.name} was run"
        warnings.warn(text, stacklevel=3)
    return run


def curve_frame(results: Results) -> pd.DataFrame:
    """The frame that `load_curves` returns."""
    return _named(loss_frame(results), results, CURVE_COLUMNS)


def weights_frame(results: Results) -> pd.DataFrame:
    """The frame that `load_weights` returns."""
    return _named(weight_frame(results), results, WEIGHT_COLUMNS)


def _named(frame: pd.DataFrame, results: Results, columns: list[str]) -> pd.DataFrame:
    """The frame with study and scale, its columns in the given order."""
    named = frame.assign(study=results.manifest.study, scale=results.manifest.scale)
    return named.reindex(columns=columns)


def trial_frame(results: Results) -> pd.DataFrame:
    """The frame that `load` returns."""
    protocols = {key: r.protocol for key, r in results.records.items() if r.protocol}
    checkpoints = {key: record.checkpoint for key, record in results.records.items()}
    usual = next(iter(protocols.values()), None)  # tells which metrics a failed trial would have
    rows = []
    for row in results.frame.to_dict("records"):
        protocol = protocols.get(row["key"])
        metric, guidance = _split(str(row["metric"]), protocol or usual)
        sampled = protocol is not None and metric in protocol.metrics
        rows.append(
            {
                **row,
                "study": results.manifest.study,
                "scale": results.manifest.scale,
                "metric": metric,
                "guidance": guidance,
                "n": protocol.n if protocol and sampled else None,
                **_cost(results.records.get(row["key"])),
                "checkpoint": checkpoints.get(row["key"]),
            }
        )
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    return frame.astype(
        {
            **dict.fromkeys(("n", "macs", "params"), "Int64"),
            **dict.fromkeys(("guidance", "value", "train_images_per_s"), "float64"),
            "checkpoint": "str",
        }
    )


def _split(name: str, protocol: Protocol | None) -> tuple[str, float | None]:
    """Metric and guidance; a metric that is not of samples has no guidance."""
    if swept := SWEPT.fullmatch(name):
        return swept["metric"], float(swept["guidance"])
    sampled = protocol is not None and name in protocol.metrics
    return name, protocol.guidance if protocol and sampled else None


def _cost(record: Record | None) -> dict[str, float | int | None]:
    cost = record.cost if record else None
    return {
        "macs": cost.macs.total if cost else None,
        "params": cost.params.total if cost else None,
        "train_images_per_s": record.timing.get("train_images_per_s") if record else None,
    }
