"""FID by Inception and CLIP score of a run's samples, kept beside its manifest for the reports.

They need weights that are not bundled, so they are no part of the records: `cabench score` adds
them where the weights are at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cabench.records.schema import MetricInfo
from cabench.records.spec import Frozen
from cabench.runtime.files import read_json, write_json
from cabench.runtime.sealed import read_valid

FILE = "paper_scores.json"
WEIGHTS = {  # metrics of the paper's tables -> where a protocol has their network's fingerprint
    "fid_inception": ("judges", "inception-v3-compat"),
    "clip_score": ("clip", "weights"),
}
LEAST = {"fid_inception": 4096, "clip_score": 1}  # samples that they need
IGNORED = "left out; `cabench score` writes it again"


class PaperScore(Frozen):
    """One metric of a run's trials."""

    info: MetricInfo
    weights: str  # the network's fingerprint
    floor: float  # of real images
    scores: dict[str, float]  # by trial key


def read_paper_scores(folder: Path) -> dict[str, PaperScore]:
    """By metric, those in a run's folder; {} without any. A corrupted file is logged."""
    return read_valid(folder / FILE, _read, remedy=IGNORED) or {}


def add_paper_scores(folder: Path, scores: Mapping[str, PaperScore]) -> Path:
    """Write metrics to a run's folder, beside the others that are there."""
    together = read_paper_scores(folder) | dict(scores)
    write_json(folder / FILE, {name: score.dump() for name, score in together.items()})
    return folder / FILE


def _read(path: Path) -> dict[str, PaperScore]:
    content = read_json(path)
    return {name: PaperScore.model_validate(content[name]) for name in WEIGHTS if name in content}
