"""Studies that were run or planned here, found by name: manifest and records. No torch in here."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cabench.errors import CabenchError, near
from cabench.records.store import REFERENCE, Store
from cabench.runtime.files import LOG, read_json
from cabench.runtime.validation import NAME

DEFAULT_SCALE = "quick"


@dataclass(frozen=True)
class Run:
    """A study at a scale: what its manifest asks for, and where its records are."""

    told: dict[str, Any]
    store: Store

    @property
    def name(self) -> str:
        return f"{self.told['study']}.{self.told['scale']}"

    @property
    def folder(self) -> Path:
        return self.store.study_folder(self.told["study"], self.told["scale"])

    def records(self) -> dict[str, dict[str, Any]]:
        """The records that exist, by trial key."""
        return self.store.records([t["key"] for t in self.told["trials"]])

    @property
    def study_file_state(self) -> str:
        """'same', 'changed' or 'gone': the study file since the last run."""
        path = Path(self.told["study_file"])
        if not path.is_file():
            return "gone"
        same = hashlib.sha256(path.read_bytes()).hexdigest() == self.told["study_sha256"]
        return "same" if same else "changed"


def all_runs(results: Path) -> list[Run]:
    """Those whose manifest is whole and of this version; another is named in the log."""
    found = []
    for path in sorted(results.glob("*/manifest.json")):
        try:
            found.append(_read(path, results))
        except CabenchError as error:
            LOG.warning("%s", error)
    return found


def find_run(results: Path, study: str, scale: str | None = None) -> Run:
    """The run of a study, named as in its file, as STUDY.SCALE, or by the file's path.

    Without a scale it is the only one there is, else that of scale quick.
    """
    runs = all_runs(results)
    here = ", ".join(run.name for run in runs)
    if (results / study / "result.json").is_file():
        raise CabenchError(
            f"'{study}' trains nothing, so it has no report: its tables and figure are in "
            f"{results / study}"
        )
    if not runs:
        raise CabenchError(f"no study was run in {results} yet: start with cabench run STUDY.yaml")
    named = [r for r in runs if study in (r.told["study"], r.name, r.told["study_file"])]
    if not named:
        known = [word for run in runs for word in (run.told["study"], run.name)]
        raise CabenchError(f"no study '{study}'{near(study, known)} in {results}; there: {here}")
    if scale is not None:
        found = [run for run in named if run.told["scale"] == scale]
        if not found:
            scales = [run.told["scale"] for run in named]
            raise CabenchError(
                f"'{study}' was not run at scale '{scale}'{near(scale, scales)}; "
                f"it was at {', '.join(scales)}"
            )
        return found[0]
    if len(named) == 1:
        return named[0]
    usual = [run for run in named if run.told["scale"] == DEFAULT_SCALE]
    if not usual:
        raise CabenchError(f"'{study}' was run at several scales, name one as STUDY.SCALE: {here}")
    return usual[0]


def _read(path: Path, results: Path) -> Run:
    told = read_json(path)
    try:
        sound = _sound(told)
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise CabenchError(f"{path} is no manifest of this version: `cabench run` writes it anew")
    reference = REFERENCE if told.get("use_reference") else None
    return Run(told, Store(results, Path(".cabench"), reference))


def _sound(told: Any) -> bool:
    """Has it all that the verbs read, and no name that could lead out of a folder?"""
    names = [told["study"], told["scale"], told["baseline"], *(a["name"] for a in told["arms"])]
    names += [trial["arm"] for trial in told["trials"]]
    keys = [trial["key"] for trial in told["trials"]]
    texts = [told["question"], told["study_file"], told["study_sha256"], told["primary"]]
    mappings = [told["metrics"], told["classes"], *told["claims"], *told["metrics"].values()]
    return (
        all(re.fullmatch(NAME, name) for name in names)
        and all(re.fullmatch(r"\w[\w@+.-]{0,79}", key) for key in keys)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(mapping, dict) for mapping in mappings)
        and all(isinstance(seed, int) for seed in told["seeds"])
        and all(isinstance(trial["seed"], int) for trial in told["trials"])
    )
