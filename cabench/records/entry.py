"""An entry of a leaderboard: one arm's results beside its baseline's, in a folder to send.

The folder has the layout of a results directory, which `cabench report --results FOLDER` reads:

    entry.json                  this document
    STUDY.SCALE/manifest.json   the run, restricted to the two arms
    STUDY.SCALE/scale.yaml      the scale, where it is none that comes with cabench
    records/KEY.json, ...       the records and the files beside them
    trials.jsonl                a flat row per trial, as Hugging Face's `datasets` reads it
    plugins/*.py                the plugins, for readers; no command executes them from here
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from cabench.errors import CabenchError
from cabench.records.reading import read_document
from cabench.records.schema import Key, PluginFile, SafeName
from cabench.records.spec import Frozen
from cabench.runtime.files import read_json

FILE = "entry.json"
ROWS = "trials.jsonl"
PLUGINS = "plugins"  # the folder


class EntryTrial(Frozen):
    """A trial and the sha256 of its record's file."""

    arm: SafeName
    seed: int
    key: Key
    sha256: str


class EntryScore(Frozen):
    """A metric over seeds, in stored units; None where a single seed leaves it undefined."""

    metric: str
    label: str = Field(description="as tables print it, with the number of samples")
    higher_is_better: bool
    mean: float
    sd: float | None
    baseline_mean: float
    baseline_sd: float | None
    difference: float = Field(description="arm - baseline, paired by seed")
    low: float | None = Field(description="of its 95 % interval")
    high: float | None
    seeds: int = Field(description="that both arms have")


class Entry(Frozen):
    """One arm of a study at a scale, its scores and how to repeat them."""

    format: Literal[1] = 1
    cabench: str = Field(description="version that wrote the entry")
    study: SafeName
    scale: SafeName
    backbone: str
    data: str = Field(description="source of the images")
    fingerprint: str | None = Field(description="hash of the images and their conditions")
    arm: SafeName
    about: str
    baseline: SafeName
    images: int = Field(description="training images seen")
    macs: int = Field(description="of one forward pass of one sample, weight generation included")
    baseline_macs: int
    params: int
    baseline_params: int
    scores: tuple[EntryScore, ...]
    trials: tuple[EntryTrial, ...]
    plugins: tuple[PluginFile, ...] = ()
    by: str = Field(default="", description="who ran it, as they give it")
    url: str = ""


def read_entry(folder: Path) -> Entry:
    """The entry of a folder; CabenchError says what is wrong with it."""
    path = folder / FILE
    if not path.is_file():
        raise CabenchError(f"no entry in {folder}: expected {path}")
    return read_document(Entry, read_json(path), path, "entry")
