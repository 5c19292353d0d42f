"""Studies of kind `cost` (counts) and `timing` (ratios measured in one run): their files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from cabench.errors import CabenchError
from cabench.models.model import BACKBONES
from cabench.registry import listed, near
from cabench.schema import Arm, Name, Part, Pixels, Positive
from cabench.study import add_arms, is_file, unknown
from cabench.yamlfile import check, fault, read_yaml

COUNTED = ("macs", "params")
TIMED = ("step", "sampling", "latency")  # a training step; a sampling run; that of one picture
LAYER_FORMS = ("static", "loop", "fused")


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
    rounds: Annotated[int, Field(ge=5, le=1000)] = 15  # of alternating measurements
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
    if study.models and study.baseline not in study.arms:
        text = f"no arm '{study.baseline}'{near(study.baseline, study.arms)}"
        raise wrong(("baseline",), f"{text}; arms: {listed(study.arms)}")
    if study.kind == "cost" and study.layers:
        raise wrong(("layers",), "layers are timed: say kind: timing")
    known = [f"{m}:{a}" for m, model in study.models.items() for a in arms_on(study, model)]
    layers = [f"{layer}:{form}" for layer in study.layers for form in LAYER_FORMS]
    for i, claim in enumerate(study.claims):
        if (claim.most is None) == (claim.least is None):
            raise wrong(("claims", i), "one of most and least is wanted")
        if study.kind == "cost" and claim.metric not in COUNTED:
            raise wrong(("claims", i, "metric"), f"kind cost counts {' and '.join(COUNTED)}")
        allowed = layers if claim.metric == "layer" else known
        for side in ("of", "over"):
            if (found := getattr(claim, side)) not in allowed:
                raise wrong(("claims", i, side), unknown("model or layer", found, allowed))
            model = found.split(":")[0]
            if claim.metric in TIMED and study.models[model].batch is None:
                raise wrong(("claims", i, side), f"'{model}' has no batch, so it isn't timed")
    return CostFile(path, content, study, added)


def arms_on(study: CostStudy, model: Model) -> list[str]:
    """The arms that are for the model's backbone."""
    return [n for n, arm in study.arms.items() if not arm.on or model.backbone in arm.on]
