"""FID by Inception and CLIP score of a run's samples, kept beside its manifest for the reports.

They need weights that are not bundled, so they are no part of the records: `cabench score` adds
them where the weights are at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictBool, StrictFloat

from cabench.records.schema import Key
from cabench.records.spec import Frozen
from cabench.runtime.files import read_json, write_json
from cabench.runtime.sealed import read_valid

FILE = "paper_scores.json"
WEIGHTS = {  # metrics of the paper's tables -> where a protocol has their network's fingerprint
    "fid_inception": ("judges", "inception-v3-compat"),
    "clip_score": ("clip", "weights"),
}
LEAST = {"fid_inception": 4096, "clip_score": 1}  # samples that they need
Finite = Annotated[StrictFloat, Field(ge=-1e6, le=1e6)]
IGNORED = "left out; `cabench score` writes it again"


class PaperScore(Frozen):
    """One metric of a run's trials; numbers are finite."""

    label: Annotated[str, Field(pattern=r"^[\w @./-]{1,40}$")]
    higher_is_better: StrictBool
    weights: Annotated[str, Field(pattern=r"^[\w.:@+-]{4,80}$")]  # the network's fingerprint
    floor: Finite  # of real images
    scores: dict[Key, Finite]  # by trial key


def read_paper_scores(folder: Path) -> dict[str, PaperScore]:
    """By metric, those in a run's folder; {} without any. A corrupted file is logged."""
    return read_valid(folder / FILE, _read, remedy=IGNORED) or {}


def add_paper_scores(folder: Path, scores: Mapping[str, PaperScore]) -> Path:
    """Write metrics to a run's folder, beside others and other trials' of the same weights."""
    together = read_paper_scores(folder)
    for name, new in scores.items():
        old = together.get(name)
        if old is not None and old.weights == new.weights:
            new = new.model_copy(update={"scores": old.scores | new.scores})
        together[name] = new
    write_json(folder / FILE, {name: score.dump() for name, score in together.items()})
    return folder / FILE


def _read(path: Path) -> dict[str, PaperScore]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError("expected an object")
    return {name: PaperScore.model_validate(content[name]) for name in WEIGHTS if name in content}
