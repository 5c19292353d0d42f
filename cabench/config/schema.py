"""What a study and a scale may say: the YAML files as models. No torch in here.

A field's trailing comment is also its description in the JSON schema (json_schema.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    model_validator,
)

from cabench.runtime.validation import NAME, NO_DOT

Name = Annotated[str, StringConstraints(pattern=NAME)]
FolderName = Annotated[str, StringConstraints(pattern=NO_DOT)]
Positive = Annotated[int, Field(gt=0)]
Pixels = Annotated[int, Field(gt=0, le=4096)]
MOST_SEEDS = 1000
Classes = Annotated[int, Field(ge=2, le=1_000_000)]
Factor = Annotated[float, Field(ge=1e-6, le=1e6)]
Rate = Annotated[float, Field(ge=0, lt=1)]

ADDED_ID = "A{}"  # of the claim of the nth arm added on the command line
COUNTS = ("macs", "params")  # what a claim by construction may be about
PLANNED = ("equivalence", "non_inferiority", "difference_of_differences")  # tests to come


def _exists(test: Any) -> Any:
    if isinstance(test, str) and test.replace("-", "_").replace(" ", "_") in PLANNED:
        text = "this test doesn't exist yet; allowed: 'superiority' or 'by_construction'"
        raise ValueError(text)
    return test


def _metrics(found: Any) -> Any:
    listed = found if isinstance(found, list) else [found]
    if not listed or not all(isinstance(name, str) for name in listed):
        raise ValueError("the name of a metric, or a list of names that the claim needs all of")
    return found


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Match(Part):
    """Chooses one size so that the arm has another arm's parameter count, as nearly as it can."""

    params_of: str  # an arm of the study
    by: Literal["rank", "ffn_hidden"]  # the size that is free


class Arm(Part):
    methods: list[str | dict[str, dict[str, Any] | None]] = []  # 'native', or {method: options}
    depthwise: Literal["static"] | None = None  # a 3x3 depthwise convolution in each FFN
    gate: Literal["static"] | None = None  # a learned, static gate on each residual branch
    match: Match | None = None
    init_salt: str = ""  # other initial values under the same data and noise (a paired null)
    extra: bool = False  # runs from scale `cpu` up, or with --all-arms
    bound: bool = False  # a bound, printed without a verdict
    on: Annotated[list[str], Field(min_length=1)] | None = None  # backbones it is for; all
    about: str = ""


class AddedArms(Part):
    """Arms given on the command line, as they would stand in a study."""

    arms: dict[Name, Arm]


class Claim(Part):
    id: str  # not A1, A2, ...: those are the claims of arms added with --arm
    says: str  # what is tested here
    paper: str = ""  # what the paper says, where `says` puts it otherwise
    better: str  # arm
    than: str  # arm
    metric: Annotated[str | list[str], BeforeValidator(_metrics)]  # a list: all of them
    test: Annotated[Literal["superiority", "by_construction"], BeforeValidator(_exists)]
    ratio: Annotated[float, Field(gt=0)] | None = None  # by_construction: at most so many times


class Tune(Part):
    """A search for each arm's learning rate, equal for all; rates are factors of the scale's."""

    trials: Annotated[int, Field(ge=2, le=1000)]  # rates tried by each arm, start points included
    budget: Annotated[float, Field(gt=0, le=1)]  # part of the trials' images
    range: tuple[Factor, Factor]  # the least and the largest
    start: Annotated[list[Factor], Field(min_length=1)] = [1.0]  # tried first
    seed: Annotated[int, Field(ge=0, le=100_000)] = 1000

    @model_validator(mode="after")
    def start_points_lie_inside(self) -> Tune:
        low, high = self.range
        if not low < high:
            raise ValueError(f"range: {low:g} to {high:g} holds no rates; the smaller comes first")
        for factor in self.start:
            if not low <= factor <= high:
                raise ValueError(f"start: {factor:g} lies outside the range {low:g} to {high:g}")
        if len(self.start) > self.trials:
            raise ValueError(f"start: {len(self.start)} points are more than {self.trials} trials")
        return self


class Study(Part):
    study: FolderName
    kind: Literal["train"] = "train"
    question: str
    needs: list[str] = ["label"]  # streams the data must carry
    backbones: Annotated[list[str], Field(min_length=1)] = ["dit"]  # the first, or --backbone
    primary: str = "kid"  # the metric the arms are ranked by
    embedder: Literal["shared", "native"] = "shared"  # native: as published with the backbone
    baseline: str
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    claims: list[Claim] = []
    tune: Tune | None = None
    caveat: str = ""  # what the claims' tests here do not say; printed below them


class TextChoice(Part):
    """Who encodes a data set's texts; the encoder's hash is in the trials' keys."""

    encoder: str  # a registered text encoder
    path: str | None = None  # a folder with its weights, or a name on the hub
    width: Positive | None = None  # of its features, while it or the data is absent


