"""What a scale may contain: its YAML file as frozen models. Imports no torch.

The docstring below a field is its description in the JSON schema (`cabench schema`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    model_validator,
)

from cabench.config.schema import (
    MOST_SEEDS,
    Classes,
    Factor,
    FolderName,
    Optimiser,
    Part,
    Pixels,
    Positive,
    Rate,
    Sampler,
)


class TextChoice(Part):
    """The text encoder. The hash of its weights is part of the trials' keys."""

    encoder: str
    """name of a registered text encoder"""
    path: str | None = None
    """directory with its weights, or a name on the Hugging Face hub"""
    width: Positive | None = None
    """width of its features; needed for dry runs without the encoder or the data"""


class TrainingHere(Part):
    """Values that replace the scale's `training` on one data source."""

    images: Positive | None = None
    lengths: list[Positive] | None = None
    warmup: Annotated[int, Field(ge=0)] | None = None
    ema_half_life: Positive | None = None
    snapshot_every: Positive | None = None


Level = Annotated[float, Field(ge=0, le=1)]  # of noise


class SamplingHere(Part):
    """Values that replace the scale's `sampling` on one data source."""

    n: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    steps: Annotated[int, Field(gt=0, le=1000)] | None = None
    batch: Positive | None = None


class HeldoutHere(Part):
    """Values that replace the scale's `heldout` on one data source."""

    images: Positive | None = None
    bins: Positive | None = None
    repeats: Positive | None = None


class DataChoice(Part):
    """A data source, and the condition inputs (streams) that it offers."""

    streams: list[str]
    """streams that the source offers; a study takes the first source that has all it needs"""
    source: str
    """name of a registered data set"""
    options: dict[str, Any] = {}
    """options of the data set"""
    shape: tuple[Pixels, Pixels, Pixels] | None = None
    """C, H, W of an image or latent; needed for dry runs without the data"""
    classes: dict[str, Classes] | None = None
    """number of classes of each stream; needed for dry runs without the data"""
    text: TextChoice | None = None
    """encoder of the stream `text`"""
    patch: Positive | None = None
    """patch size on this source, for all backbones"""
    training: TrainingHere = TrainingHere()
    """values that replace the scale's `training` on this source"""
    sampling: SamplingHere = SamplingHere()
    """values that replace the scale's `sampling` on this source"""
    heldout: HeldoutHere = HeldoutHere()
    """values that replace the scale's `heldout` on this source"""
    metrics: Annotated[list[str], Field(min_length=1)] | None = None
    """metrics on this source"""
    unseen: Positive | None = None
    """samples conditioned on the split `unseen`, scored separately"""


class BackboneChoice(Part):
    """A backbone at one size."""

    preset: str
    """published or small size of the backbone, such as S"""
    patch: Positive
    """side of a patch in pixels (of the latent, where data are latents)"""
    widening: Factor = 1.0
    """of the preset's width, to the nearest width that its attention heads allow"""


class Training(Part):
    """Optimiser with linear warm-up, a constant rate, a linear decay to 0. Lengths in images."""

    images: Positive
    """training images seen, with repetition"""
    lengths: list[Positive] = []
    """shorter trainings, in images, that every trial is also scored at"""
    batch: Positive
    """images per step"""
    optimiser: Optimiser = "adamw"
    """muon: for hidden matrices, with updates of AdamW's size, and AdamW for the rest; its steps
    are not compiled on a CPU"""
    lr: Annotated[float, Field(gt=0)]
    """learning rate"""
    warmup: Annotated[int, Field(ge=0)] = 0
    """images until the learning rate is reached"""
    decay: Rate = 0.0
    """share of the images, at the end, over which the learning rate falls linearly to 0"""
    ema_half_life: Positive
    """half-life of the exponential moving average of the weights, in images"""
    label_dropout: Rate = 0.1
    """probability of dropping all streams but the timestep, for classifier-free guidance"""
    betas: tuple[Rate, Rate] = (0.9, 0.999)
    """AdamW's betas"""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """decoupled weight decay"""
    clip: Annotated[float, Field(gt=0)] | None = None
    """largest norm of the gradient; no clipping by default"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """precision of forward and backward passes"""
    snapshot_every: Positive
    """images between snapshots, which a stopped run resumes from"""
    keep_state: bool = True
    """keep the optimiser's state at the end, so that a longer run extends this one"""
    compile: bool = False
    """compile the training step, on a CPU with a C++ compiler or a GPU with Triton; the key says
    whether it was"""
    stack: Annotated[int, Field(ge=1, le=64)] = 4
    """most seeds of an arm that are trained together where the step is compiled for a CPU"""
    micro_batch: Positive | None = None
    """images per forward pass of a process; gradients add up to those of the batch, which changes
    the order of summation alone. By default all of them"""
    checkpointing: bool = False
    """keep the inputs of blocks alone and compute their activations twice, which saves memory"""
    init_from: str | None = None
    """file of weights to start from, of cabench or with DiT's names; what does not fit is drawn"""


