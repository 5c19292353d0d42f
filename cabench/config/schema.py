"""What a study may contain: its YAML file as frozen models. Imports no torch.

The docstring below a field is its description in the JSON schema (`cabench schema`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from cabench.runtime.validation import CLAIM_OF, NAME, NO_DOT

Name = Annotated[str, StringConstraints(pattern=NAME)]
FolderName = Annotated[str, StringConstraints(pattern=NO_DOT)]
Positive = Annotated[int, Field(gt=0)]
Pixels = Annotated[int, Field(gt=0, le=4096)]
MOST_SEEDS = 1000
Classes = Annotated[int, Field(ge=2, le=1_000_000)]
Factor = Annotated[float, Field(ge=1e-6, le=1e6)]
Rate = Annotated[float, Field(ge=0, lt=1)]

ADDED_ID = "A{}"  # id of the claim of the nth arm added on the command line
Profile = Literal["uniform", "as_published"]
Embedder = Literal["shared", "normalised", "gain", "raw", "native"]
Optimiser = Literal["adamw", "muon"]
Sampler = Literal["dpmpp_2m", "unipc", "ddim", "ddpm"]
COUNTS = ("macs", "params")  # what a claim by construction may be about


def _is_names(metric: Any) -> Any:
    names = metric if isinstance(metric, list) else [metric]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError("expected the name of a metric or a list of names")
    return metric


class Part(BaseModel):
    """A part of a study or scale file: frozen, finite numbers, no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Match(Part):
    """Choose a size so that the arm's parameters or MACs are as close as possible to another's."""

    params_of: str | None = None
    """the arm whose parameter count is matched"""
    macs_of: str | None = None
    """the arm whose MACs of a forward pass are matched"""
    times: Factor = 1.0
    """macs_of: how many times as many MACs as that arm has"""
    by: Literal["rank", "ffn_hidden", "width"]
    """the size that is chosen: params_of by rank or ffn_hidden; macs_of by width, the nearest one
    and then the inner channels of the FFN"""

    @model_validator(mode="after")
    def one_count_by_its_sizes(self) -> Match:
        if (self.params_of is None) is (self.macs_of is None):
            raise ValueError("expected one of params_of and macs_of")
        sizes = ("rank", "ffn_hidden") if self.macs_of is None else ("width",)
        if self.by not in sizes:
            raise ValueError(f"by: expected {' or '.join(sizes)}, got {self.by}")
        if self.macs_of is None and self.times != 1:
            raise ValueError("times: expected with macs_of only")
        return self

    @property
    def arm(self) -> str:
        """The arm that is matched."""
        return self.params_of or self.macs_of or ""

    @property
    def key(self) -> str:
        """The key that names it."""
        return "params_of" if self.macs_of is None else "macs_of"


class Recipe(Part):
    """How training and sampling of an arm differ from the scale's; numbers are factors of its."""

    optimiser: Optimiser | None = None
    """instead of the scale's: adamw, or muon"""
    batch: Factor = 1.0
    """of the images per step; the training has as many images"""
    lr: Factor = 1.0
    """of the learning rate"""
    ema_half_life: Factor = 1.0
    """of the half-life of the averaged weights"""
    sampler: Sampler | None = None
    """instead of the scale's"""
    steps: Factor = 1.0
    """of the sampling steps"""


class Arm(Part):
    """One row of a study: how the backbone is conditioned."""

    methods: list[str | dict[str, dict[str, Any] | None]] = []
    """conditioning methods: NAME or {NAME: options}; 'native' is the backbone's own"""
    depthwise: Literal["static"] | None = None
    """static: a 3x3 depthwise convolution in each FFN"""
    gate: Literal["static"] | None = None
    """static: a learned gate on each residual branch"""
    match: Match | None = None
    """choose a size so that this arm has another arm's parameter count or MACs"""
    network: str | None = None
    """another backbone than the run's, at the size that the scale has for it"""
    profile: Profile | None = None
    """the study's by default"""
    embedder: Embedder | None = None
    """the study's by default"""
    backbone: dict[str, Any] = {}
    """further options of the backbone, such as {depthwise_at: before}"""
    recipe: Recipe = Recipe()
    """how its training and sampling differ from the scale's, such as {batch: 4}; claims about
    conditioning compare arms of one recipe"""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """one arm per combination of these values: {can.rank: [4, 8]} makes ARM-rank-4 and ARM-rank-8;
    a key is METHOD.OPTION, backbone.OPTION, or a key of the arm such as embedder"""
    init_salt: str = ""
    """any text: other initial values with the same data and noise, as a paired null"""
    extra: bool = False
    """run only at scales with extra_arms, or with --all-arms"""
    bound: bool = False
    """a lower bound, printed without a verdict"""
    on: Annotated[list[str], Field(min_length=1)] | None = None
    """backbones that the arm is for; all by default"""
    about: str = ""
    """one line for tables and reports"""


