"""The verb `compare`: two arms, or two runs of a study, from manifests and records alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cabench.analysis.comparison import Side
from cabench.analysis.comparison_text import show
from cabench.errors import CabenchError, near
from cabench.evidence.frame import failures, study_arms
from cabench.records.runs import all_runs, find_run

FORM = "[FOLDER/]STUDY[.SCALE][:ARM]"


@dataclass(frozen=True)
class Target:
    """What the command line names: a run, or one arm of it."""

    folder: Path
    study: str
    arm: str | None


def parse(text: str, results: Path) -> Target:
    """[FOLDER/]STUDY[.SCALE][:ARM]; the folder holds results, and the study may be its file."""
    path, colon, arm = text.rpartition(":")
    if not colon or "/" in arm:  # a colon in the folder's name
        path, arm = text, None
    path = path.rstrip("/")
    if not path or arm == "":
        raise CabenchError(f"'{text}' is not {FORM}, such as layer_placement:can-3")
    if path.endswith((".yaml", ".yml")):
        return Target(results, path, arm)
    folder, slash, study = path.rpartition("/")
    if all_runs(Path(path)):
        raise CabenchError(
            f"'{path}' is a folder of results; name a study in it: "
            f"{', '.join(f'{path}/{run.name}' for run in all_runs(Path(path)))}"
        )
    return Target(Path(folder or "/") if slash else results, study, arm)


def find_side(target: Target) -> Side:
    """The run, or the arm of it, with at least one finished trial."""
    run = find_run(target.folder, target.study)
    name = f"{run.name} in {target.folder}"
    if target.arm is not None:
        arms = [arm["name"] for arm in study_arms(run.told)]
        if target.arm not in arms:
            raise CabenchError(
                f"no arm '{target.arm}'{near(target.arm, arms)} in {name}; there: {', '.join(arms)}"
            )
        name = f"{target.arm} of {name}"
    side = Side(name, run.told, run.records(), target.arm, run.study_file_state)
    if not side.done:
        known = {"trials": [t for t in run.told["trials"] if t["key"] in side.trials]}
        reasons = failures(known, side.records)
        failed = f"; failed: {reasons[0]}" if reasons else ""
        raise CabenchError(f"{name}: none of {len(side.trials)} trials is finished{failed}")
    return side


def compare(a: str, b: str, results: Path) -> None:
    """Prints how A and B compare; raises CabenchError where they can't be found or compared."""
    targets = [parse(text, results) for text in (a, b)]
    if (targets[0].arm is None) != (targets[1].arm is None):
        with_arm, without = (a, b) if targets[0].arm else (b, a)
        raise CabenchError(
            f"'{with_arm}' names an arm and '{without}' a whole run: give both an arm, or neither"
        )
    show(*(find_side(target) for target in targets))
