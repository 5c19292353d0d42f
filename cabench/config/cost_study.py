"""Studies of kind `cost` (counts) and `timing` (ratios measured in one run): their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cabench.config.schema import Arm, Name, Part, Pixels, Positive
from cabench.config.study import add_arms, check_arms, is_file
from cabench.config.yaml import check, fault, read_yaml
from cabench.errors import CabenchError, listed, near, unknown
from cabench.models.model import BACKBONES

COUNTED = ("macs", "params")
TIMED = ("step", "sampling", "latency")  # a training step; a sampling run; that of one picture
LAYER_FORMS = ("static", "loop", "fused")
LAYER_RATIOS = (("fused", "static"), ("loop", "fused"), ("loop", "static"))


class Model(Part):
    """A backbone at one size, on pictures (or latents) of one shape."""

    backbone: str
    preset: str
    patch: Positive
    shape: tuple[Pixels, Pixels, Pixels]  # C, H, W
    classes: Annotated[int, Field(ge=2, le=1_000_000)] = 1000
    batch: Positive | None = None  # timed at this batch; None: counted alone


class Layer(Part):
    """One layer with a weight a sample: static, as a loop over samples, and fused."""

    kind: Literal["linear", "depthwise"]
    inputs: Positive  # channels
    outputs: Positive | None = None  # of a linear layer
    grid: tuple[Positive, Positive]
    batch: Positive


class Claim(Part):
    """At most (or, `least`, at least) so many times the other's."""

    id: str
    says: str
    paper: str = ""
    of: str  # MODEL:ARM, or LAYER:FORM
    over: str
    metric: Literal[(*COUNTED, *TIMED, "layer")]
    by_construction: bool = False  # sizes were chosen so that it holds
    most: Annotated[float, Field(gt=0)] | None = None
    least: Annotated[float, Field(gt=0)] | None = None


class CostStudy(Part):
    study: Name
    kind: Literal["cost", "timing"]
    question: str
    embedder: Literal["shared", "native"] = "shared"
    models: dict[str, Model] = {}
    baseline: str = ""
    arms: dict[Name, Arm] = {}
    layers: dict[str, Layer] = {}  # kind timing
    rounds: Annotated[int, Field(ge=6, le=1000)] = 15  # of alternating measurements, at least
    seconds: Annotated[float, Field(ge=0, le=3600)] = 0  # and at least so long for each ratio
    claims: list[Claim] = []
    caveat: str = ""


def kind_of(path: Path) -> str:
    """The `kind` that a study file says; 'train' where it says none or can't be read."""
    try:
        return str(read_yaml(path, "study").get("kind", "train")) if is_file(path) else "train"
    except CabenchError:
        return "train"  # read again there, the fault is told


@dataclass(frozen=True)
class CostFile:
    """A study as read, and what its file and the command line say, for later faults."""

    path: Path
    content: Any
    study: CostStudy  # with the added arms
    added: dict[str, str]  # arms of the command line, as written


def read_cost_study(path: Path, arms: Iterable[str] = ()) -> CostFile:
    """The study, checked, with further arms written as YAML: '{NAME: {methods: [...]}}'."""
    content = read_yaml(path, "study")
    study = check(CostStudy, path, content)
    added = add_arms(study.arms, arms)

    def wrong(where: tuple[Any, ...], text: str) -> CabenchError:
        return fault(path, content, where, text)

    for name, model in study.models.items():
        if model.backbone not in BACKBONES:
            text = unknown("backbone", model.backbone, BACKBONES.names())
            raise wrong(("models", name, "backbone"), text)
        backbone = BACKBONES.get(model.backbone)
        if model.preset not in backbone.presets:
            text = unknown("preset", model.preset, backbone.presets)
            raise wrong(("models", name, "preset"), text)
        if problem := backbone.problem(model.shape, model.patch):
            raise wrong(("models", name, "patch"), problem)
    if not study.models and not study.layers:
        raise wrong((), "no models and no layers: nothing to count or time")
    if study.models and study.baseline not in study.arms:
        text = f"no arm '{study.baseline}'{near(study.baseline, study.arms)}"
        raise wrong(("baseline",), f"{text}; arms: {listed(study.arms)}")
    backbones = list(dict.fromkeys(model.backbone for model in study.models.values()))
    check_arms(study.arms, study.baseline, backbones, wrong)
    if study.kind == "cost" and study.layers:
        raise wrong(("layers",), "layers are timed: say kind: timing")
    ids = [claim.id for claim in study.claims]
    for i, claim in enumerate(study.claims):
        if ids.index(claim.id) < i:
            raise wrong(("claims", i, "id"), f"'{claim.id}' stands there twice")
        _check_claim(study, claim, lambda *at, place=i: wrong(("claims", place, *at[:-1]), at[-1]))
    return CostFile(path, content, study, added)


def _check_claim(study: CostStudy, claim: Claim, wrong: Callable[..., CabenchError]) -> None:
    """Refuses what could never be tested: `wrong(*keys, text)` makes the fault."""
    if (claim.most is None) == (claim.least is None):
        raise wrong("one of most and least is wanted")
    if study.kind == "cost" and claim.metric not in COUNTED:
        raise wrong("metric", f"kind cost counts {' and '.join(COUNTED)}")
    if claim.metric == "layer":
        known = [f"{n}:{form}" for n in study.layers for form in LAYER_FORMS]
    else:
        known = [f"{m}:{a}" for m, model in study.models.items() for a in arms_on(study, model)]
    for side in ("of", "over"):
        if (found := getattr(claim, side)) not in known:
            raise wrong(side, unknown("model or layer", found, known))
    of, over = (tuple(side.rsplit(":", 1)) for side in (claim.of, claim.over))
    if claim.metric == "layer":
        if of[0] != over[0] or (of[1], over[1]) not in LAYER_RATIOS:
            told = listed(f"{a} over {b}" for a, b in LAYER_RATIOS)
            text = f"'{claim.of}' over '{claim.over}' isn't timed"
            raise wrong("over", f"{text}; of one layer: {told}")
    elif claim.metric in TIMED:
        for side, (model, _) in (("of", of), ("over", over)):
            if study.models[model].batch is None:
                raise wrong(side, f"'{model}' has no batch, so it isn't timed")
        if of[0] != over[0] or over[1] != study.baseline:
            text = f"'{claim.over}': times are over the baseline's of the same model"
            raise wrong("over", f"{text}: '{of[0]}:{study.baseline}'")


def arms_on(study: CostStudy, model: Model) -> list[str]:
    """The arms that are for the model's backbone."""
    return [n for n, arm in study.arms.items() if not arm.on or model.backbone in arm.on]
