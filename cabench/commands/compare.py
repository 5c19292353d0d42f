"""`cabench compare`: two arms, or two runs of a study, from manifests and records alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cabench.analysis.comparison import Side
from cabench.analysis.comparison_text import show
from cabench.errors import CabenchError, near, shown
from cabench.evidence.results import Results
from cabench.records.runs import all_runs, find_run

FORM = "[DIRECTORY/]STUDY[.SCALE][:ARM]"
ARM_FORM = "[DIRECTORY/]STUDY[.SCALE]:ARM"


@dataclass(frozen=True)
class Target:
    """What an argument names: a run, or one arm of it."""

    directory: Path
    study: str
    arm: str | None


def parse(text: str, results: Path) -> Target:
    """Parse [DIRECTORY/]STUDY[.SCALE][:ARM]; the study may be given by its file, too."""
    path, colon, arm = text.rpartition(":")
    if not colon or "/" in arm:  # the colon is part of a directory's name
        path, arm = text, None
    path = path.rstrip("/")
    if not path or arm == "":
        raise CabenchError(f"expected {FORM}, such as layer_placement:can-3, got '{text}'")
    if path.endswith((".yaml", ".yml")):
        return Target(results, path, arm)
    if runs := all_runs(Path(path)):
        names = ", ".join(f"{path}/{run.name}" for run in runs)
        raise CabenchError(f"expected a study, got the results directory '{path}'; in it: {names}")
    directory, slash, study = path.rpartition("/")
    return Target(Path(directory or "/") if slash else results, study, arm)


def target_of(text: str, results: Path) -> tuple[Target, str]:
    """What names an arm, and the arm; CabenchError where no arm is named."""
    target = parse(text, results)
    if target.arm is None:
        raise CabenchError(f"expected {ARM_FORM}, such as layer_placement:can-3, got {shown(text)}")
    return target, target.arm


def find_side(target: Target) -> Side:
    """The run, or the arm of it; raises CabenchError where no trial of it is complete."""
    run = find_run(target.directory, target.study, or_reference=True)
    results = Results.of(run)
    name = f"{run.name} in {run.store.results}"
    if target.arm is not None:
        if target.arm not in results.arms:
            raise CabenchError(
                f"no arm '{target.arm}'{near(target.arm, results.arms)} in {name}; "
                f"its arms: {', '.join(results.arms)}"
            )
        name = f"{target.arm} of {name}"
    side = Side(name, results, target.arm, run.study_file_state)
    if not side.complete:
        failures = results.failures(target.arm)
        failed = f"; failed: {failures[0]}" if failures else ""
        raise CabenchError(f"{name}: none of {len(side.trials)} trials is complete{failed}")
    return side


def compare(a: str, b: str, results: Path) -> None:
    """Print how A and B compare; raise CabenchError where they can't be found or compared."""
    targets = [parse(text, results) for text in (a, b)]
    if (targets[0].arm is None) != (targets[1].arm is None):
        with_arm, without = (a, b) if targets[0].arm else (b, a)
        raise CabenchError(
            f"'{with_arm}' names an arm and '{without}' a whole run: give both an arm, or neither"
        )
    one, other = map(find_side, targets)
    show(one, other)
