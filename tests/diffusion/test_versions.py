"""The numbers of training, sampling and held-out loss are pinned under the recipes' versions.

See pins.py for what to do when a test here fails.
"""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pins
import pytest
import torch
from specs import METHODS, method, model_spec, train_spec

from cabench.data import load_dataset
from cabench.data.dataset import Latents, Split
from cabench.diffusion import batches, process, training
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.checkpoints import load_existing
from cabench.diffusion.loop import train
from cabench.diffusion.losses import denoising_loss
from cabench.diffusion.process import Process
from cabench.diffusion.sampling import SAMPLERS, misfit, sample
from cabench.diffusion.training import Trainer
from cabench.diffusion.weight_diagnostics import generated_weights
from cabench.models import embedding
from cabench.models.model import build
from cabench.models.streams import each, take
from cabench.planning.specs import SAMPLE_RECIPE
from cabench.registry import METRICS
from cabench.runtime.images import to_uint8
from cabench.text import Encoded

PINS = Path(__file__).parent / "versions.json"
IMAGES, SHAPE = 20, (1, 8, 8)
CAPTIONED = dict(
    methods=[method("can", ["timestep", "text"])], affine=True, classes={}, text={"text": 12}
)
TRAINED = {
    "flow": dict(arm="native+can-3"),
    "v with flips": dict(arm="native+can-3", flip=True, prediction="v", schedule="cosine"),
    "eps with captions": dict(arm="captioned", prediction="eps", schedule="sqrt_linear"),
    "latents": dict(arm="can-3", flip=True, prediction="eps"),
    "later, clipped": dict(
        arm="lora", recipe={"clip": 0.01, "weight_decay": 0.1, "label_dropout": 0.5}
    ),
}
SAMPLED = [
    (p, s, x)
    for p in process.PREDICTIONS
    for s in (["linear"] if p == "flow" else process.SCHEDULES)
    for x in SAMPLERS
    if misfit(Process(p, s), x) is None
]


def spec_of(arm, recipe=None, **options):
    """A TrainSpec in batches of 8, for an arm of METHODS or for CAPTIONED."""
    model = model_spec(**CAPTIONED if arm == "captioned" else METHODS[arm])
    recipe = dict(batch=8, warmup=20, label_dropout=0.2, betas=[0.9, 0.95]) | (recipe or {})
    return train_spec(model, **dict(seed=3) | options, **recipe)


def versions_of(spec):
    return {"embedding.VERSION": embedding.VERSION, **pins.versions_of(spec.model)}


def split(name=""):
    """Twenty random images, or latents, with labels and captions (two of some)."""
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (IMAGES, *SHAPE)).astype(np.uint8)
    labels = np.arange(IMAGES, dtype=np.int64) % 10
    features = np.concatenate([np.zeros((1, 12)), rng.randn(9, 12)]).astype(np.float32)
    texts = Encoded(
        features=features,
        begins=np.array([1, 4, 6]),
        lengths=np.array([3, 2, 4]),
        choices=np.stack([np.arange(IMAGES) % 3, (np.arange(IMAGES) + 1) % 3], 1),
        counts=np.arange(IMAGES) % 2 + 1,
        tokens=5,
    )
    moments = rng.rand(IMAGES, 2, 2, *SHAPE).astype(np.float32)
    latents = Latents(moments, scale=0.5, shift=0.1) if name == "latents" else None
    return Split(images, {"label": labels}, latents=latents, encoded={"text": texts})


def data_of(spec, name=""):
    return Data(split(name), spec.model.embedder.streams)


def doubled(module, args):
    """Inputs of a model in float64, whose gradients then have no noise that AdamW could amplify."""
    x, t, streams, drop = args
    streams = each(streams, lambda v: v.double() if v.is_floating_point() else v)
    return x.double(), t, streams, drop


