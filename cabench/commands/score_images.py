"""`cabench score --images`: score images that others made, by the functions that score trials."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cabench import metrics
from cabench.analysis import tables
from cabench.analysis.formatting import NONE, decimals
from cabench.analysis.summary import FLOOR, Cell, Column, Row, TextTable
from cabench.commands.score import named_metrics, require_finite
from cabench.config.study import read_scale
from cabench.data import Dataset, load_dataset
from cabench.data.decoded import Fit
from cabench.data.image_files import ImageFiles, open_images
from cabench.data.reading import parse_options
from cabench.errors import CabenchError, listed
from cabench.evidence.metric import Metric
from cabench.metrics.capacity import shortfall
from cabench.metrics.families import INCEPTION
from cabench.metrics.reference import matched, report_labels
from cabench.metrics.reference_statistics import NOTE, ReferenceStatistics, read_statistics
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import EXTRACTORS, METRICS
from cabench.runtime.console import screen

ALSO = ("precision_lite0", "recall_lite0")  # measured in addition to the scale's metrics
LABEL = "label"


@dataclass(frozen=True)
class Request:
    """The command's options."""

    # fmt: off
    images: Path                    # a folder or an .npz file
    data: str | None                # a data set; None: FID to `reference` alone
    options: tuple[str, ...]        # of the data set, KEY=VALUE
    metrics: str | None             # comma-separated; None: those of the scale, and ALSO
    scale: str
    fit: Fit | None
    n: int | None                   # images to score; None: all
    reference: Path | None          # published statistics
    plugins: tuple[Path, ...]
    cache: Path
    # fmt: on


@dataclass(frozen=True)
class Score:
    """One metric of the images; a row of the table."""

    # fmt: off
    name: str
    label: str                  # 'KID-lite0@2000'
    higher_is_better: bool
    scale: float                # printed value = value x scale
    value: float
    floor: float | None         # of real images at the same n; None: not measured
    network: str                # whose features are compared
    # fmt: on

    @property
    def title(self) -> str:
        return Metric(self.name, self.label, self.higher_is_better, self.scale).title


@dataclass(frozen=True)
class Scored:
    """All scores, and what they rest on."""

    scores: tuple[Score, ...]
    left_out: dict[str, str]  # metric -> why
    # fmt: off
    lines: tuple[str, ...]          # below the table
    content: dict[str, Any]         # what the JSON has in addition
    # fmt: on


def show_image_scores(request: Request, as_json: bool) -> None:
    """Print the scores as a table, or as JSON alone; write nothing but cached features."""
    # Standard output is the answer alone where a program reads it
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        scored = score_images(request)
    if as_json:
        scores = {score.name: asdict(score) for score in scored.scores}
        content = scored.content | {"scores": scores, "left_out": scored.left_out}
        print(json.dumps(content, indent=1))
        return
    console = screen()
    tables.show_table(as_table(scored.scores), console)
    for line in scored.lines:
        console.print(line, soft_wrap=True)


def as_table(scores: Sequence[Score]) -> TextTable:
    """A row per metric: images, real images, network."""
    columns = [
        Column("images", tuple(Cell(_number(s.value * s.scale)) for s in scores)),
        Column(
            FLOOR,
            tuple(Cell(NONE if s.floor is None else _number(s.floor * s.scale)) for s in scores),
        ),
        Column("feature extractor", tuple(Cell(s.network) for s in scores)),
    ]
    return TextTable(tuple(Row(s.title) for s in scores), tuple(columns), lead="metric")


def _number(value: float) -> str:
    return f"{value:z.{decimals([value], [])}f}"