class TrainingHere(Part):
    """What of the scale's `training` is otherwise on one data source."""

    images: Positive | None = None
    warmup: Annotated[int, Field(ge=0)] | None = None
    ema_half_life: Positive | None = None
    snapshot_every: Positive | None = None


class SamplingHere(Part):
    """What of the scale's `sampling` is otherwise on one data source."""

    n: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    steps: Annotated[int, Field(gt=0, le=1000)] | None = None
    batch: Positive | None = None


class HeldoutHere(Part):
    """What of the scale's `heldout` is otherwise on one data source."""

    images: Positive | None = None
    bins: Positive | None = None
    repeats: Positive | None = None


class DataChoice(Part):
    """A data source, and the streams it can serve."""

    streams: list[str]
    source: str
    options: dict[str, Any] = {}
    shape: tuple[Pixels, Pixels, Pixels] | None = None  # C, H, W while the data is absent
    classes: dict[str, Classes] | None = None  # number of each stream's, while the data is absent
    text: TextChoice | None = None  # of the stream `text`
    patch: Positive | None = None  # of every backbone, in the place of the scale's
    training: TrainingHere = TrainingHere()  # in the place of the scale's, on this data
    sampling: SamplingHere = SamplingHere()
    heldout: HeldoutHere = HeldoutHere()
    metrics: Annotated[list[str], Field(min_length=1)] | None = None  # in the place of the scale's
    unseen: Positive | None = None  # samples told conditions of the split `unseen`, scored apart


class BackboneChoice(Part):
    preset: str
    patch: Positive


class Training(Part):
    images: Positive  # pictures seen, with repetition
    batch: Positive
    lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[int, Field(ge=0)] = 0  # images
    ema_half_life: Positive  # images
    label_dropout: Rate = 0.1
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Annotated[float, Field(gt=0)] | None = None  # norm of the gradient
    precision: Literal["float32", "bfloat16"] = "float32"
    snapshot_every: Positive  # images
    keep_state: bool = True  # keep the optimiser, so that a longer run extends this one


class Diffusion(Part):
    prediction: Literal["eps", "v", "flow"]
    schedule: Literal["linear", "sqrt_linear", "cosine"] = "linear"

    @model_validator(mode="after")
    def flow_is_linear(self) -> Diffusion:
        if self.prediction == "flow" and self.schedule != "linear":
            raise ValueError("prediction flow takes schedule linear")
        return self


class Sweep(Part):
    """Further guidance values, scored beside the primary one."""

    guidance: list[Annotated[float, Field(ge=0)]] = []
    seeds: Annotated[int, Field(ge=0)] = 1  # on the first so many seeds


class Sampling(Part):
    sampler: Literal["dpmpp_2m", "unipc", "ddim", "ddpm"] = "dpmpp_2m"
    steps: Annotated[int, Field(gt=0, le=1000)]
    n: Annotated[int, Field(gt=0, le=1_000_000)]  # samples
    batch: Positive = 250
    guidance: Annotated[float, Field(ge=0)] = 1.0
    sweep: Sweep = Sweep()


class Heldout(Part):
    """The denoising loss: pictures of the report split, bins of t, noises a picture."""

    images: Positive
    bins: Positive = 10
    repeats: Positive = 1

    @model_validator(mode="after")
    def every_bin_has_a_picture(self) -> Heldout:
        if self.bins > self.images:
            raise ValueError(f"bins: {self.bins} bins need at least as many images")
        return self


class ClipChoice(Part):
    """The CLIP of metric clip_score; its hash and the template are in records and keys."""

    path: str  # a folder saved by transformers, or a name on the hub
    template: str | None = None  # with {} for a class's name; the data's text where it has one

    @model_validator(mode="after")
    def template_names_the_class(self) -> ClipChoice:
        if self.template is not None and re.findall(r"[{}]+", self.template) != ["{}"]:
            raise ValueError("template: one {} stands for the class's name")
        return self


class Resources(Part):
    """What one trial takes of a machine or cluster."""

    cpus: Positive = 1
    gpus: Annotated[float, Field(ge=0)] = 0.0  # counted where trials run on CUDA
    peak_tflops: Annotated[float, Field(gt=0)] | None = None  # of a GPU: --dry-run tells GPU hours
    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.4  # of the peak, assumed


class Scale(Part):
    scale: FolderName
    about: str = ""
    data: Annotated[list[DataChoice], Field(min_length=1)]
    backbones: dict[str, BackboneChoice]
    training: Training
    diffusion: Diffusion
    sampling: Sampling
    metrics: list[str]
    heldout: Heldout
    seeds: Annotated[int, Field(gt=0, le=MOST_SEEDS)]  # 0, 1, ...: each is a trial of every arm
    max_params: Positive = 100_000_000  # larger arms are refused
    bottleneck: Positive | None = None  # rank of generators without one in arms larger than that
    extra_arms: bool = False
    resources: Resources = Resources()
    clip: ClipChoice | None = None  # of metric clip_score
    _file: tuple[Path, Any] | None = PrivateAttr(None)  # path and content, for later faults
