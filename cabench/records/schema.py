"""The documents on disk, records and manifests, as frozen models. Imports no torch.

`FORMAT` is raised when a document changes in a way that an older cabench would misread.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints, model_serializer, model_validator

from cabench.records.spec import Frozen, Json, TrialSpec
from cabench.runtime.validation import NAME

FORMAT = 1  # of records and manifests; a document without the key `format` has format 1
SafeName = Annotated[str, StringConstraints(pattern=NAME)]  # cannot lead out of a folder
Key = Annotated[str, StringConstraints(pattern=r"^\w[\w@+.-]{0,79}$")]


class GridLayout(Frozen):
    """Cells of a PNG of samples: rows x columns, each height x width pixels."""

    rows: int
    columns: int
    height: int
    width: int
    prompts: tuple[str, ...] | None = None  # a column each, in a text study
    unseen: tuple[bool, ...] | None = None  # columns whose concept is new to the generator
    maps: str | None = None  # the stream of the rows between real images and samples: a third each
    styles: tuple[str, ...] | None = None  # of the rows: the first row has the first style, ...


class Environment(Frozen):
    """The machine and libraries behind a record."""

    python: str
    system: str
    processor: str
    device: str
    threads: int
    packages: dict[str, str]
    ranks: int | None = None  # processes that shared the trial; unset: one
    micro_batch: int | None = None  # images per forward pass of a process; unset: all of them
    checkpointing: bool | None = None  # activations were computed twice


class ReferenceSet(Frozen):
    """The real images that samples are compared with."""

    split: str
    labels: str


class SearchResult(Frozen):
    """The learning-rate search of an arm: rates tried and their losses."""

    key: str
    lr: float
    tried: tuple[tuple[float, float], ...]  # (rate, loss) in order
    images: int  # of one evaluation
    seed: int
    judged: str


class SearchOutcome(Frozen):
    """A finished search as it is stored in results/tuning/."""

    key: str
    arm: str
    lr: float
    tried: tuple[tuple[float, float], ...]
    images: int
    seed: int
    options: Json  # the study's `tune`
    judged: str
    checksum: str | None = None

    @property
    def result(self) -> SearchResult:
        """What records and manifests keep of it."""
        return SearchResult(
            key=self.key,
            lr=self.lr,
            tried=self.tried,
            images=self.images,
            seed=self.seed,
            judged=self.judged,
        )


class Protocol(Frozen):
    """How a record's numbers came about, for tables and reports."""

    n: int
    metrics: dict[str, int]
    judge: str
    judge_fingerprint: str
    judge_resize: str
    judges: dict[str, str] | None = None
    judge_runs_on: str | None = None  # unset: a CPU, in onnxruntime
    reference: ReferenceSet
    floor: dict[str, float]  # scores of disjoint real images
    kid: Json
    fid: Json
    probe: Json
    notes: dict[str, str] = {}  # by metric
    clip: dict[str, str] | None = None
    tuning: SearchResult | None = None
    vae: Json | None = None
    data: str
    backbone: str
    training: str
    images: int
    guidance: float
    recipe: int
    sampler: str
    steps: int
    batch: int
    sampler_version: int | None = None
    guidance_interval: tuple[float, float] | None = None
    autoguidance: int | None = None
    init_from: str | None = None
    heldout_split: str
    heldout_pictures: int
    sheet: GridLayout


class Macs(Frozen):
    """Multiply-accumulates of one forward pass at batch 1."""

    backbone: int
    conditioning: int
    total: int
    counter: str


class Params(Frozen):
    """Numbers of learned parameters."""

    backbone: int
    embedder: int
    methods: int
    total: int


class Cost(Frozen):
    """What a model costs."""

    macs: Macs
    params: Params


class Neighbours(Frozen):
    """Distances of samples to their nearest training images."""

    memorised: float
    ratio: float
    of: int
    sheet: GridLayout


class Diagnostics(Frozen):
    """Weights after training, and how close samples are to training images."""

    weights: dict[str, dict[str, float | None]]  # site -> measure -> value, after training
    neighbours: Neighbours | None = None


