"""From study and scale to the specs of a trial: what its keys are hashes of."""

from __future__ import annotations

from typing import Any

from cabench import metrics
from cabench.config.scale import Scale
from cabench.config.schema import Arm
from cabench.cost import macs
from cabench.data import resampling
from cabench.diffusion import compiled, compiled_network, graphs, sampling, training
from cabench.diffusion.process import Process
from cabench.metrics import probe
from cabench.metrics.extractors import GPU_VERSION, lite0_fingerprint
from cabench.planning.data import DataRef
from cabench.records.spec import (
    DataSpec,
    DecaySpec,
    DiffusionSpec,
    HeldoutSpec,
    ModelSpec,
    RecipeSpec,
    ResampleSpec,
    SampleSpec,
    ScoreSpec,
    TrainSpec,
)
from cabench.registry import BACKBONES, METHODS

NOT_IN_RECIPE = {
    "images", "lengths", "snapshot_every", "keep_state", "decay", "compile", "stack", "init_from",
    "micro_batch", "checkpointing",
}  # fmt: skip
SAMPLE_RECIPE = 3  # raise it whenever the same network would give other samples


def train_spec(
    arm: Arm,
    seed: int,
    scale: Scale,
    data: DataRef,
    model: ModelSpec,
    kernels: dict[str, str] | None,
    compiles: bool,
    init_from: str | None = None,
    on_gpu: bool = False,
) -> TrainSpec:
    """What decides the bits of an arm's training with this seed."""
    recipe = scale.training.model_dump(exclude=NOT_IN_RECIPE)
    if recipe["optimiser"] == "adamw":  # keys of older records have none
        del recipe["optimiser"]
    if scale.training.decay:
        end = scale.training.images
        recipe["decay"] = DecaySpec(end=end, over=max(1, round(end * scale.training.decay)))
    return TrainSpec(
        recipe=training.RECIPE,
        **present(
            **_versions(compiled.VERSION, on_gpu)
            if compiles and _compiles_steps(scale, on_gpu)
            else {},
            kernels=kernels,
            draws=training.DRAWS if on_gpu else None,
            text=data.text.spec if data.text else None,
            init_from=init_from,
        ),
        model=model,
        data=DataSpec(
            source=data.source,
            fingerprint=data.fingerprint,
            flip=data.flip,
            **present(
                vae=data.vae,
                resample=ResampleSpec(version=resampling.VERSION, seed=seed)
                if data.resample
                else None,
            ),
        ),
        training=RecipeSpec(**recipe),
        diffusion=DiffusionSpec(**scale.diffusion.model_dump()),
        seed=seed,
        init_salt=arm.init_salt,
    )


def _compiles_steps(scale: Scale, on_gpu: bool) -> bool:
    """Whether its training steps are of the kind that is compiled: on a CPU, AdamW's in float32."""
    training = scale.training
    on_cpu = training.precision == "float32" and training.optimiser == "adamw"
    return training.compile and (on_gpu or on_cpu)


def _versions(of_cpu: int, on_gpu: bool) -> dict[str, int]:
    """The version of what is compiled, under the name that says for which device."""
    return {"graphed": graphs.VERSION} if on_gpu else {"compiled": of_cpu}


def can_be_compiled(model: ModelSpec, kernels: dict[str, str] | None) -> bool:
    """Whether a model's code can be traced: a plugin's says so itself by `compiles = True`."""
    parts = [(BACKBONES, model.backbone), *((METHODS, method) for method in model.methods)]
    return not kernels and all(
        part.plugin is None or getattr(registry.get(part.kind), "compiles", False)
        for registry, part in parts
    )


def sample_spec(scale: Scale, compiles: bool = False, on_gpu: bool = False) -> SampleSpec:
    """What decides the samples of a trained network; `compiles`: it could be compiled here."""
    options = scale.sampling.model_dump(exclude={"guidance", "sweep", "compile"}, exclude_none=True)
    if compiles and scale.sampling.compile:
        options |= _versions(compiled_network.VERSION, on_gpu)
    process = Process(scale.diffusion.prediction, scale.diffusion.schedule)
    version = sampling.version(process, scale.sampling.sampler, scale.sampling.steps)
    if version > 1:
        options["sampler_version"] = version
    return SampleSpec(recipe=SAMPLE_RECIPE, **options)


def score_spec(scale: Scale, data: DataRef, on_gpu: bool = False) -> ScoreSpec:
    """What decides the scores of samples and networks at this scale.

    `on_gpu`: features are extracted on CUDA, with other numbers than on a CPU.
    """
    return ScoreSpec.model_validate(
        {
            "judge": lite0_fingerprint(),
            "metrics": metrics.versions(scale.metrics),
            "heldout": HeldoutSpec(**scale.heldout.model_dump()),
            "probe": probe.VERSION,
            "cost": macs.VERSION,
            **present(
                judges=data.extractors,
                unseen=data.unseen,
                clip=data.clip,
                on_gpu=GPU_VERSION if on_gpu else None,
            ),
        }
    )


def present(**values: Any) -> dict[str, Any]:
    """The values that are not empty. A key that does not apply stays absent from a spec."""
    return {name: value for name, value in values.items() if value}
