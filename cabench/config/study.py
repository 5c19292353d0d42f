"""Reads study and scale files. An invalid one gets one line that names file, line and key."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml.comments import CommentedMap

from cabench.config.extends import extended
from cabench.config.files import (
    SUFFIXES,
    elsewhere,
    is_file,
    scale_names,
    scale_path,
    study_path,
)
from cabench.config.grids import check_expanded, expand
from cabench.config.repeats import check_repeats
from cabench.config.scale import Scale
from cabench.config.schema import ADDED_ID, COUNTS, AddedArms, Arm, Claim, Study
from cabench.config.settings import Setting, with_settings
from cabench.config.yaml import Document, located
from cabench.errors import CabenchError, ConfigError, Where, listed, near, shown, unknown
from cabench.runtime.validation import valid_name

ARM_OPTION, AGAINST_OPTION = "--arm", "--against"


@dataclass(frozen=True)
class StudyFile:
    """A study for one of its backbones, with the arms that the command line adds."""

    # fmt: off
    study: Study                # with the arms and claims of the backbone alone
    written: Study              # with those of every backbone, as in the file
    backbone: str
    added: Mapping[str, str]    # arms of the command line: name -> YAML as given
    against: str                # the arm that these are claimed to beat
    document: Document
    sha256: str                 # of the file
    # fmt: on

    @property
    def path(self) -> Path:
        return Path(self.document.path)


@dataclass(frozen=True)
class ScaleFile:
    """A scale and the document it was read from."""

    scale: Scale
    document: Document
    settings: tuple[Setting, ...] = ()  # values that the command line replaced


def read_study(
    path: Path,
    arms: Iterable[str] = (),
    backbone: str | None = None,
    against: str | None = None,
    further_backbones: Iterable[str] = (),
) -> StudyFile:
    """The study in `path`, with further arms written as YAML: '{NAME: {methods: [...]}}'.

    `path` may be the name of a study, as `files.study_path` takes it.
    `against` is the arm that the further ones are compared with; the default is the baseline.
    `backbone` is one of the study's, or a further one; the default is the study's first. With any
    other the study's name becomes STUDY-BACKBONE. Names of methods, metrics and backbones are not
    checked here but in `planning.references`.
    """
    path = study_path(path)
    document = Document.read(path, "study")
    study = document.validated(Study)
    with located(document):
        expansion = expand(study.arms)
        check_expanded(references(study), expansion.names)
    document = dataclasses.replace(document, origins=expansion.origins)
    study = study.model_copy(update={"arms": expansion.arms})
    added = read_arms(arms, study.arms)
    document = with_added(document, added)
    study = study.model_copy(update={"arms": with_arms(study.arms, added)})
    if backbone is not None and backbone not in study.backbones:
        if backbone not in (further := list(further_backbones)):
            text = unknown("backbone of the study", backbone, [*study.backbones, *further])
            raise CabenchError(f"--backbone: {text}")
        study = study.model_copy(update={"backbones": [*study.backbones, backbone]})
    chosen = backbone or study.backbones[0]
    with located(document):
        check_study(study)
        check_repeats(study, path)
        restricted = _on_backbone(study, chosen, added)
    if against is not None:
        _check_against(against, restricted.arms, added)
    return StudyFile(
        study=restricted,
        written=study,
        backbone=chosen,
        added={name: arm.text for name, arm in added.items()},
        against=against or study.baseline,
        document=document,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def with_run_options(file: StudyFile, most: int | None, suffix: str) -> StudyFile:
    """The study with another number of seeds of an arm at most, and its name with a suffix."""
    study = file.study
    rule = study.sequential if most is None else study.sequential.model_copy(update={"most": most})
    name = valid_name(f"{study.study}-{suffix}") if suffix else study.study
    study = study.model_copy(update={"sequential": rule, "study": name})
    return dataclasses.replace(file, study=study)


def _on_backbone(study: Study, backbone: str, added: Iterable[str]) -> Study:
    """The study without the arms that are for other backbones, and without claims about them."""
    arms = {n: arm for n, arm in study.arms.items() if not arm.on or backbone in arm.on}
    for name in added:
        if name not in arms:
            text = f"the arm is not for '{backbone}', the backbone of this run"
            raise ConfigError("study", ("arms", name, "on"), text)
    claims = [c for c in study.claims if all(name in arms for name in c.arms)]
    first = backbone == study.backbones[0]
    name = study.study if first else f"{study.study}-{backbone}"
    return study.model_copy(update={"study": name, "arms": arms, "claims": claims})


# ---- arms of the command line -------------------------------------------------------------------


class AddedArm(NamedTuple):
    """An arm of the command line."""

    arm: Arm
    text: str  # YAML as given


def read_arms(texts: Iterable[str], taken: Iterable[str]) -> dict[str, AddedArm]:
    """The arms that the command line adds to a study; `taken` are names of the study's own."""
    added: dict[str, AddedArm] = {}
    for text in texts:
        document = Document.parse(text, ARM_OPTION, "study")
        for name, arm in document.content.items():
            if not isinstance(arm, dict):
                how = "expected NAME: {methods: [...]}, as in a study"
                problem = f"{shown(name)}: {how}; got {shown(arm)}"
                raise ConfigError("study", (), problem, ARM_OPTION)
        nested = dataclasses.replace(document, content=CommentedMap(arms=document.content))
        written = nested.validated(AddedArms).arms
        with located(nested):
            expanded = expand(written).arms
        for name, arm in expanded.items():
            if name in taken or name in added:
                problem = f"the study already has an arm '{name}': choose another name"
                raise ConfigError("study", (), problem, ARM_OPTION)
            added[name] = AddedArm(arm, text)
    return added