class AddedArms(Part):
    """Arms given on the command line, written as in a study."""

    arms: dict[Name, Arm]


class Claim(Part):
    """A statement about two arms that the study tests."""

    id: str
    """unique in the study; A1, A2, ... are reserved for arms added on the command line"""
    says: str
    """the claim as it is tested here"""
    paper: str = ""
    """the claim as the paper states it, where that differs from `says`"""
    better: str
    """the arm that is claimed to be better"""
    than: str
    """the arm that it is compared with"""
    metric: Annotated[str | list[str], BeforeValidator(_is_names)]
    """a metric, or several that must all support the claim; by_construction: macs or params"""
    test: Literal[
        "superiority",
        "non_inferiority",
        "equivalence",
        "difference_of_differences",
        "by_construction",
    ]
    """over paired seeds: superiority; non_inferiority and equivalence (within the study's margins);
    difference_of_differences (with relative_to); by_construction: follows from counting"""
    also_than: list[str] = []
    """further arms that `better` must beat, such as each part of a combination"""
    relative_to: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """difference_of_differences: [B, D], for (better - B) better than (than - D)"""
    ratio: Annotated[float, Field(gt=0)] | None = None
    """by_construction: the largest ratio of counts that supports the claim"""
    repeats: Annotated[str, Field(pattern=CLAIM_OF)] | None = None
    """STUDY.CLAIM, the claim of another study that this one tests at other sizes, with the same
    arms, metrics and test; that study is in the same directory or comes with cabench"""

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm that the claim is about."""
        return (self.better, self.than, *self.also_than, *(self.relative_to or ()))


class Tune(Part):
    """A learning-rate search with an equal budget per arm. Rates are factors of the scale's."""

    trials: Annotated[int, Field(ge=2, le=1000)]
    """rates that each arm tries, start points included"""
    budget: Annotated[float, Field(gt=0, le=1)]
    """training images of one evaluation, as a fraction of a trial's"""
    range: tuple[Factor, Factor]
    """smallest and largest factor"""
    start: Annotated[list[Factor], Field(min_length=1)] = [1.0]
    """factors that are tried first"""
    seed: Annotated[int, Field(ge=0, le=100_000)] = 1000
    """training seed of the search; not a seed of the trials"""

    @model_validator(mode="after")
    def start_points_lie_inside(self) -> Tune:
        low, high = self.range
        if not low < high:
            raise ValueError(f"range: expected the smaller factor first, got {low:g} and {high:g}")
        for factor in self.start:
            if not low <= factor <= high:
                raise ValueError(f"start: expected {low:g} to {high:g} (range), got {factor:g}")
        if len(self.start) > self.trials:
            few = f"expected at most {self.trials} factors (trials)"
            raise ValueError(f"start: {few}, got {len(self.start)}")
        return self


class Sequential(Part):
    """When `cabench run --until-resolved` adds seeds, and when it stops a claim."""

    step: Annotated[int, Field(ge=1, le=64)] = 3
    """seeds that are added at a look; the first look has the scale's number"""
    most: Annotated[int, Field(ge=2, le=MOST_SEEDS)] = 12
    """most seeds of an arm"""
    g: Factor = 9.0
    """prior variance of the effect size, in standard deviations of a paired difference"""
    futility: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """from the second look on, a claim is stopped where no effect within its one-sided t bounds at
    this confidence could be shown on `most` seeds"""


class Study(Part):
    """A question, the arms that answer it, and the claims that are tested."""

    study: FolderName
    """name of the study and, with the scale's, of its results"""
    kind: Literal["train"] = "train"
    """train: arms are trained and compared"""
    question: str
    """the question that the study asks, in one sentence"""
    needs: Annotated[list[str], Field(min_length=1)] = ["label"]
    """condition inputs (streams) that the data must have"""
    backbones: Annotated[list[str], Field(min_length=1)] = ["dit"]
    """backbones that the study can run on: the first, or the one given with --backbone"""
    primary: str = "kid_levels"
    """the metric that ranks the arms"""
    profile: Profile = "uniform"
    """uniform: one convention for all methods; as_published: each method's and backbone's own"""
    embedder: Embedder | None = None
    """condition embedder: shared (the default form of `uniform`), normalised, gain, raw, or native
    (published with the backbone; the default of `as_published`)"""
    baseline: str
    """the arm that others are compared with"""
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    """the rows of the study, by name"""
    resample: bool = False
    """each seed draws half of generator-train to train on and half of report to be scored against;
    otherwise all seeds share the images, and the inference is over retraining alone"""
    claims: list[Claim] = []
    """statements about arms that are tested"""
    margins: dict[str, Annotated[float, Field(gt=0)]] = {}
    """by metric: the difference that counts as none, in units of the records"""
    sequential: Sequential = Sequential()
    """rule of `cabench run --until-resolved`, fixed before the first seed"""
    tune: Tune | None = None
    """search each arm's learning rate before the trials"""
    caveat: str = ""
    """what the claims do not show; printed below them"""
