"""Studies of kind `cost` (counts) and `timing` (ratios measured in one run): their files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cabench.config.files import study_path
from cabench.config.grids import check_expanded, expand
from cabench.config.schema import Arm, Embedder, Name, Part, Pixels, Positive, Profile
from cabench.config.study import (
    check_arms,
    check_ids,
    matches,
    read_arms,
    with_added,
    with_arms,
)
from cabench.config.yaml import Document, located
from cabench.errors import CabenchError, ConfigError, Where, listed, near, unknown

COUNTED = ("macs", "params")
TIMED = ("step", "sampling", "latency")
LAYER_FORMS = ("static", "loop", "fused")
LAYER_RATIOS = (("fused", "static"), ("loop", "fused"), ("loop", "static"))


class Model(Part):
    """A backbone at one size, on images (or latents) of one shape."""

    backbone: str
    """name of a registered backbone"""
    preset: str
    """size of the backbone, such as S"""
    patch: Positive
    """side of a patch in pixels"""
    shape: tuple[Pixels, Pixels, Pixels]
    """C, H, W of an image or latent"""
    classes: Annotated[int, Field(ge=2, le=1_000_000)] = 1000
    """number of classes of the label"""
    batch: Positive | None = None
    """batch size of the timings; without it the model is counted but not timed"""


class Layer(Part):
    """A layer with a weight per sample, timed as a static layer, a loop over samples, and fused."""

    kind: Literal["linear", "depthwise"]
    """linear, or a 3x3 depthwise convolution"""
    inputs: Positive
    """input channels"""
    outputs: Positive | None = None
    """output channels of a linear layer"""
    grid: tuple[Positive, Positive]
    """height and width of the token grid"""
    batch: Positive
    """samples, each with its own weight"""


class Claim(Part):
    """A statement about the ratio of two counts or times."""

    id: str
    """unique in the study"""
    says: str
    """the claim as it is tested here"""
    paper: str = ""
    """the claim as the paper states it, where that differs from `says`"""
    of: str
    """numerator: MODEL:ARM, or LAYER:FORM"""
    over: str
    """denominator: MODEL:ARM, or LAYER:FORM"""
    metric: Literal["macs", "params", "step", "sampling", "latency", "layer"]
    """a count (macs, params) or a time (training step, sampling run, sampling one image, layer)"""
    by_construction: bool = False
    """the sizes were chosen so that the claim holds"""
    most: Annotated[float, Field(gt=0)] | None = None
    """the largest ratio that supports the claim"""
    least: Annotated[float, Field(gt=0)] | None = None
    """the smallest ratio that supports the claim"""


class CostStudy(Part):
    """Counts of MACs and parameters, or ratios of times. Nothing is trained."""

    study: Name
    """name of the study and of its results"""
    kind: Literal["cost", "timing"]
    """cost counts MACs and parameters; timing also measures"""
    question: str
    """the question that the study asks, in one sentence"""
    profile: Profile = "uniform"
    """uniform: one convention for all methods; as_published: each method's and backbone's own"""
    embedder: Embedder | None = None
    """condition embedder: shared (the default form of `uniform`), normalised, gain, raw, or native
    (published with the backbone; the default of `as_published`)"""
    models: dict[str, Model] = {}
    """backbones and sizes, by name"""
    baseline: str = ""
    """the arm that others are divided by"""
    arms: dict[Name, Arm] = {}
    """the rows of the study, by name; each is built on every model that it is for"""
    layers: dict[str, Layer] = {}
    """kind timing: single layers, by name"""
    rounds: Annotated[int, Field(ge=6, le=1000)] = 15
    """least number of alternating measurements"""
    seconds: Annotated[float, Field(ge=0, le=3600)] = 0
    """least time spent on each ratio"""
    claims: list[Claim] = []
    """statements about ratios that are tested"""
    caveat: str = ""
    """what the claims do not show; printed below them"""


def kind_of(path: Path) -> str:
    """The `kind` of a study, by path or name; 'train' where it has none or cannot be read."""
    try:
        content = Document.read(study_path(path), "study").content
    except CabenchError:  # reported when the study is read as a whole
        return "train"
    return str(content.get("kind", "train"))


@dataclass(frozen=True)
class CostFile:
    """A cost study and the document it was read from."""

    study: CostStudy  # with the arms of the command line
    document: Document


def read_cost_study(path: Path, arms: Iterable[str] = ()) -> CostFile:
    """The study in `path`, with further arms written as YAML: '{NAME: {methods: [...]}}'.

    Names of methods, backbones and presets are not checked here but in `planning.references`.
    """
    document = Document.read(study_path(path), "study")
    study = document.validated(CostStudy)
    with located(document):
        expansion = expand(study.arms)
        check_expanded(_references(study), expansion.names)
    document = dataclasses.replace(document, origins=expansion.origins)
    study = study.model_copy(update={"arms": expansion.arms})
    added = read_arms(arms, study.arms)
    document = with_added(document, added)
    study = study.model_copy(update={"arms": with_arms(study.arms, added)})
    with located(document):
        check_cost_study(study)
    return CostFile(study, document)


def _references(study: CostStudy) -> Iterator[tuple[Where, str]]:
    """Every place that names an arm, and the name."""
    yield ("baseline",), study.baseline
    yield from matches(study.arms)
    for i, claim in enumerate(study.claims):
        yield ("claims", i, "of"), split(claim.of)[1]
        yield ("claims", i, "over"), split(claim.over)[1]


def check_cost_study(study: CostStudy) -> None:
    """Raises a ConfigError where a reference leads nowhere or a claim could never be tested."""
    if not study.models and not study.layers:
        raise ConfigError("study", (), "no models and no layers: nothing to count or time")
    if study.models and study.baseline not in study.arms:
        text = f"no arm '{study.baseline}'{near(study.baseline, study.arms)}"
        raise ConfigError("study", ("baseline",), f"{text}; arms: {listed(study.arms)}")
    backbones = list(dict.fromkeys(model.backbone for model in study.models.values()))
    check_arms(study.arms, study.baseline, backbones)
    if study.kind == "cost" and study.layers:
        raise ConfigError("study", ("layers",), "layers are timed: expected kind: timing")
    check_ids([claim.id for claim in study.claims])
    for i, claim in enumerate(study.claims):
        _check_claim(study, claim, i)


def _check_claim(study: CostStudy, claim: Claim, i: int) -> None:
    def wrong(text: str, *keys: str) -> ConfigError:
        return ConfigError("study", ("claims", i, *keys), text)

    if (claim.most is None) == (claim.least is None):
        raise wrong("expected exactly one of most and least")
    if study.kind == "cost" and claim.metric not in COUNTED:
        raise wrong(f"kind cost counts {' and '.join(COUNTED)}", "metric")
    known = layer_forms(study) if claim.metric == "layer" else model_arms(study)
    for side, name in (("of", claim.of), ("over", claim.over)):
        if name not in known:
            raise wrong(unknown("model or layer", name, known), side)
    of, over = split(claim.of), split(claim.over)
    if claim.metric == "layer":
        if of[0] != over[0] or (of[1], over[1]) not in LAYER_RATIOS:
            ratios = listed(f"{a} over {b}" for a, b in LAYER_RATIOS)
            text = f"'{claim.of}' over '{claim.over}' is not timed"
            raise wrong(f"{text}; of one layer: {ratios}", "over")
    elif claim.metric in TIMED:
        for side, (model, _) in (("of", of), ("over", over)):
            if study.models[model].batch is None:
                raise wrong(f"'{model}' has no batch, so it is not timed", side)
        if of[0] != over[0] or over[1] != study.baseline:
            text = f"expected the baseline of the same model, '{of[0]}:{study.baseline}'"
            raise wrong(f"{text}, got '{claim.over}'", "over")


def split(name: str) -> tuple[str, str]:
    """'MODEL:ARM' -> (MODEL, ARM); a model's name may have a colon."""
    first, _, second = name.rpartition(":")
    return first, second


def model_arms(study: CostStudy) -> list[str]:
    """Every 'MODEL:ARM' of the study."""
    return [f"{m}:{a}" for m, model in study.models.items() for a in arms_on(study, model)]


def layer_forms(study: CostStudy) -> list[str]:
    """Every 'LAYER:FORM' of the study."""
    return [f"{layer}:{form}" for layer in study.layers for form in LAYER_FORMS]


def arms_on(study: CostStudy, model: Model) -> list[str]:
    """The arms that are for the model's backbone."""
    return [n for n, arm in study.arms.items() if not arm.on or model.backbone in arm.on]
