"""The scale and the data of a run on disk, for commands that have its records but no plan."""

from __future__ import annotations

from cabench.config.scale import DataChoice, Scale
from cabench.config.study import read_scale
from cabench.data import Dataset, load_dataset
from cabench.data.resampling import resampled
from cabench.errors import CabenchError
from cabench.records.runs import Run
from cabench.records.spec import DataSpec


def scale_of(run: Run) -> Scale:
    """The scale that a run's manifest names, with its settings."""
    settings = [setting.text for setting in run.manifest.settings]
    return read_scale(run.manifest.scale_file or run.manifest.scale, settings).scale


def find_dataset(run: Run, scale: Scale, spec: DataSpec) -> Dataset:
    """The data that the records' fingerprint names, loaded with the scale's options."""
    return find_choice(run, scale, spec)[1]


def find_choice(run: Run, scale: Scale, spec: DataSpec) -> tuple[DataChoice, Dataset]:
    """The choice of the scale whose data the records' fingerprint names, and that data."""
    choices = [choice for choice in scale.data if choice.source == spec.source]
    for choice in choices:
        dataset = load_dataset(choice.source, **choice.options)
        if dataset.fingerprint == spec.fingerprint:
            return choice, dataset
    reason = "changed since the run" if choices else f"is not in scale '{scale.scale}'"
    raise CabenchError(f"{run.name}: its data '{spec.source}' {reason}")


def without_draw(data: DataSpec) -> DataSpec:
    """All images of which a seed draws half."""
    return data.model_copy(update={"resample": None})


def drawn(dataset: Dataset, data: DataSpec) -> Dataset:
    """The data set, or the half of it that a trial's seed draws."""
    return dataset if data.resample is None else resampled(dataset, data.resample.seed)
