"""The results of a run: its manifest and the records that exist, with what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from cabench.evidence import frame
from cabench.evidence.arms import ArmResult, compare_arms
from cabench.evidence.frame import ArmCost, Progress
from cabench.evidence.metric import Metric, primary_metric, study_metrics
from cabench.evidence.verdicts import Verdict, judge, on_metric, on_twins
from cabench.records.paper_scores import PaperScore, read_paper_scores
from cabench.records.runs import Run
from cabench.records.schema import Manifest, Protocol, Record
from cabench.records.spec import Json


@dataclass(frozen=True)
class Results:
    """A manifest and its records by trial key; a trial without a record has not run yet."""

    manifest: Manifest
    records: Mapping[str, Record]
    curves: Mapping[str, Json] = field(default_factory=dict)  # as beside the records, by trial key
    paper_scores: Mapping[str, PaperScore] = field(default_factory=dict)  # by metric

    @classmethod
    def of(cls, run: Run, with_curves: bool = False) -> Results:
        """The results of a run on disk; curves are read only on request.

        Raises CabenchError where the manifest or a record is of another format.
        """
        records = run.records()
        curves = run.store.curves(records) if with_curves else {}
        return cls(run.manifest, records, curves, read_paper_scores(run.folder))

    # -- arms

    @cached_property
    def arms(self) -> list[str]:
        """The arms that have trials at this scale, in the study's order."""
        return [arm.name for arm in self.manifest.run_arms]

    @cached_property
    def contenders(self) -> list[str]:
        """The arms that are no lower bounds, the baseline included."""
        return [arm.name for arm in self.manifest.run_arms if not arm.bound]

    def is_lower_bound(self, arm: str) -> bool:
        entry = self.manifest.arm(arm)
        return entry is not None and entry.bound

    def has_native(self, arm: str) -> bool:
        """Whether the arm has the backbone's native method, alone or beside others."""
        entry = self.manifest.arm(arm)
        return entry is not None and entry.native

    # -- trials

    def complete(self, arm: str | None = None) -> list[Record]:
        """The complete records of the study, or of one arm, in the order of trials."""
        keys = [t.key for t in self.manifest.trials if arm is None or t.arm == arm]
        records = [self.records[key] for key in dict.fromkeys(keys) if key in self.records]
        return [record for record in records if record.complete]

    def protocols(self, arm: str | None = None) -> list[Protocol]:
        """The protocols of the complete records, or of one arm's."""
        return [record.protocol for record in self.complete(arm) if record.protocol]

    def progress(self, arm: str) -> Progress:
        """How many of an arm's trials are complete, failed, or have not run."""
        return self._progress.get(arm, Progress())

    @cached_property
    def _progress(self) -> dict[str, Progress]:
        return {arm: frame.progress_of(self.frame, arm) for arm in self.arms}

    def failures(self, arm: str | None = None) -> list[str]:
        """'arm (seeds 0, 2): last line of the error', for all arms or one; equal errors joined."""
        seeds: dict[tuple[str, str], list[int]] = {}
        for trial in self.manifest.trials:
            record = self.records.get(trial.key)
            if record and not record.complete and arm in (None, trial.arm):
                lines = (record.error or "").strip().splitlines()
                reason = lines[-1].strip() if lines else "no reason recorded"
                seeds.setdefault((trial.arm, reason), []).append(trial.seed)
        return [
            f"{arm} ({'seed' if len(of) == 1 else 'seeds'} {', '.join(map(str, of))}): {reason}"
            for (arm, reason), of in seeds.items()
        ]

    # -- lengths of training

    @cached_property
    def by_length(self) -> dict[int, Results]:
        """The results after each length of training, in images, these last; {} of one length.

        Lengths without a complete trial are left out.
        """
        if not self.manifest.shorter:
            return {}
        images = [length.images for length in self.manifest.shorter]
        shorter = {n: Results(self.manifest.after(n), self.records, self.curves) for n in images}
        own = {record.spec.images: self for record in self.complete()[:1]}
        return {n: results for n, results in (shorter | own).items() if results.complete()}

    # -- numbers

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The study's metrics by name, in its order."""
        return study_metrics(self.manifest)

    @property
    def primary(self) -> Metric:
        """The metric that arms are ranked by."""
        return primary_metric(self.manifest)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row per arm x seed x metric: arm, seed, key, metric, value, status, error."""
        return frame.tidy(self.manifest, self.records)

    def by_seed(self, arm: str, metric: str) -> pd.Series:
        """An arm's finite values of a metric, in stored units, indexed by seed."""
        return self._by_seed.get((arm, metric), frame.NO_VALUES).copy()

    @cached_property
    def _by_seed(self) -> dict[tuple[str, str], pd.Series]:
        return frame.all_by_seed(self.frame)

    def compare_arms(self, metrics: Sequence[str] | None = None) -> list[ArmResult]:
        """Every arm beside the baseline, in the given metrics or in the study's."""
        names = metrics or list(self.manifest.metrics)
        for name in names:
            if name not in self._compared:
                self._compared[name] = compare_arms(self.manifest, self.frame, [name])
        return [row for name in names for row in self._compared[name]]

    @cached_property
    def _compared(self) -> dict[str, list[ArmResult]]:
        """By metric: tables, figures and notes ask for the same ones."""
        return {}

    @cached_property
    def costs(self) -> dict[str, ArmCost]:
        """MACs, parameters and training speed, by arm in the study's order."""
        return {arm: frame.cost_of(self.complete(arm)) for arm in self.arms}

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdict on each claim, those of added arms last."""
        return judge(self.manifest, self.frame, self.costs)

    @cached_property
    def twin_verdicts(self) -> dict[str, Verdict]:
        """The verdicts under metrics on other features, by claim, where those are measured."""
        verdicts = judge(on_twins(self.manifest), self.frame, self.costs)
        return {verdict.claim.id: verdict for verdict in verdicts}

    def verdicts_by(self, metric: str) -> tuple[Verdict, ...]:
        """The verdicts if the claims were about this metric alone, corrected over each other."""
        return judge(on_metric(self.manifest, metric), self.frame, self.costs)