def check_training(name):
    """Losses of three steps, and how far they move network and average, in learning rates."""
    spec = spec_of(**TRAINED[name])
    trainer, data = Trainer(spec), data_of(spec, name)
    for network in (trainer.model, trainer.ema):
        pins.fill(network.double(), spread=0.1)
    trainer.model.register_forward_pre_hook(doubled)
    trainer.seen = 800 if name.startswith("later") else 0
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    order = Order(len(data), 8, spec.seed)
    versions = {"training.RECIPE": training.RECIPE, **versions_of(spec)}
    losses = {f"loss {i}": trainer.step(data, order).item() for i in range(3)}
    pins.check(PINS, f"losses, training: {name}", versions, losses, rel=1e-5)
    numbers = {}
    for part, network in (("network", trainer.model), ("average", trainer.ema)):
        after = torch.cat([p.detach().flatten() for p in network.parameters()])
        numbers |= pins.statistics(part, (after - before) / spec.training.lr)
    # An ulp of the timestep's float32 frequencies, at t = 1000, becomes 5e-5; sums with noise
    # almost cancel: 7e-4 between an AMD EPYC and an Intel Xeon
    pins.check(PINS, f"training: {name}", versions, numbers, rel=2e-3)


def network():
    spec = spec_of("can-3")
    return spec, pins.fill(build(spec.model)).eval()


def check_sampling(prediction, schedule, sampler, guidance=1.0):
    """Six samples in two batches, before and after they are rounded to pixels."""
    spec, model = network()
    values = []

    def decode(x):
        values.append(x)
        return to_uint8(x)

    pixels = sample(
        model,
        Process(prediction, schedule),
        partial(take, {"label": torch.tensor([3, 1, 3, 0, 9, 1])}),
        6,
        SHAPE,
        seed=2,
        sampler=sampler,
        steps=5,
        guidance=guidance,
        batch=4,
        decode=decode,
    )
    numbers = pins.statistics("values", torch.cat(values))
    versions = {"specs.SAMPLE_RECIPE": SAMPLE_RECIPE, **versions_of(spec)}
    if (version := SAMPLERS[sampler].version) > 1:
        versions[f"version of sampler {sampler}"] = version
    name = f"sampling: {prediction} {schedule} {sampler}, guidance {guidance}"
    pins.check(PINS, name, versions, numbers, rel=1e-5)
    numbers = {"mean pixel": pixels.double().mean().item()}
    pins.check(PINS, f"pixels, {name}", versions, numbers, rel=1e-3)  # some may round otherwise


def check_heldout(name):
    spec, model = network()
    data = data_of(spec, name)
    errors = denoising_loss(model, Process("flow", "linear"), data, 15, 4, repeats=2, batch=8)
    numbers = {f"bin {i}": float(error) for i, error in enumerate(errors)}
    versions = {"version of metric heldout_loss": METRICS.get("heldout_loss").version}
    pins.check(PINS, f"held-out loss: {name}", versions | versions_of(spec), numbers, rel=1e-5)


