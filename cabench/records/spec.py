"""What a trial trains, samples and scores, as frozen models. Their hashes are the content keys.

A model dumps to the same JSON that it was read from: fields keep their order, and a key that is
absent stays absent. So a new field must be optional, and stay unset where it does not apply.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from cabench.runtime.files import content_key

Json = dict[str, Any]


class Frozen(BaseModel):
    """A part of a document. `dump` gives plain JSON without the keys that were never set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __hash__(self) -> int:  # fields may be dicts
        return hash(self.model_dump_json(exclude_unset=True))

    def dump(self) -> Json:
        return self.model_dump(mode="json", exclude_unset=True)


class BackboneSpec(Frozen):
    """A backbone with all its sizes. In JSON the sizes stand beside the other keys."""

    kind: str
    version: int
    plugin: str | None = None  # sha256 of the plugin that registered it
    shape: tuple[int, int, int]  # C, H, W of an image or latent
    sizes: dict[str, Any]  # width, depth, patch, ...: what the backbone's constructor takes
    depthwise: bool | None = None  # has a depthwise convolution in each FFN
    norm_affine: bool | None = None  # norms have a learned scale and shift
    static_gate: bool | None = None  # a learned gate on each residual branch

    @model_validator(mode="before")
    @classmethod
    def _gather_sizes(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "sizes" in data:
            return data
        sizes = {k: v for k, v in data.items() if k not in cls.model_fields}
        return {k: v for k, v in data.items() if k in cls.model_fields} | {"sizes": sizes}

    @model_serializer(mode="wrap")
    def _spread_sizes(self, handler: Any) -> Json:
        content: Json = {}
        for name, value in handler(self).items():
            content |= value if name == "sizes" else {name: value}
        return content

    @property
    def arguments(self) -> Json:
        """What the backbone's constructor takes: everything but kind, version and plugin."""
        return {k: v for k, v in self.dump().items() if k not in ("kind", "version", "plugin")}


class EmbedderSpec(Frozen):
    """The condition embedder that all methods of an arm share.

    `timestep`, `table` and `projection` are set where an arm takes the embedder published with its
    backbone.
    """

    version: int
    normalise: bool  # RMS-normalise each stream's embedding
    gains: dict[str, float] | None = None  # stream -> start of the learned gain after that
    spread: float | None = None  # of class tables and timestep MLP, where it is not 0.02
    timestep: str | None = None  # kind of timestep embedding
    table: str | None = None  # initialisation of the class tables
    projection: str | None = None  # initialisation of the text's linear layer
    width: int  # channels of the embedding
    classes: dict[str, int]  # stream -> number of classes
    text: dict[str, int] | None = None  # stream -> width of its features
    vectors: dict[str, int] | None = None  # stream -> how many numbers it has
    maps: dict[str, tuple[int, int, int]] | None = None  # stream -> (C, H, W) of its maps

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the condition without the timestep."""
        return (*self.classes, *(self.text or {}), *(self.vectors or {}), *(self.maps or {}))


class MethodSpec(Frozen):
    """A conditioning method with all its options."""

    kind: str
    version: int
    plugin: str | None = None  # sha256 of the plugin that registered it
    options: Json  # as the method's Options dump

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that it is conditioned on; () where the source is none."""
        source = self.options.get("source", ())
        return () if isinstance(source, str) else tuple(source)


class ModelSpec(Frozen):
    """A model with every size and version: what `models.model.build` takes."""

    backbone: BackboneSpec
    embedder: EmbedderSpec
    text_tokens: int | None = None  # tokens that every text is padded to
    methods: tuple[MethodSpec, ...]


def unused_streams(models: Iterable[ModelSpec]) -> list[str]:
    """The streams of the condition that no method of any of the models is conditioned on."""
    models = list(models)
    offered = dict.fromkeys(stream for model in models for stream in model.embedder.streams)
    used = {s for model in models for method in model.methods for s in method.streams}
    return [stream for stream in offered if stream not in used]


class VaeSpec(Frozen):
    """The VAE that latents are encoded with."""

    sha256: str  # of its weights
    scale: float
    shift: float


class ResampleSpec(Frozen):
    """The draw of half of the images that a trial trains on and is scored against."""

    version: int
    seed: int


class DataSpec(Frozen):
    """The images of a trial."""

    source: str
    fingerprint: str | None  # None: the data is absent (a dry run)
    flip: bool  # random horizontal flips
    vae: VaeSpec | None = None  # of latents
    resample: ResampleSpec | None = None  # unset: all images


class DecaySpec(Frozen):
    """The end of a training run: the rate falls linearly to 0 at `end`, after `over` images."""

    end: int
    over: int

    @property
    def begin(self) -> int:
        return self.end - self.over

    def factor(self, seen: int) -> float:
        """Of the rate, in the step after `seen` images."""
        return min(1.0, max(0.0, (self.end - seen) / self.over))


class RecipeSpec(Frozen):
    """Optimiser and schedule of a training run; sizes in images."""

    batch: int
    lr: float
    warmup: int
    ema_half_life: int
    label_dropout: float
    betas: tuple[float, float]
    weight_decay: float
    clip: float | None  # norm of the gradient
    precision: str
    decay: DecaySpec | None = None  # unset: the rate stays constant
    optimiser: Literal["muon"] | None = None  # unset: AdamW

    @property
    def optimiser_title(self) -> str:
        return "AdamW" if self.optimiser is None else "Muon for hidden matrices, AdamW for the rest"


class DiffusionSpec(Frozen):
    """The network's target and the noise schedule."""

    prediction: Literal["eps", "v", "flow"]
    schedule: Literal["linear", "sqrt_linear", "cosine"]


class TextSpec(Frozen):
    """The text encoder and how many tokens the model sees."""

    encoder: str
    version: int
    plugin: str | None = None
    fingerprint: str | None  # of weights and texts; None: absent (a dry run)
    tokens: int


class TrainSpec(Frozen):
    """What decides the bits of a training run, except its length where the rate is constant."""

    recipe: int  # version of the training code
    compiled: int | None = None  # version of the compiled step; unset: each operation by itself
    graphed: int | None = None  # the same of a step that is compiled for a GPU
    kernels: dict[str, str] | None = None  # forms of per-sample layers that were forced
    draws: int | None = None  # version of the draws on a GPU; unset: all are those of the CPU
    model: ModelSpec
    data: DataSpec
    training: RecipeSpec
    diffusion: DiffusionSpec
    seed: int
    init_salt: str
    text: TextSpec | None = None
    init_from: str | None = None  # sha256 of the file of weights that training starts from

    @property
    def key(self) -> str:
        return content_key("train", self.dump())

    @property
    def trunk(self) -> TrainSpec | None:
        """The run at constant rate whose first part this one repeats, or None without a decay."""
        if self.training.decay is None:
            return None
        recipe = {k: v for k, v in self.training.dump().items() if k != "decay"}
        return self.model_copy(update={"training": RecipeSpec(**recipe)})

    def of_seed(self, seed: int) -> TrainSpec:
        """The same training with another seed, which draws its own images where seeds do."""
        data = self.data
        if data.resample is not None:
            draw = data.resample.model_copy(update={"seed": seed})
            data = data.model_copy(update={"resample": draw})
        return self.model_copy(update={"seed": seed, "data": data})

    def of_length(self, images: int) -> TrainSpec:
        """The same recipe for another length: the decay is the same share of it."""
        decay = self.training.decay
        if decay is None:
            return self
        over = max(1, round(images * decay.over / decay.end))
        recipe = self.training.model_copy(update={"decay": DecaySpec(end=images, over=over)})
        return self.model_copy(update={"training": recipe})


def snapshot_name(images: int) -> str:
    """The file of the averaged network after `images`, in the directory of its training run."""
    return f"ema-{images:010d}.safetensors"


class SampleSpec(Frozen):
    """Sampler, steps, number of samples and batch."""

    recipe: int  # version of the sampling code
    sampler: str
    steps: int
    n: int
    batch: int
    sampler_version: int | None = None  # where it is above 1
    guidance_interval: tuple[float, float] | None = None  # of t / 1000; unset: all of it
    autoguidance: int | None = None  # images seen by the guide; unset: classifier-free guidance
    compiled: int | None = None  # version of the compiled network; unset: each operation by itself
    graphed: int | None = None  # the same of a network that is compiled for a GPU


class MetricVersion(Frozen):
    """The version of a metric that comes from a plugin or has learned weights."""

    version: int
    plugin: str | None = None
    fingerprint: str | None = None


class HeldoutSpec(Frozen):
    """The denoising loss: images of the report split, bins of t, noise draws per image."""

    images: int
    bins: int
    repeats: int


class ClipSpec(Frozen):
    """The CLIP behind clip_score, and its prompt template."""

    fingerprint: str
    template: str | None


class ScoreSpec(Frozen):
    """Metrics with their versions and feature extractors."""

    judge: str  # fingerprint of the default feature extractor
    judges: dict[str, str] | None = None  # fingerprints of further ones, by name
    metrics: dict[str, int | MetricVersion]
    heldout: HeldoutSpec
    probe: int  # version of the linear probe
    cost: int  # version of the MAC counting
    unseen: int | None = None  # samples conditioned on the split `unseen`
    clip: ClipSpec | None = None
    on_gpu: int | None = None  # version of the extraction of features on a GPU; unset: a CPU


class TrialSpec(Frozen):
    """Everything that decides a trial's numbers. The keys of its stages are nested hashes."""

    train: TrainSpec
    images: int  # images seen in training, with repetition
    sample: SampleSpec
    guidance: float
    sweep: tuple[float, ...]  # further guidance values
    score: ScoreSpec
    tuning: str | None = None  # key of the search that chose the learning rate

    @property
    def train_key(self) -> str:
        return self.train.key

    @property
    def checkpoint(self) -> str:
        """Where the trained network is in the cache: 'training/TRAIN_KEY/ema-IMAGES.safetensors'.

        It follows from the spec: the key is the hash of `train`, and training stops at the first
        full batch after `images`. So it is not stored, and old records have it, too.
        """
        batch = self.train.training.batch
        seen = -(-self.images // batch) * batch
        return f"training/{self.train_key}/{snapshot_name(seen)}"

    def sample_key(self, guidance: float, split: str = "report") -> str:
        """The key of the samples that are conditioned on a split's streams."""
        sample = self.sample.dump()
        if guidance == 1:  # how to guide changes nothing
            sample.pop("guidance_interval", None)
            sample.pop("autoguidance", None)
        parts: list[Any] = [self.train_key, self.images, sample, guidance]
        if split != "report":
            parts.append({split: getattr(self.score, split)})
        return content_key("sample", *parts)

    @property
    def key(self) -> str:
        samples = [self.sample_key(g) for g in (self.guidance, *self.sweep)]
        parts: list[Any] = [samples, self.score.dump()]
        if self.tuning is not None:  # a record belongs to one search
            parts.append(self.tuning)
        return content_key("score", *parts)
