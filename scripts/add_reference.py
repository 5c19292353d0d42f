"""Copies runs to the committed reference, and draws their tables and figures.

    python scripts/add_reference.py RESULTS STUDY.SCALE [STUDY.SCALE ...]

Copies manifests, records with what lies beside them, and outcomes of searches. Every trial must
have an intact record, in RESULTS or in the reference. Then run

    python scripts/readme_results.py              # tables and pages
    python tests/planning/test_golden_keys.py     # pinned keys, which this must only add to

and name the new pages in mkdocs.yml.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from cabench.analysis.outputs import MARKER, write_outputs
from cabench.errors import CabenchError
from cabench.evidence.results import Results
from cabench.records.runs import Run, all_runs
from cabench.records.store import REFERENCE, Store
from cabench.runtime.cache import CACHE
from cabench.runtime.files import write_json

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Copies runs to the committed reference.")
    parser.add_argument("results", type=Path)
    parser.add_argument("names", nargs="+", metavar="STUDY.SCALE")
    arguments = parser.parse_args()
    target = Store(ROOT / REFERENCE, CACHE)
    runs = {run.name: run for run in all_runs(arguments.results)}
    try:
        for name in arguments.names:
            if name not in runs:
                raise CabenchError(f"no run '{name}' in {arguments.results}: {', '.join(runs)}")
            copy(runs[name], target)
            print(name)
    except CabenchError as error:
        raise SystemExit(str(error)) from None


def copy(run: Run, target: Store) -> None:
    """Copies a run whose trials all have intact records, and draws it."""
    source = Store(run.store.results, run.store.cache, target.results)
    for trial in run.manifest.all_trials:
        record = source.sound(trial.key)
        if record is None:
            raise CabenchError(f"{run.name}: no intact record of {trial.arm}, seed {trial.seed}")
        for suffix in (".json", *record.files):
            copy_file(source.find(trial.key, suffix), target.beside(trial.key, suffix))
    for search in run.manifest.tuning.values():
        copy_file(source.find_tuning(search.key), target.tuning(search.key))
    folder = target.study_folder(run.manifest.study, run.manifest.scale)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "manifest.json", {**run.manifest.dump(), "use_reference": False})
    (folder / MARKER).unlink(missing_ok=True)
    (committed,) = (r for r in all_runs(target.results) if r.name == run.name)
    write_outputs(Results.of(committed, with_curves=True), committed.store)


def copy_file(source: Path | None, target: Path) -> None:
    """Copies a file, unless it is the committed one."""
    if source is not None and source.resolve() != target.resolve():
        shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