class Diffusion(Part):
    """The diffusion process and what the network predicts."""

    prediction: Literal["eps", "v", "flow"]
    """noise, velocity, or rectified flow"""
    schedule: Literal["linear", "sqrt_linear", "cosine"] = "linear"
    """noise schedule; sqrt_linear is Stable Diffusion's"""

    @model_validator(mode="after")
    def flow_is_linear(self) -> Diffusion:
        if self.prediction == "flow" and self.schedule != "linear":
            raise ValueError(f"schedule: expected linear with prediction flow, got {self.schedule}")
        return self


class Sweep(Part):
    """Further guidance values, scored in addition to the primary one."""

    guidance: list[Annotated[float, Field(ge=0)]] = []
    """guidance values"""
    seeds: Annotated[int, Field(ge=0)] = 1
    """number of seeds that are swept, from the first"""


class Sampling(Part):
    """How samples are drawn."""

    sampler: Sampler = "dpmpp_2m"
    """prediction flow takes dpmpp_2m or unipc"""
    steps: Annotated[int, Field(gt=0, le=1000)]
    """sampling steps"""
    n: Annotated[int, Field(gt=0, le=1_000_000)]
    """number of samples"""
    batch: Positive = 250
    """samples per batch; part of the key, since it changes the last bits"""
    guidance: Annotated[float, Field(ge=0)] = 1.0
    """classifier-free guidance of the primary scores; 1 is none"""
    sweep: Sweep = Sweep()
    """further guidance values"""
    guidance_interval: tuple[Level, Level] | None = None
    """guide only while the noise level, t / 1000, is in this interval (arXiv 2404.07724)"""
    compile: bool = False
    """compile the network that draws samples, under the conditions of `training.compile`; the
    trial's key says whether it was compiled"""
    autoguidance: Positive | None = None
    """autoguidance (arXiv 2406.02070): guide with the averaged network after so many images of the
    same training, instead of the unconditional network"""

    @model_validator(mode="after")
    def interval_rises(self) -> Sampling:
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            if low >= high:
                raise ValueError(f"guidance_interval: expected rising numbers, got {low}, {high}")
        return self


class Heldout(Part):
    """The denoising loss on images of the report split."""

    images: Positive
    """number of images"""
    bins: Positive = 10
    """bins of the timestep, averaged with equal weights"""
    repeats: Positive = 1
    """noise draws per image"""

    @model_validator(mode="after")
    def every_bin_has_an_image(self) -> Heldout:
        if self.bins > self.images:
            raise ValueError(f"bins: expected at most {self.images} (images), got {self.bins}")
        return self


class ClipChoice(Part):
    """The CLIP of the metric clip_score. Its hash and the template are part of the keys."""

    path: str
    """directory saved by transformers, or a name on the Hugging Face hub"""
    template: str | None = None
    """prompt with {} for the class name; by default the data's text"""

    @model_validator(mode="after")
    def template_names_the_class(self) -> ClipChoice:
        if self.template is not None and re.findall(r"[{}]+", self.template) != ["{}"]:
            raise ValueError("template: expected exactly one {}, which stands for the class name")
        return self


class Resources(Part):
    """What one trial takes of a machine or cluster."""

    cpus: Positive = 1
    """CPU cores per process of a trial"""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs per trial, where trials run on CUDA; may be a fraction below 1. With 2 or more, a trial
    runs in one process per GPU"""
    processes: Positive = 1
    """processes per trial, where trials run on a CPU"""
    peak_tflops: Annotated[float, Field(gt=0)] | None = None
    """peak of one GPU in TFLOP/s; with it --dry-run estimates GPU hours"""
    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.4
    """fraction of the peak that estimates assume"""

    @model_validator(mode="after")
    def several_gpus_are_whole(self) -> Resources:
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus: expected a whole number above 1, got {self.gpus:g}")
        return self

    def ranks(self, device: str) -> int:
        """Processes that share a trial on a device."""
        if device == "cuda":  # not one GPU such as cuda:1
            return max(1, int(self.gpus))
        return self.processes if device == "cpu" else 1


class Scale(Part):
    """How big a run is: data, backbone size, training, sampling and evaluation."""

    scale: FolderName
    """name of the scale"""
    extends: str | None = None
    """a scale to start from, by its name or a file's path relative to this one; the keys given here
    replace its keys, within mappings key by key"""
    about: str = ""
    """one line for lists and reports"""
    data: Annotated[list[DataChoice], Field(min_length=1)]
    """data sources; a study takes the first that has the streams it needs"""
    backbones: dict[str, BackboneChoice]
    """size of each backbone that the scale supports"""
    training: Training
    """optimiser and training length"""
    diffusion: Diffusion
    """diffusion process and prediction"""
    sampling: Sampling
    """sampler and number of samples"""
    metrics: list[str]
    """metrics that are measured"""
    heldout: Heldout
    """the denoising loss on the report split"""
    seeds: Annotated[int, Field(gt=0, le=MOST_SEEDS)]
    """number of seeds 0, 1, ...; every arm has one trial per seed"""
    max_params: Positive = 100_000_000
    """arms with more parameters are refused, or narrowed to `bottleneck`"""
    bottleneck: Positive | None = None
    """rank given to full weight generators in arms that exceed max_params"""
    extra_arms: bool = False
    """run the arms that a study marks as extra"""
    resources: Resources = Resources()
    """what one trial takes of a machine"""
    clip: ClipChoice | None = None
    """CLIP of the metric clip_score"""
