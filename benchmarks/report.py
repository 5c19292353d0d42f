"""Time of `cabench report` over a run of many trials.

    python benchmarks/report.py [--trials 2000] [--profile] [--keep DIR]

Fills a temporary folder with the records of a committed run, each under the keys of further seeds:
the scores of seed s are those of a committed seed of the same arm, so they are no results. Then
runs `cabench report` on it in a process of its own, and prints its times and the sha256 of what it
wrote. The folder is removed, unless --keep names one.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import itertools
import os
import pstats
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cabench.commands.report import show_report
from cabench.records.runs import Run, find_run
from cabench.records.schema import Manifest, ManifestTrial, Record
from cabench.records.spec import TrialSpec
from cabench.records.store import REFERENCE, Store
from cabench.runtime.files import write_json

STUDY, FIRST_SEED = "layer_placement", 10_000


def fill(run: Run, results: Path, trials: int) -> None:
    """Write a run of so many complete trials: as many seeds of every arm as that takes."""
    store = Store(results, results / "cache")
    (results / "records").mkdir(parents=True)
    records = run.records()
    arms = [list(complete_of(run.manifest, records, arm.name)) for arm in run.manifest.run_arms]
    written: list[ManifestTrial] = []
    for seed in itertools.count(FIRST_SEED):
        for arm, of_arm in zip(run.manifest.run_arms, arms, strict=True):
            if len(written) == trials:
                seeds = sorted({trial.seed for trial in written})
                update = {"trials": tuple(written), "seeds": tuple(seeds)}
                manifest = run.manifest.model_copy(update=update)
                write_json(results / run.name / "manifest.json", manifest.dump())
                return
            key = copied(run.store, store, of_arm[seed % len(of_arm)], seed)
            written.append(ManifestTrial(arm=arm.name, seed=seed, key=key))


def complete_of(manifest: Manifest, records: dict[str, Record], arm: str) -> Iterator[Record]:
    """The complete records of an arm."""
    for trial in manifest.trials:
        if trial.arm == arm and trial.key in records and records[trial.key].complete:
            yield records[trial.key]


def copied(of: Store, to: Store, record: Record, seed: int) -> str:
    """Write a record and the files beside it as those of another seed; the key of that trial."""
    train = record.spec.train.of_seed(seed)
    spec: TrialSpec = record.spec.model_copy(update={"train": train})
    for suffix in record.files:
        path = of.whole_beside(record, suffix)
        assert path is not None
        shutil.copyfile(path, to.beside(spec.key, suffix))
    content = record.dump() | {"key": spec.key, "spec": spec.dump()}
    to.write_record({name: value for name, value in content.items() if name != "checksum"})
    return spec.key


def timed(results: Path, out: Path) -> tuple[float, float]:
    """Seconds of processor time, and of a clock, of `cabench report` in its own process."""
    command = [sys.executable, "-m", "cabench", "report", STUDY]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    options = ["--results", str(results), "--out", str(out)]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--profile", action="store_true", help="also print where the time goes")
    parser.add_argument("--keep", type=Path, help="a folder to fill, or to use if it is there")
    arguments = parser.parse_args()
    os.chdir(Path(__file__).parent.parent)
    with tempfile.TemporaryDirectory() as name:
        results, out = arguments.keep or Path(name) / "results", Path(name) / "reports"
        if not results.exists():
            fill(find_run(Path(REFERENCE), STUDY), results, arguments.trials)
        processor, wall = timed(results, out)
        print(f"{arguments.trials:,} trials: {processor:.1f} s of processor time, {wall:.1f} s")
        for path in sorted(out.iterdir()):
            print(f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}  {path.name}")
        if arguments.profile:
            profile = cProfile.Profile()
            profile.runcall(show_report, STUDY, None, results, out)
            pstats.Stats(profile).sort_stats("cumulative").print_stats(70)


if __name__ == "__main__":
    main()
