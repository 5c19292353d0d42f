"""Study and scale files, checked: a wrong one gets one line that names file, line and key."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from cabench import metrics
from cabench.config.schema import ADDED_ID, COUNTS, AddedArms, Arm, Claim, Scale, Study
from cabench.config.yaml import check, fault, parse_yaml, read_yaml
from cabench.errors import CabenchError, listed, near, shown, unknown
from cabench.models import model as _model  # noqa: F401  (registers backbones and methods)
from cabench.registry import BACKBONES, METRICS

ARM_OPTION = Path("--arm")  # stands for a file name in faults


@dataclass(frozen=True)
class StudyFile:
    """A checked study with where it stands, so that later faults can still name the line."""

    path: Path
    content: Any
    study: Study  # with the added arms
    sha256: str
    backbone: str  # the one of the study's that is run
    added: dict[str, str] = field(default_factory=dict)  # arms of the command line, as written

    def fault(self, where: tuple[Any, ...], text: str) -> CabenchError:
        if where[:1] == ("arms",) and where[1:2] and where[1] in self.added:
            return fault(ARM_OPTION, None, where, text)
        return fault(self.path, self.content, where, text)


def read_study(path: Path, arms: Iterable[str] = (), backbone: str | None = None) -> StudyFile:
    """The study in `path`, with further arms written as YAML: '{NAME: {methods: [...]}}'.

    On another of its backbones than the first, the study's name is STUDY-BACKBONE.
    """
    if not is_file(path):
        raise CabenchError(f"no study file {_elsewhere(path)}")
    content = read_yaml(path, "study")
    study = check(Study, path, content)
    added = add_arms(study.arms, arms)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if backbone is not None and backbone not in study.backbones:
        text = unknown("backbone of the study", backbone, study.backbones)
        raise CabenchError(f"--backbone: {text}")
    chosen = backbone or study.backbones[0]
    if chosen != study.backbones[0]:
        study.study = f"{study.study}-{chosen}"
    file = StudyFile(path, content, study, sha256, chosen, added)
    _check_references(file)
    _leave_out(file)
    return file


def _leave_out(file: StudyFile) -> None:
    """Takes out the arms that are for other backbones, and the claims about them."""
    study, backbone = file.study, file.backbone
    elsewhere = {n for n, arm in study.arms.items() if arm.on and backbone not in arm.on}
    for name in elsewhere:
        if name in file.added:
            text = f"the arm is not for '{backbone}', which is run"
            raise file.fault(("arms", name, "on"), text)
        del study.arms[name]
    study.claims[:] = [c for c in study.claims if not {c.better, c.than} & elsewhere]


def add_arms(to: dict[str, Arm], texts: Iterable[str]) -> dict[str, str]:
    """Puts arms of the command line beside a study's own: by name, the text that names each."""
    added: dict[str, str] = {}
    for text in texts:
        for name, arm in _added_arms(text).items():
            if name in to:
                taken = f"the study has an arm '{name}' already: take another name"
                raise fault(ARM_OPTION, None, (), taken)
            added[name] = text
            to[name] = arm
    return added


def _added_arms(text: str) -> dict[str, Arm]:
    content = parse_yaml(text, ARM_OPTION, "an arm")
    for name, arm in content.items():
        if not isinstance(arm, dict):
            how = "write NAME: {methods: [...]}, as in a study"
            raise fault(ARM_OPTION, None, (), f"{shown(name)}: {how}; found {shown(arm)}")
    return check(AddedArms, ARM_OPTION, CommentedMap(arms=content)).arms


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for the file system
        return False


def _elsewhere(path: Path) -> str:
    """A file that isn't there, the near match, and what there is in its place."""
    try:
        if path.is_dir():
            return f"'{path}': it is a folder; its files: {listed(_yaml_files(path))}"
        known = _yaml_files(path.parent)
    except OSError:  # a name too long for the file system
        return f"'{path}'"
    return f"'{path}'{near(str(path), known)}; here are: {listed(known)}"


def _yaml_files(folder: Path) -> list[str]:
    return sorted(str(p) for p in folder.glob("*.yaml"))


def scale_fault(scale: Scale, where: tuple[Any, ...], text: str) -> CabenchError:
    """A fault of a scale found after it was read, with the line if it was read from a file."""
    return fault(*(scale._file or (f"scale '{scale.scale}'", None)), where, text)