def _check_against(name: str, arms: Mapping[str, Arm], added: Iterable[str]) -> None:
    own = [arm for arm in arms if arm not in added]
    if len(own) == len(arms):
        raise CabenchError(f"{AGAINST_OPTION}: expected with {ARM_OPTION} only")
    if name not in own:
        raise CabenchError(f"{AGAINST_OPTION}: {unknown('arm of the study', name, own)}")
    if arms[name].bound:
        raise CabenchError(f"{AGAINST_OPTION}: '{name}' is a lower bound, which has no verdict")


def with_arms(arms: Mapping[str, Arm], added: Mapping[str, AddedArm]) -> dict[str, Arm]:
    """The study's arms, then the added ones."""
    return {**arms, **{name: one.arm for name, one in added.items()}}


def with_added(document: Document, names: Iterable[str]) -> Document:
    """The document; errors in the arms `names` are located at the option --arm."""
    return dataclasses.replace(document, added={("arms", name): ARM_OPTION for name in names})


# ---- references inside a study ------------------------------------------------------------------


def check_study(study: Study) -> None:
    """Raises a ConfigError where a reference leads nowhere or a claim contradicts itself."""
    _check_named(study.baseline, study.arms, ("baseline",))
    _check_distinct(study.needs, ("needs",))
    _check_distinct(study.backbones, ("backbones",))
    check_ids([claim.id for claim in study.claims])
    for i, claim in enumerate(study.claims):
        _check_claim(claim, study, i)
    check_arms(study.arms, study.baseline, study.backbones)


def _check_named(name: str, arms: Mapping[str, Arm], where: Where) -> None:
    if name not in arms:
        text = f"no arm {shown(name)}{near(name, arms)}; arms: {listed(arms)}"
        raise ConfigError("study", where, text)


def _check_distinct(names: Sequence[str], where: Where) -> None:
    for i, name in enumerate(names):
        if names.index(name) < i:
            raise ConfigError("study", (*where, i), f"'{name}' is listed twice")


def check_ids(ids: Sequence[str]) -> None:
    """Refuses a claim's id that an earlier claim has."""
    for i, name in enumerate(ids):
        if ids.index(name) < i:
            raise ConfigError("study", ("claims", i, "id"), f"'{name}' is listed twice")


def references(study: Study) -> Iterator[tuple[Where, str]]:
    """Every place of a study that names an arm, and the name."""
    yield ("baseline",), study.baseline
    yield from matches(study.arms)
    for i, claim in enumerate(study.claims):
        yield from ((("claims", i, side), name) for side, name in sides(claim))