def score_images(request: Request) -> Scored:
    """Read the images and score them; CabenchError for whatever cannot be scored."""
    load_plugins(read_plugins(request.plugins))
    named = None if request.metrics is None else named_metrics(request.metrics)
    if request.data is None:
        if request.reference is None:
            raise CabenchError("--images: expected --data, a data set to compare with")
        if named is not None or request.options:
            option = "--metrics" if named is not None else "--option"
            raise CabenchError(f"{option}: expected with --data only")
    statistics = None if request.reference is None else read_statistics(request.reference)
    dataset = None
    if request.data is not None:
        dataset = load_dataset(request.data, **parse_options(request.data, request.options))
    classes = [] if dataset is None else dataset.classes.get(LABEL, [])
    shape = None if dataset is None else dataset.shape
    files = open_images(request.images, shape, classes, request.fit)
    n = request.n or files.count
    if n > files.count:
        raise CabenchError(f"--n: expected at most {files.count:,}, the images given, got {n:,}")
    if statistics is not None:
        _check_inception(n)
    if dataset is None:
        assert statistics is not None
        images = files.read(_rows(files, n))
        extractor = EXTRACTORS.get(INCEPTION)(request.cache)
        features = extractor.features(images)
        lines = [_count_line(n, files, request), *_reference_lines(statistics, n)]
        content = _content(n, files, request) | _reference_content(statistics, extractor)
        score = _to_reference(statistics, n, features, None)
        return Scored((score,), {}, tuple(lines), content)
    return _Against(request, dataset, files, n, statistics).scored(named)


# ---- against a data set -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Against:
    """The images, and the real images that they are compared with."""

    # fmt: off
    request: Request
    dataset: Dataset
    files: ImageFiles
    n: int
    statistics: ReferenceStatistics | None
    # fmt: on

    @cached_property
    def labels(self) -> np.ndarray | None:
        """(n,) labels of the images that are scored, in the scorer's order; None without labels."""
        return None if self.files.labels is None else report_labels(self.files.labels, self.n)

    def scorer(self, chosen: Sequence[str]) -> metrics.SampleScorer:
        """The scorer of trials, for the labels of these images."""
        try:
            return metrics.SampleScorer(
                self.dataset, self.n, self.request.cache, metrics=chosen, labels=self.labels
            )
        except CabenchError as error:
            hint = "; score fewer: --n" if "can be scored" in str(error) else ""
            raise CabenchError(f"{error}{hint}") from None

    def unfit(self, name: str) -> str:
        """Why a metric cannot score the images, or ''."""
        known = () if self.labels is None else (LABEL,)
        unknown = [s for s in metrics.conditions_of(METRICS.get(name)) if s not in known]
        if unknown == [LABEL]:
            return f"needs labels: {self.files.unlabelled}"
        if unknown:
            return f"needs the {listed(unknown)} that each image is conditioned on"
        return shortfall(name, self.dataset, self.n, self.labels)

    def scored(self, named: list[str] | None) -> Scored:
        """The scores of the named metrics; None: all of the scale's that can be measured."""
        self.scorer(())  # refuses a number of images that the data does not allow
        chosen = named or default_metrics(self.request.scale, self.dataset.name)
        reasons = {name: reason for name in chosen if (reason := self.unfit(name))}
        for name in reasons:
            if named is not None:
                raise CabenchError(f"--metrics: {name} {reasons[name]}")
        scorer = self.scorer([name for name in chosen if name not in reasons])
        if self.statistics is not None:
            scorer.extractors.setdefault(INCEPTION, EXTRACTORS.get(INCEPTION)(self.request.cache))
        elif not scorer.metrics:
            name, reason = next(iter(reasons.items()))
            raise CabenchError(f"no metric can score these images: {name} {reason}")
        images = self.files.read(self._order(scorer))
        scores = self._scores(scorer, images)
        lines = [_count_line(self.n, self.files, self.request), *self._lines(scorer)]
        for reason in dict.fromkeys(reasons.values()):
            names = [name for name, other in reasons.items() if other == reason]
            lines.append(f"left out: {listed(names)}: {reason}")
        content = _content(self.n, self.files, self.request) | {
            "data": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "labels": "none" if self.labels is None else "of the images",
            "protocol": scorer.protocol,
        }
        if self.statistics is not None:
            lines += _reference_lines(self.statistics, self.n)
            content |= _reference_content(self.statistics, scorer.extractors[INCEPTION])
        return Scored(tuple(scores), reasons, tuple(lines), content)

    def _order(self, scorer: metrics.SampleScorer) -> np.ndarray:
        """(n,) rows of the images, so that their labels are the scorer's in its order."""
        rows, labels = _rows(self.files, self.n), self.files.labels
        if labels is None:
            return rows
        order = np.empty(self.n, np.int64)
        order[np.argsort(scorer.labels, kind="stable")] = rows[
            np.argsort(labels[rows], kind="stable")
        ]
        return order

    def _scores(self, scorer: metrics.SampleScorer, images: np.ndarray) -> list[Score]:
        values, floor = scorer.score(images, scorer.labels), scorer.floor()
        require_finite(values)
        require_finite(floor)
        scores = []
        for name, metric in scorer.metrics.items():
            scores.append(
                Score(
                    name=name,
                    label=metric.label.format(n=self.n),
                    higher_is_better=metric.higher_is_better,
                    scale=metrics.scale_of(metric),
                    value=values[name],
                    floor=floor[name],
                    network=metrics.network_of(metric),
                )
            )
        if self.statistics is not None:
            features, real = scorer.features(images, INCEPTION), scorer.floor_features(INCEPTION)
            scores.append(_to_reference(self.statistics, self.n, features, real))
        return scores

    def _lines(self, scorer: metrics.SampleScorer) -> list[str]:
        name = self.dataset.name
        report = self.dataset.split("report").streams[LABEL]
        usual = np.array_equal(np.sort(scorer.labels), np.sort(report_labels(report, self.n)))
        if self.labels is None:
            which = "with the labels of the report split in their shares"
        elif usual:
            which = "with the same labels, which have the shares of the report split"
        else:
            which = "with the same labels, which have other shares than in the report split"
        return [
            f"compared with as many images of the report split of {name}, {which}",
            f"{FLOOR}: as many real images of judge-train, or of another split where the metric "
            "is trained on that one",
        ]


