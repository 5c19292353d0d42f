"""How the claims stand while trials finish: differences so far, without a verdict."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import pandas as pd

from cabench.evidence.metric import primary_metric
from cabench.evidence.statistics import paired_difference
from cabench.records.schema import Manifest, ManifestClaim, Record


class Interim:
    """The claims' differences in the primary metric, over the seeds that both arms have so far."""

    def __init__(self, manifest: Manifest, records: Iterable[Record] = ()):
        self.metric = primary_metric(manifest)
        self.claims = [
            claim
            for claim in manifest.claims
            if self.metric.name in claim.metrics and claim.relative_to is None
        ]
        self.trials = {trial.key: trial for trial in manifest.trials}
        self.scores: dict[str, dict[int, float]] = defaultdict(dict)  # by arm and seed
        for record in records:
            if record.complete:
                self.add(record.key, record.metrics)

    def add(self, key: str, scores: Mapping[str, float]) -> str:
        """Note a trial's scores; the claims that they add a pair to, in a line, or ''."""
        trial = self.trials.get(key)
        score = scores.get(self.metric.name, math.nan)
        if trial is None or not math.isfinite(score):
            return ""
        self.scores[trial.arm][trial.seed] = score
        texts = [
            self._text(claim, rival)
            for claim in self.claims
            for rival in claim.rivals
            if trial.arm in (claim.better, rival)
            and trial.seed in self.scores[claim.better]
            and trial.seed in self.scores[rival]
        ]
        return f"so far in {self.metric.title}: {'; '.join(texts)}" if texts else ""

    def _text(self, claim: ManifestClaim, rival: str) -> str:
        ours, base = (pd.Series(self.scores[arm]) for arm in (claim.better, rival))
        difference = paired_difference(ours, base).scaled(self.metric.scale)
        pair = f"{claim.better} - {rival}"
        return f"{claim.id} {pair} {difference.mean:+.3g}, n = {difference.n}"