def matches(arms: Mapping[str, Arm]) -> Iterator[tuple[Where, str]]:
    """Every place of an arm that names the arm whose size it is matched to, and the name."""
    for name, arm in arms.items():
        if arm.match is not None:
            yield ("arms", name, "match", arm.match.key), arm.match.arm


def sides(claim: Claim) -> list[tuple[str, str]]:
    """The keys of a claim that name an arm, and the names."""
    named = [("better", claim.better), ("than", claim.than)]
    named += [("also_than", name) for name in claim.also_than]
    return named + [("relative_to", name) for name in claim.relative_to or ()]


def _check_claim(claim: Claim, study: Study, i: int) -> None:
    arms = study.arms

    def wrong(key: str, text: str) -> ConfigError:
        return ConfigError("study", ("claims", i, key), text)

    if re.fullmatch(ADDED_ID.format(r"\d+"), claim.id):
        raise wrong("id", f"'{claim.id}' is reserved for arms added with --arm; choose another id")
    if claim.better in (claim.than, *claim.also_than):
        raise wrong("than", f"'{claim.better}' is compared with itself")
    for side, name in sides(claim):
        _check_named(name, arms, ("claims", i, side))
        if arms[name].bound:
            raise wrong(side, f"'{name}' is a lower bound, which has no verdict")
    names = [claim.metric] if isinstance(claim.metric, str) else claim.metric
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise wrong("metric", f"'{twice}' is listed twice")
    if (claim.test == "difference_of_differences") is not (claim.relative_to is not None):
        raise wrong("test", "difference_of_differences, and it alone, takes relative_to: [B, D]")
    if claim.test in ("non_inferiority", "equivalence"):
        for name in names:
            if name not in study.margins:
                raise wrong("metric", f"{claim.test} needs the study's margins to have '{name}'")
    if claim.test == "by_construction":
        if claim.also_than:
            raise wrong("also_than", "a claim by construction compares two arms")
        if not isinstance(claim.metric, str):
            raise wrong("metric", f"expected one of {', '.join(COUNTS)} for by_construction")
        if claim.metric not in COUNTS:
            raise wrong("metric", unknown("count", claim.metric, COUNTS))
    elif claim.ratio is not None:
        raise wrong("ratio", "only the test by_construction takes a ratio")


def check_arms(arms: Mapping[str, Arm], baseline: str, backbones: Sequence[str]) -> None:
    """Checks which backbones arms are for, and whose size they are matched to."""

    def wrong(where: Where, text: str) -> ConfigError:
        return ConfigError("study", ("arms", *where), text)

    needed = {"baseline": baseline}
    needed |= {name: arm.match.arm for name, arm in arms.items() if arm.match is not None}
    for user, name in needed.items():
        if name in arms and arms[name].on is not None:
            raise wrong((name, "on"), f"'{user}' needs this arm on every backbone")
    for name, arm in arms.items():
        for i, backbone in enumerate(arm.on or []):
            if backbone not in backbones:
                text = unknown("backbone of the study", backbone, backbones)
                raise wrong((name, "on", i), text)
        if arm.match is None:
            continue
        other = arm.match.arm
        _check_named(other, arms, ("arms", name, "match", arm.match.key))
        if arms[other].match is not None:
            raise wrong((name, "match"), f"'{other}' is itself a matched arm")


# ---- scales -------------------------------------------------------------------------------------


def read_scale(name: str, settings: Sequence[str] = ()) -> ScaleFile:
    """A scale that comes with cabench, by name, or the YAML file at a path.

    `settings` are values of the command line, as KEY=VALUE: they give it another name, too.
    """
    packaged = name in scale_names()
    path = scale_path(name) if packaged else Path(name)
    if not packaged and not name.endswith(SUFFIXES):
        raise CabenchError(f"--scale: {unknown('scale', name, scale_names())}, or a YAML file")
    if not is_file(path):
        raise CabenchError(f"--scale: no scale file {elsewhere(path)}")
    document = extended(Document.read(path, "scale"))
    scale = document.validated(Scale)
    if not packaged and scale.scale in scale_names():
        text = f"'{scale.scale}' is the name of a scale that comes with cabench; choose another"
        raise document.locate(ConfigError("scale", ("scale",), text))
    return ScaleFile(*with_settings(scale, document, settings))