def default_metrics(scale: str, data: str) -> list[str]:
    """The metrics of samples that a scale measures on a data set, and ALSO."""
    chosen = read_scale(scale).scale
    here = (choice.metrics for choice in chosen.data if choice.source == data and choice.metrics)
    names = next(here, chosen.metrics)
    return metrics.needing("samples", dict.fromkeys([*names, *ALSO]))


# ---- published statistics -----------------------------------------------------------------------


def _check_inception(n: int) -> None:
    """CabenchError if there are too few images, or no weights of Inception."""
    least = METRICS.get("fid_inception").min_samples
    if n < least:
        raise CabenchError(f"--reference: FID: expected at least {least:,} images, got {n:,}")
    EXTRACTORS.get(INCEPTION).fingerprint_of()


def _to_reference(
    statistics: ReferenceStatistics,
    n: int,
    features: dict[str, np.ndarray],
    real: dict[str, np.ndarray] | None,
) -> Score:
    layer = EXTRACTORS.get(INCEPTION).layers["fid"]
    return Score(
        name="fid_reference",
        label=f"FID to {statistics.path.name}@{n}",
        higher_is_better=False,
        scale=1.0,
        value=statistics.fid(features[layer]),
        floor=None if real is None else statistics.fid(real[layer]),
        network=INCEPTION,
    )


def _reference_lines(statistics: ReferenceStatistics, n: int) -> list[str]:
    lines = [f"reference {statistics.path}, sha256 {statistics.sha256[:16]}"]
    if n != 50_000:
        lines.append(f"FID's bias depends on n: published values are of 50,000 images, not {n:,}")
    return [*lines, NOTE] if statistics.has_sfid else lines


def _reference_content(statistics: ReferenceStatistics, extractor: Any) -> dict[str, Any]:
    return {
        "reference": {
            "path": str(statistics.path),
            "sha256": statistics.sha256,
            "extractor": INCEPTION,
            "extractor_fingerprint": extractor.fingerprint_of(),
        }
    }


# ---- which images -------------------------------------------------------------------------------


def _rows(files: ImageFiles, n: int) -> np.ndarray:
    """(n,) rows of the images to score: all, or a random part with each class's share."""
    if files.labels is None:
        return np.sort(np.random.RandomState(0).permutation(files.count)[:n])
    return np.sort(matched(files.labels, report_labels(files.labels, n), "--images"))


def _count_line(n: int, files: ImageFiles, request: Request) -> str:
    part = "" if n == files.count else f" of {files.count:,}"
    notes = "".join(f"; {note}" for note in files.notes)
    return f"n = {n:,}{part} images in {request.images}{notes}"


def _content(n: int, files: ImageFiles, request: Request) -> dict[str, Any]:
    return {
        "images": str(request.images),
        "n": n,
        "of": files.count,
        "fit": request.fit,
        "notes": list(files.notes),
    }