def _check_references(file: StudyFile) -> None:
    study = file.study
    arms = study.arms

    def arm_named(name: str, *where: Any) -> None:
        if name not in arms:
            raise file.fault(where, f"no arm {shown(name)}{near(name, arms)}; arms: {listed(arms)}")

    def one_of(found: str, allowed: list[str], what: str, *where: Any) -> None:
        if found not in allowed:
            raise file.fault(where, unknown(what, found, allowed))

    arm_named(study.baseline, "baseline")
    one_of(study.primary, metrics.names(), "metric", "primary")
    for i, name in enumerate(study.backbones):
        one_of(name, BACKBONES.names(), "backbone", "backbones", i)
        if study.backbones.index(name) < i:
            raise file.fault(("backbones", i), f"'{name}' stands there twice")
    ids = [claim.id for claim in study.claims]
    for i, claim in enumerate(study.claims):
        if ids.index(claim.id) < i:
            raise file.fault(("claims", i, "id"), f"'{claim.id}' stands there twice")
        if re.fullmatch(ADDED_ID.format(r"\d+"), claim.id):
            text = f"'{claim.id}' is kept for an arm added with --arm; take another id"
            raise file.fault(("claims", i, "id"), text)
        if claim.better == claim.than:
            raise file.fault(("claims", i, "than"), f"'{claim.than}' is compared with itself")
        arm_named(claim.better, "claims", i, "better")
        arm_named(claim.than, "claims", i, "than")
        for side in ("better", "than"):
            if arms[getattr(claim, side)].bound:
                text = f"'{getattr(claim, side)}' is a bound, which has no verdict"
                raise file.fault(("claims", i, side), text)
        _check_metric(file, claim, i)
    check_arms(arms, study.baseline, study.backbones, file.fault)


def check_arms(
    arms: Mapping[str, Arm],
    baseline: str,
    backbones: list[str],
    wrong: Callable[[tuple[Any, ...], str], CabenchError],
) -> None:
    """Which backbones arms are for, and whose size they are matched to; `wrong` makes the fault."""
    needed = {"baseline": baseline}
    needed |= {name: arm.match.params_of for name, arm in arms.items() if arm.match is not None}
    for where, name in needed.items():
        if name in arms and arms[name].on is not None:
            raise wrong(("arms", name, "on"), f"'{where}' needs it on every backbone")
    for name, arm in arms.items():
        for i, backbone in enumerate(arm.on or []):
            if backbone not in backbones:
                text = unknown("backbone of the study", backbone, backbones)
                raise wrong(("arms", name, "on", i), text)
        if arm.match is None:
            continue
        if (other := arm.match.params_of) not in arms:
            text = f"no arm {shown(other)}{near(other, arms)}; arms: {listed(arms)}"
            raise wrong(("arms", name, "match", "params_of"), text)
        if arms[other].match is not None:
            raise wrong(("arms", name, "match"), f"'{other}' is itself a matched arm")


def _check_metric(file: StudyFile, claim: Claim, i: int) -> None:
    """Scores for a test of superiority, counts for what holds by construction."""
    where = ("claims", i, "metric")
    counted = claim.test == "by_construction"
    if counted and not isinstance(claim.metric, str):
        raise file.fault(where, f"by_construction takes one of {', '.join(COUNTS)}")
    found = [claim.metric] if isinstance(claim.metric, str) else claim.metric
    allowed = COUNTS if counted else metrics.names()
    for name in found:
        if name not in allowed:
            raise file.fault(where, unknown("count" if counted else "metric", name, allowed))
        if found.count(name) > 1:
            raise file.fault(where, f"'{name}' stands there twice")
        unfit = "" if counted else getattr(METRICS.get(name), "unfit", str)()
        if unfit:
            raise file.fault(where, f"'{name}': {unfit}")
    if claim.ratio is not None and not counted:
        raise file.fault(("claims", i, "ratio"), "only test by_construction takes a ratio")


def scale_names() -> list[str]:
    folder = resources.files("cabench.config") / "scales"
    return sorted(Path(p.name).stem for p in folder.iterdir() if p.name.endswith(".yaml"))


def read_scale(name: str) -> Scale:
    """A scale of the package by name, or a YAML file by path."""
    packaged = name in scale_names()
    if packaged:
        path = Path(str(resources.files("cabench.config") / "scales" / f"{name}.yaml"))
    elif not name.endswith((".yaml", ".yml")):
        raise CabenchError(f"--scale: {unknown('scale', name, scale_names())}, or a YAML file")
    elif not is_file(path := Path(name)):
        raise CabenchError(f"--scale: no scale file {_elsewhere(path)}")
    content = read_yaml(path, "scale")
    scale = check(Scale, path, content)
    if not packaged and scale.scale in scale_names():
        text = f"'{scale.scale}' is the name of a scale that comes with cabench; take another"
        raise fault(path, content, ("scale",), text)
    here = [(("data", i, "metrics"), choice.metrics or []) for i, choice in enumerate(scale.data)]
    for where, named in [(("metrics",), scale.metrics), *here]:
        for i, metric in enumerate(named):
            if metric not in metrics.names():
                text = unknown("metric", metric, metrics.names())
                raise fault(path, content, (*where, i), text)
    scale._file = path, content
    return scale
