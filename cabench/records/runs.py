"""Runs on disk, by name: a manifest and the store of its records. Imports no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cabench.config.files import studies, study_elsewhere
from cabench.errors import CabenchError, near
from cabench.records.reading import read_manifest
from cabench.records.schema import Manifest, Record
from cabench.records.store import Store, reference
from cabench.runtime.cache import CACHE, RESULTS
from cabench.runtime.files import LOG, read_json

DEFAULT_SCALE = "quick"
NO_RUN = "%s: no run in %s; this is the committed reference, %s"
OWN_SCALE = "scale.yaml"  # beside the manifest of a run on other data than the scale's (--data)


@dataclass(frozen=True)
class Run:
    """A study at a scale: what its manifest asks for, and where its records are."""

    manifest: Manifest
    store: Store

    @property
    def name(self) -> str:
        """The name STUDY.SCALE."""
        return f"{self.manifest.study}.{self.manifest.scale}"

    @property
    def folder(self) -> Path:
        return self.store.study_folder(self.manifest.study, self.manifest.scale)

    def records(self) -> dict[str, Record]:
        """The records that exist, by trial key."""
        return self.store.records([trial.key for trial in self.manifest.all_trials])

    @property
    def study_file_state(self) -> str:
        """'same', 'changed' or 'gone': the study file since the last run."""
        path = Path(self.manifest.study_file)
        if (name := study_elsewhere(path)) is not None:
            path = studies()[name]
        if not path.is_file():
            return "gone"
        same = hashlib.sha256(path.read_bytes()).hexdigest() == self.manifest.study_sha256
        return "same" if same else "changed"


def all_runs(results: Path) -> list[Run]:
    """The runs in a results directory. Manifests that cannot be read are logged and left out."""
    runs = []
    for path in sorted(results.glob("*/manifest.json")):
        try:
            runs.append(_read(path, results))
        except (CabenchError, OSError) as error:
            LOG.warning("%s", error)
    return runs


def runs_or_reference(results: Path) -> list[Run]:
    """The runs of a directory; where the default one has none, the committed ones with a log."""
    runs = all_runs(results)
    if not runs and results == RESULTS and (runs := all_runs(reference())):
        LOG.warning(NO_RUN, "all studies", results, reference())
    return runs


def stored_manifest(results: Path, study: str, scale: str) -> Manifest | None:
    """The manifest of a study at a scale, or None where there is none that can be read."""
    path = results / f"{study}.{scale}" / "manifest.json"
    try:
        return _read(path, results).manifest if path.is_file() else None
    except (CabenchError, OSError):
        return None


def find_run(
    results: Path, study: str, scale: str | None = None, *, or_reference: bool = False
) -> Run:
    """The run of a study, which is named as in its file, as STUDY.SCALE, or by the file's path.

    Without a scale, it is the only run of the study, else the one at scale quick. CabenchError
    names what exists. `or_reference`: a study without a run in the default directory is that of
    the committed reference, and the log says so.
    """
    if (results / study / "result.json").is_file():
        raise CabenchError(
            f"'{study}' is a cost study and has no report; its tables and figure are in "
            f"{results / study}"
        )
    runs = all_runs(results)
    of_study = _of_study(runs, study)
    if not of_study and or_reference and results == RESULTS:
        committed = all_runs(reference())
        if of_study := _of_study(committed, study):
            LOG.warning(NO_RUN, study, results, reference())
        runs = of_study or runs + committed
    if not runs:
        raise CabenchError(f"no runs in {results}; start one with `cabench run STUDY`")
    names = ", ".join(run.name for run in runs)
    if not of_study:
        known = [word for run in runs for word in (run.manifest.study, run.name)]
        raise CabenchError(f"no study '{study}'{near(study, known)} in {results}; runs: {names}")
    if scale is not None:
        return _at_scale(of_study, study, scale)
    if len(of_study) == 1:
        return of_study[0]
    for run in of_study:
        if run.manifest.scale == DEFAULT_SCALE:
            return run
    raise CabenchError(f"'{study}' was run at several scales; name one as STUDY.SCALE: {names}")


def _of_study(runs: list[Run], study: str) -> list[Run]:
    named = ((r, (r.manifest.study, r.name, r.manifest.study_file)) for r in runs)
    return [run for run, names in named if study in names]


def _at_scale(runs: list[Run], study: str, scale: str) -> Run:
    for run in runs:
        if run.manifest.scale == scale:
            return run
    scales = [run.manifest.scale for run in runs]
    raise CabenchError(
        f"'{study}' was not run at scale '{scale}'{near(scale, scales)}; "
        f"it was run at {', '.join(scales)}"
    )


def _read(path: Path, results: Path) -> Run:
    try:
        manifest = read_manifest(read_json(path), path)
    except CabenchError as error:
        raise CabenchError(f"{error}; `cabench run` writes it again") from None
    committed = reference() if manifest.use_reference else None
    return Run(manifest, Store(results, CACHE, committed))
