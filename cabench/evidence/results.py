"""The results of a run: its manifest and the records that exist, with what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from cabench.evidence.frame import tidy
from cabench.evidence.verdicts import judge
from cabench.records.runs import Run
from cabench.records.schema import Manifest, Record, read_manifest, read_record


@dataclass(frozen=True)
class Results:
    """A manifest and its records by trial key; a trial without a record has not run yet."""

    manifest: Manifest
    records: Mapping[str, Record]

    @classmethod
    def of(cls, run: Run) -> Results:
        """The results of a run on disk."""
        manifest = read_manifest(run.told, run.folder / "manifest.json")
        records = {
            key: read_record(content, run.store.record_path(key))
            for key, content in run.records().items()
        }
        return cls(manifest, records)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row per arm x seed x metric: arm, seed, key, metric, value, status, error."""
        return tidy(*self._plain)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row per claim of the study, those of added arms last."""
        return judge(*self._plain)

    @property
    def _plain(self) -> tuple[dict, dict[str, dict]]:
        return self.manifest.dump(), {key: record.dump() for key, record in self.records.items()}
