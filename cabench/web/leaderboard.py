"""Every arm of every study side by side: methods, backbone, data, score, rank and cost."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from cabench.analysis.formatting import NONE
from cabench.analysis.summary import Cell, summary
from cabench.evidence.ranks import Rank, Ranking
from cabench.evidence.results import Results
from cabench.records.runs import Run
from cabench.records.schema import Record
from cabench.records.spec import Json
from cabench.report import methods_section
from cabench.report.document import typeset
from cabench.runtime.files import content_key
from cabench.runtime.validation import NAME
from cabench.web.cells import table_cell

NO_METHOD = "no method"
WORDS = ("better", "unresolved", "worse", "baseline", "not tested")


@dataclass(frozen=True)
class Entry:
    """An arm of a study."""

    # fmt: off
    run: str                     # STUDY.SCALE
    arm: str
    about: str
    methods: tuple[str, ...]     # kinds, sorted
    model: str                   # methods with their options
    backbone: str                # kind
    data: str
    metric: str                  # the study's primary one, as printed
    level: Cell
    difference: Cell
    rank: Rank | None
    of: int                      # arms that are ranked
    probability: float           # of a better score than the baseline's on a further seed
    costs: dict[str, float]      # times the baseline's: macs, params, time; NaN: not known
    is_baseline: bool
    is_bound: bool
    # fmt: on

    @property
    def method(self) -> str:
        """'adaln_zero + can'."""
        return " + ".join(self.methods) or NO_METHOD

    @property
    def word(self) -> str:
        """One of WORDS."""
        if self.is_baseline:
            return "baseline"
        if self.is_bound or self.difference.text == NONE:
            return "not tested"
        return self.difference.word or "unresolved"


@dataclass(frozen=True)
class Study:
    """A run with its results, and its arms as entries."""

    run: Run
    results: Results

    @cached_property
    def ranking(self) -> Ranking:
        return Ranking(self.results, self.results.primary.name)

    @cached_property
    def entries(self) -> list[Entry]:
        """An entry per arm that has a complete trial."""
        columns = {
            column.title: column.cells for column in summary(self.results, jointly=True).columns[:2]
        }
        levels, differences = columns.values()
        ranks = {rank.arm: rank for rank in self.ranking.ranks}
        models = {arm.name: arm for arm in methods_section.arms(self.results)}
        return [
            self._entry(arm, records[0], models[arm], level, difference, ranks)
            for arm, level, difference in zip(self.results.arms, levels, differences, strict=False)
            if (records := self.results.complete(arm))
        ]

    def _entry(
        self,
        arm: str,
        record: Record,
        model: methods_section.ArmDescription,
        level: Cell,
        difference: Cell,
        ranks: dict[str, Rank],
    ) -> Entry:
        manifest, spec = self.results.manifest, record.spec.train.model
        is_ranked = arm in ranks and manifest.baseline in ranks and arm != manifest.baseline
        return Entry(
            run=self.run.name,
            arm=arm,
            about=(manifest.arm(arm) or manifest.arms[0]).about,
            methods=tuple(sorted({method.kind for method in spec.methods})),
            model=model.model,
            backbone=spec.backbone.kind,
            data=record.spec.train.data.source,
            metric=typeset(self.results.primary.title),
            level=level,
            difference=difference,
            rank=ranks.get(arm),
            of=len(ranks),
            probability=self.ranking.probability(arm, manifest.baseline) if is_ranked else math.nan,
            costs=self._costs(arm),
            is_baseline=arm == manifest.baseline,
            is_bound=self.results.is_lower_bound(arm),
        )

    def _costs(self, arm: str) -> dict[str, float]:
        ours, base = (self.results.costs[name] for name in (arm, self.results.manifest.baseline))
        speeds = base.images_per_s, ours.images_per_s  # time is the inverse
        pairs = {"macs": (ours.macs, base.macs), "params": (ours.params, base.params)}
        pairs["time"] = speeds
        return {name: _ratio(*pair) for name, pair in pairs.items()}


def _ratio(ours: float, base: float) -> float:
    return ours / base if base > 0 and math.isfinite(ours) else math.nan


# ---- for the templates --------------------------------------------------------------------------


def row(entry: Entry) -> Json:
    """An entry as cells, each with the key by which its column is sorted."""
    rank = entry.rank
    return {
        "entry": entry,
        "rank": {
            "text": f"{rank.place} [{rank.best}, {rank.worst}] of {entry.of}" if rank else "–",
            "key": str(rank.place) if rank else "",
        },
        "level": table_cell(entry.level),
        "difference": table_cell(entry.difference),
        "probability": percent(entry.probability),
        "costs": [_times(ratio) for ratio in entry.costs.values()],
    }


def percent(probability: float) -> Json:
    """A probability in per cent, never rounded to certainty, and its shade: 0 low, 4 high."""
    if math.isnan(probability):
        return {"text": "–", "key": "", "shade": 2}
    share = 100 * probability
    text = "< 1" if 0 < share < 1 else "> 99" if 99 < share < 100 else f"{share:.0f}"
    shade = sum(share > limit for limit in (10, 35, 65, 90))
    return {"text": text, "key": f"{share:.3f}", "shade": shade}


def _times(ratio: float) -> Json:
    if math.isnan(ratio):
        return {"text": "–", "key": ""}
    return {"text": f"{ratio:.2f}", "key": f"{ratio:.4f}"}


def matrix(ranking: Ranking) -> Json:
    """The probability that the arm of a row beats that of a column, in per cent; ranks beside."""
    ranks = {rank.arm: rank for rank in ranking.ranks}
    arms = sorted(ranking.arms, key=lambda arm: ranks[arm].place)
    return {
        "arms": arms,
        "rows": [
            {
                "arm": arm,
                "rank": f"{ranks[arm].place} [{ranks[arm].best}, {ranks[arm].worst}]",
                "cells": [
                    percent(math.nan if arm == other else ranking.probability(arm, other))
                    for other in arms
                ],
            }
            for arm in arms
        ],
    }


def overview(entries: Sequence[Entry]) -> Json:
    """Methods x (backbone, data): how many arms are better, unresolved and worse."""
    places = sorted({(entry.backbone, entry.data) for entry in entries})
    methods = sorted({entry.method for entry in entries})
    return {
        "places": [f"{backbone} on {data}" for backbone, data in places],
        "rows": [
            {
                "method": method,
                "kinds": [] if method == NO_METHOD else method.split(" + "),
                "cells": [
                    counts(
                        entry
                        for entry in entries
                        if entry.method == method and (entry.backbone, entry.data) == place
                    )
                    for place in places
                ],
            }
            for method in methods
        ],
    }


def counts(entries: Iterable[Entry]) -> list[tuple[int, str]]:
    """(2, 'better'), (9, 'unresolved'): how many entries have each word."""
    words = [entry.word for entry in entries]
    return [(words.count(word), word) for word in WORDS if word in words]


def file_of(kind: str) -> str:
    """The file name of a method's page; a kind that is no name gets one that is."""
    return f"method.{kind if re.fullmatch(NAME, kind) else content_key(kind)}.html"