def check_diagnostics():
    spec, model = network()
    numbers = {
        f"{site}, {measure}": value
        for site, measures in generated_weights(model, {"label": 10}, "cpu").items()
        for measure, value in measures.items()
    }
    versions = {"training.RECIPE": training.RECIPE, **versions_of(spec)}
    pins.check(PINS, "diagnostics of generated weights", versions, numbers, rel=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_training_changes_only_with_its_recipe(name):
    check_training(name)


def test_a_run_on_digits_changes_only_with_the_recipe(tmp_path):
    """From initial values, through warm-up, snapshot and held-out loss, in float32."""
    spec = train_spec(
        model_spec(**METHODS["native+can-3"]),
        flip=True,
        prediction="v",
        schedule="cosine",
        ema_half_life=600,
        weight_decay=0.1,
        clip=0.5,
    )
    path = train(spec, 1280, load_dataset("digits"), tmp_path, snapshot_every=1280)
    numbers = {"held-out loss": load_existing(path)[1]["curve"]["heldout"]["loss"][-1]}
    versions = {"training.RECIPE": training.RECIPE, **versions_of(spec)}
    pins.check(PINS, "a run on digits", versions, numbers, rel=1e-4)


@pytest.mark.parametrize(("prediction", "schedule", "sampler"), SAMPLED)
def test_samples_change_only_with_their_recipe(prediction, schedule, sampler):
    check_sampling(prediction, schedule, sampler)


def test_guided_samples_change_only_with_their_recipe():
    check_sampling("flow", "linear", "dpmpp_2m", guidance=2.5)


@pytest.mark.parametrize("name", ["images", "latents"])
def test_the_heldout_loss_changes_only_with_its_version(name):
    check_heldout(name)


def test_diagnostics_change_only_with_the_recipe():
    check_diagnostics()


def test_every_case_is_pinned_and_nothing_else():
    names = {f"training: {name}" for name in TRAINED}
    names |= {f"losses, {name}" for name in names} | {"a run on digits"}
    sampled = {f"sampling: {p} {s} {x}, guidance 1.0" for p, s, x in SAMPLED}
    sampled |= {"sampling: flow linear dpmpp_2m, guidance 2.5"}
    names |= sampled | {f"pixels, {name}" for name in sampled}
    names |= {f"held-out loss: {name}" for name in ("images", "latents")}
    assert set(pins.read(PINS)) == names | {"diagnostics of generated weights"}


# ---- the net works ------------------------------------------------------------------------------


@pytest.fixture
def not_repinning(monkeypatch):
    monkeypatch.delenv(pins.REPIN, raising=False)


@pytest.mark.usefixtures("not_repinning")
def test_a_change_of_the_average_is_caught(monkeypatch):
    original = training.ema_decay
    monkeypatch.setattr(training, "ema_decay", lambda *args: 0.999 * original(*args))
    with pytest.raises(AssertionError, match=r"no version did: average.*training.RECIPE"):
        check_training("later, clipped")


@pytest.mark.usefixtures("not_repinning")
def test_a_change_of_the_target_is_caught(monkeypatch):
    original = Process.noisy

    def changed(self, x, noise, t):
        noised, target = original(self, x, noise, t)
        return noised, 1.0001 * target

    monkeypatch.setattr(Process, "noisy", changed)
    with pytest.raises(AssertionError, match=r"no version did.*training.RECIPE"):
        check_training("v with flips")
    with pytest.raises(AssertionError, match=r"no version did.*metric heldout_loss"):
        check_heldout("images")


@pytest.mark.usefixtures("not_repinning")
@pytest.mark.parametrize("draw", ["order", "noise", "drop", "flip", "caption", "posterior"])
def test_a_change_of_a_random_draw_is_caught(draw, monkeypatch):
    """Each draw of a step in turn comes from another stream of random numbers."""
    original = training.generator

    def changed(seed, *names, **device):
        return original(seed, *("other" if name == draw else name for name in names), **device)

    for module in (training, batches):
        monkeypatch.setattr(module, "generator", changed)
    case = {"flip": "v with flips", "caption": "eps with captions", "posterior": "latents"}
    with pytest.raises(AssertionError, match=r"no version did.*training.RECIPE"):
        check_training(case.get(draw, "flow"))


@pytest.mark.usefixtures("not_repinning")
def test_a_raised_recipe_asks_for_new_pins(monkeypatch):
    monkeypatch.setattr(training, "RECIPE", training.RECIPE + 1)
    with pytest.raises(AssertionError, match="expected pins for training.RECIPE"):
        check_training("flow")


@pytest.mark.usefixtures("not_repinning")
@pytest.mark.parametrize(("prediction", "schedule", "sampler"), SAMPLED)
def test_a_change_of_a_sampler_is_caught(prediction, schedule, sampler, monkeypatch):
    """A schedule whose noise is one in a thousand larger, for the solver alone."""
    original = SAMPLERS[sampler]

    def changed(process):
        scheduler = original.build(process)
        step = scheduler.step

        def larger(predicted, *args, **options):
            return step(1.001 * predicted, *args, **options)

        scheduler.step = larger
        return scheduler

    monkeypatch.setitem(SAMPLERS, sampler, dataclasses.replace(original, build=changed))
    with pytest.raises(AssertionError, match=r"no version did.*specs.SAMPLE_RECIPE"):
        check_sampling(prediction, schedule, sampler)