class Record(Frozen):
    """What one trial measured, with its whole protocol.

    A failed trial has no measurements: `protocol`, `cost` and `diagnostics` are None, `metrics`
    and `timing` are empty.
    """

    ABSENT: ClassVar = ("environment", "protocol", "cost", "diagnostics")  # {} in JSON

    format: int | None = None
    key: Key
    status: Literal["complete", "failed"]
    error: str | None
    spec: TrialSpec
    environment: Environment | None
    metrics: dict[str, int | float]  # 'kid'; 'kid/g2' at guidance 2; 'kid/unseen'
    protocol: Protocol | None
    cost: Cost | None
    timing: dict[str, int | float]  # seconds, images/s, MB
    diagnostics: Diagnostics | None
    files: dict[str, str] = {}  # suffix of each file beside the record -> its sha256
    checksum: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_absent(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return data | {k: None for k in cls.ABSENT if data.get(k) == {}}

    @model_serializer(mode="wrap")
    def _write_absent(self, handler: Any) -> Json:
        content: Json = handler(self)
        return {k: {} if v is None and k in self.ABSENT else v for k, v in content.items()}

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    @property
    def checkpoint(self) -> str:
        """The path of its trained network in the cache, which holds the key of the training run.

        Derived from `spec`, so it changes neither the record's key nor its checksum.
        """
        return self.spec.checkpoint


# ---- what a run asks for ---------------------------------------------------------------------


class ManifestArm(Frozen):
    """An arm as the study describes it."""

    name: SafeName
    extra: bool = False
    bound: bool = False  # a lower bound, printed without a verdict
    native: bool = False  # holds the backbone's native method
    about: str = ""
    added: bool = False  # given on the command line


class ManifestTrial(Frozen):
    """A trial and the key of its record."""

    arm: SafeName
    seed: int
    key: Key


class ManifestLength(Frozen):
    """The trials after a shorter training."""

    images: int
    trials: tuple[ManifestTrial, ...]


class MetricInfo(Frozen):
    """How a table prints a metric."""

    label: str
    higher_is_better: bool = False
    scale: Annotated[float, Field(gt=0, le=1e9)] = 1.0  # tables print value x scale
    note: str = ""
    twin: str = ""  # the metric that measures the same on unrelated features


class ManifestClaim(Frozen):
    """A claim that the study tests."""

    id: str
    says: str
    paper: str = ""
    better: str
    than: str
    metric: str | tuple[str, ...]  # several: the claim needs all of them
    test: str
    ratio: float | None = None  # by_construction: at most this many times
    also_than: tuple[str, ...] = ()  # further arms that must be beaten
    relative_to: tuple[str, str] | None = None  # difference_of_differences: one per side
    added: bool = False  # of an arm given on the command line
    repeats: str | None = None  # STUDY.CLAIM, which this one tests at other sizes

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    @property
    def rivals(self) -> tuple[str, ...]:
        """The arms that `better` is compared with."""
        return (self.than, *self.also_than)

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm that the claim is about."""
        return (self.better, *self.rivals, *(self.relative_to or ()))


class ManifestDesign(Frozen):
    """How the run's seeds were chosen, and the rule that stops a sequential run."""

    sequential: bool = False  # seeds were, or may be, added after a look at others
    until_resolved: bool = False  # by --until-resolved
    first: tuple[int, ...] = ()  # seeds of the first look
    earlier: tuple[int, ...] = ()  # seeds of earlier runs, in the order in which they were seen
    left_out: tuple[int, ...] = ()  # of those, the ones that this run passes over
    g: float = 9.0  # prior variance of the effect size in the sequential test
    step: int = 3  # seeds per look
    most: int = 12  # seeds of an arm
    futility: float = 0.8  # confidence at which a claim is stopped


class ManifestSetting(Frozen):
    """A value of the scale that the command line replaced (--set)."""

    key: str  # 'training.lr'
    value: Any
    before: Any = None  # the scale's own; None where it has none

    @property
    def text(self) -> str:
        """'training.lr=0.001', as the command line takes it."""
        return f"{self.key}={json.dumps(self.value)}"


class PluginFile(Frozen):
    """A plugin that took part in a run; named for the reader, never loaded from here."""

    path: str
    sha256: str


class Manifest(Frozen):
    """What a run asks for, so that later commands need neither the study file nor its plugins."""

    format: int | None = None
    study: SafeName
    question: str
    scale: SafeName
    study_file: str
    study_sha256: str
    backbone: str
    baseline: SafeName
    primary: str
    arms: tuple[ManifestArm, ...]
    seeds: tuple[int, ...]
    trials: tuple[ManifestTrial, ...]
    metrics: dict[str, MetricInfo]
    classes: dict[str, tuple[str, ...]]  # stream -> names of its classes
    claims: tuple[ManifestClaim, ...]
    caveat: str
    plugins: tuple[PluginFile, ...]
    tuning: dict[str, SearchResult]  # by arm
    added: tuple[str, ...]  # arms of the command line, as written
    scale_file: str = ""
    use_reference: bool = False
    shorter: tuple[ManifestLength, ...] = ()  # in rising order
    design: ManifestDesign = ManifestDesign()
    margins: dict[str, float] = {}  # metric -> difference that counts as none, in stored units
    resample: bool = False  # each seed draws its own half of the images
    settings: tuple[ManifestSetting, ...] = ()  # by key

    @property
    def all_trials(self) -> tuple[ManifestTrial, ...]:
        """The trials of every length, the shortest first."""
        return (*(t for length in self.shorter for t in length.trials), *self.trials)

    @property
    def run_arms(self) -> tuple[ManifestArm, ...]:
        """The arms that have trials at this scale, in the study's order."""
        names = {trial.arm for trial in self.trials}
        return tuple(arm for arm in self.arms if arm.name in names)

    def after(self, images: int) -> Manifest:
        """The same manifest, of the trials after a shorter training."""
        trials = next(length.trials for length in self.shorter if length.images == images)
        return self.model_copy(update={"trials": trials, "shorter": ()})

    def arm(self, name: str) -> ManifestArm | None:
        return next((arm for arm in self.arms if arm.name == name), None)
