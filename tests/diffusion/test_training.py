"""Training: pairing, identical bits, resuming, and each part against its formula."""

import dataclasses
import math
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from specs import METHODS, method, model_spec, train_spec

from cabench.data import SPLITS, Split, load_dataset
from cabench.data.shards import Shards
from cabench.diffusion import batches, training
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.checkpoints import load_ema, load_existing, save
from cabench.diffusion.loop import train
from cabench.diffusion.losses import denoising_loss
from cabench.diffusion.process import Process
from cabench.diffusion.training import Diverged, Trainer, ema_decay, marks
from cabench.diffusion.weight_diagnostics import generated_weights, last_point
from cabench.metrics.model_metrics import HeldoutLoss
from cabench.models.model import build_initialised
from cabench.runtime.signals import stop_on_signals


def spec(name="can-3", **options):
    return train_spec(model_spec(**METHODS[name]), **options)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


class Killed(BaseException):
    pass


def die(seen, loss):
    """A progress callback that ends the run like a kill, after the snapshot at 128 images."""
    if seen >= 130:
        raise Killed


def run(folder, digits, images, every=64, **what):
    path = train(spec(**what), images, digits, folder, snapshot_every=every)
    return load_file(path)


def same(a, b) -> bool:
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_a_rerun_has_the_same_bits_and_another_seed_does_not(tmp_path, digits):
    a = run(tmp_path / "a", digits, 128)
    assert same(a, run(tmp_path / "b", digits, 128))
    assert not same(a, run(tmp_path / "c", digits, 128, seed=1))


def test_a_longer_run_extends_a_shorter_one_with_the_same_bits(tmp_path, digits):
    run(tmp_path / "a", digits, 96, every=32)
    longer = run(tmp_path / "a", digits, 192, every=32)
    assert same(longer, run(tmp_path / "b", digits, 192, every=500))
    curve = load_existing(tmp_path / "a" / "ema-0000000192.safetensors")[1]["curve"]
    assert curve["heldout"]["images"] == [32, 64, 96, 128, 160, 192]
    assert curve["images"] == sorted(curve["images"]) and curve["images"][-1] == 192


def test_sigterm_leaves_the_state_of_the_last_step(tmp_path, digits):
    """Between snapshots; the run resumes from there with the same bits."""
    steps = []

    def stop(seen, loss):
        steps.append(seen)
        if seen == 96:
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_on_signals(), pytest.raises(KeyboardInterrupt):
        train(spec(), 192, digits, tmp_path / "a", snapshot_every=64, progress=stop)
    assert load_existing(tmp_path / "a" / "state.safetensors")[1]["seen"] == steps[-1] == 96
    resumed = run(tmp_path / "a", digits, 192)
    assert same(resumed, run(tmp_path / "b", digits, 192))


DECAY = {"end": 192, "over": 64}


def test_the_rate_falls_linearly_to_zero(digits):
    trainer = Trainer(spec(decay={"end": 256, "over": 128}, warmup=64))
    data, rates = Data(digits.split("generator-train"), ("label",)), []
    for _ in range(8):
        trainer.step(data, Order(len(data), 32, 0))
        rates.append(trainer.optimisers[0].param_groups[0]["lr"] / trainer.recipe.lr)
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_a_run_with_a_decay_repeats_the_trunk_and_leaves_it_its_state(tmp_path, digits):
    """Alone, from the trunk's state, and after a kill it has the same bits."""
    alone = run(tmp_path / "alone", digits, 192, decay=DECAY)
    run(tmp_path / "trunk", digits, 128)
    steps = []

    def decayed(folder, trunk, progress=lambda seen, loss: steps.append(seen)):
        path = train(
            spec(decay=DECAY), 192, digits, tmp_path / folder, snapshot_every=64,
            progress=progress, trunk=tmp_path / trunk,
        )  # fmt: skip
        return load_file(path)

    assert same(alone, decayed("from trunk", "trunk")) and steps == [160, 192]
    with pytest.raises(Killed):
        decayed("killed", "new trunk", die)
    assert same(alone, decayed("killed", "new trunk"))
    state, metadata = load_existing(tmp_path / "new trunk" / "state.safetensors")
    constant, _ = load_existing(tmp_path / "trunk" / "state.safetensors")
    assert metadata["seen"] == 128 and same(state, constant)
    longer = run(tmp_path / "new trunk", digits, 192)
    assert same(longer, run(tmp_path / "trunk", digits, 192))
    assert not same(longer, alone)


def test_a_trunk_past_the_start_of_the_decay_is_not_used(tmp_path, digits):
    alone = run(tmp_path / "alone", digits, 192, decay=DECAY)
    run(tmp_path / "trunk", digits, 160)
    path = train(
        spec(decay=DECAY), 192, digits, tmp_path / "a", snapshot_every=64, trunk=tmp_path / "trunk"
    )
    assert same(alone, load_file(path))
    assert load_existing(tmp_path / "trunk" / "state.safetensors")[1]["seen"] == 160


def test_a_spec_for_another_length_decays_over_the_same_share():
    short = spec(decay=DECAY).of_length(96)
    assert short.training.decay.dump() == {"end": 96, "over": 32}
    assert spec().of_length(96) == spec() and spec().trunk is None
    assert spec(decay=DECAY).trunk.key == spec().key


def test_a_killed_run_resumes_with_the_same_bits(tmp_path, digits):
    with pytest.raises(Killed):
        train(spec(), 192, digits, tmp_path / "a", snapshot_every=64, progress=die)
    assert load_existing(tmp_path / "a" / "state.safetensors")[1]["seen"] == 128
    assert same(run(tmp_path / "a", digits, 192), run(tmp_path / "b", digits, 192))
    one, two = (
        load_existing(tmp_path / x / "ema-0000000192.safetensors")[1]["curve"] for x in "ab"
    )
    assert one["heldout"] == two["heldout"] and one["weights"] == two["weights"]


def test_diagnostics_of_generated_weights_change_no_bit(tmp_path, digits, monkeypatch):
    with_them = run(tmp_path / "a", digits, 192)
    path = tmp_path / "a" / "ema-0000000192.safetensors"
    history = load_existing(path)[1]["curve"]["weights"]
    assert history["images"] == [64, 128, 192]
    assert set(history["sites"]) == {"patch_embed", "depthwise", "attn_out"}
    sizes = history["sites"]["attn_out"]["generated"]
    assert 0 < sizes[0] < sizes[1] < sizes[2]
    averaged = load_ema(spec().model, path)
    last = last_point(history)
    for site, measures in generated_weights(averaged, {"label": 10}, "cpu").items():
        steps = {name: last[site].pop(name) for name in ("step_static", "step_generated")}
        assert last[site] == measures and min(steps.values()) > 0
    monkeypatch.setattr(training, "generated_weights", lambda *_: {})
    monkeypatch.setattr(training, "produced_weights", lambda *_: [])
    assert same(with_them, run(tmp_path / "b", digits, 192))
    assert load_existing(tmp_path / "b" / path.name)[1]["curve"]["weights"] == {}


def test_the_penalty_of_a_method_reaches_its_gradient(digits):
    """The router's gradient with and without its balance, whose size is the option's."""
    gradients = []
    for balance in (0.0, 1.0):
        moe = method("timestep_moe", ["timestep"], balance=balance)
        trainer = Trainer(train_spec(model_spec([moe], affine=True)))
        router = trainer.model.methods["timestep_moe"].layers[0].router.weight
        router.register_hook(lambda g: gradients.append(g.clone()))
        trainer.step(Data(digits.split("generator-train"), ("label",)), Order(500, 32, 0))
    assert not gradients[0].any()  # the experts' output starts at zero
    assert gradients[1].abs().max() > 1e-4


def test_a_state_without_diagnostics_resumes(tmp_path, digits):
    run(tmp_path, digits, 64)
    state = tmp_path / "state.safetensors"
    tensors, meta = load_existing(state)
    del meta["curve"]["weights"]
    save(state, tensors, **meta)
    run(tmp_path, digits, 192)
    history = load_existing(tmp_path / "ema-0000000192.safetensors")[1]["curve"]["weights"]
    assert history["images"] == [128, 192]


def test_a_shorter_run_keeps_the_state_of_the_longer_one(tmp_path, digits):
    run(tmp_path, digits, 192, every=96)
    run(tmp_path, digits, 32, every=96)
    assert load_existing(tmp_path / "state.safetensors")[1]["seen"] == 192


def test_arms_see_the_same_images_noise_times_and_dropout(digits, monkeypatch):
    """Paired seeds: what goes into the network is the same for every arm, bit by bit."""
    seen = {}
    for name in ("adaln_zero", "can-3"):
        trainer = Trainer(spec(name))
        calls = seen[name] = []
        trainer.model.register_forward_pre_hook(lambda m, a, c=calls: c.append(a))
        data = Data(digits.split("generator-train"), ("label",))
        order = Order(len(data), 32, 0)
        for _ in range(3):
            trainer.step(data, order)
    for (x, t, streams, drop), (x2, t2, streams2, drop2) in zip(*seen.values(), strict=True):
        assert torch.equal(x, x2) and torch.equal(t, t2) and torch.equal(drop, drop2)
        assert torch.equal(streams["label"], streams2["label"])


def test_order_has_every_image_once_per_epoch():
    order = Order(50, 20, seed=4)
    seen = torch.cat([order(step) for step in range(5)])  # two epochs
    for epoch in (seen[:50], seen[50:]):
        assert sorted(epoch.tolist()) == list(range(50))
    assert not torch.equal(seen[:50], seen[50:])
    assert torch.equal(
        Order(50, 20, seed=4)(3), seen[60:80]
    )  # from the middle, without the steps before


def test_marks_are_full_batches_and_the_last_is_the_end():
    assert marks(32, 96, 192) == [96, 192]
    assert marks(32, 100, 200) == [128, 224]
    assert marks(32, 1000, 64) == [64]


def test_ema_halves_in_its_half_life_and_ramps_up():
    weight = math.prod(ema_decay(10, 500, seen=10**6) for _ in range(50))
    assert weight == pytest.approx(0.5)
    assert ema_decay(10, 500, seen=100) == pytest.approx(0.5)  # a tenth of 100 images is a batch


def test_the_average_is_the_lerp_of_the_formula(digits):
    trainer = Trainer(spec())
    data = Data(digits.split("generator-train"), ("label",))
    order, name = Order(len(data), 32, 0), "backbone.blocks.0.attn.qkv.weight"
    expected = trainer.model.get_parameter(name).detach().clone()
    for _ in range(4):
        trainer.step(data, order)
        decay = ema_decay(32, 64, trainer.seen)
        expected = decay * expected + (1 - decay) * trainer.model.get_parameter(name).detach()
    torch.testing.assert_close(trainer.ema.get_parameter(name), expected)


def test_loss_falls_and_the_condition_helps(tmp_path, digits):
    folder = tmp_path / "a"
    path = train(spec("can-3"), 6400, digits, folder, snapshot_every=800)
    curve = load_existing(path)[1]["curve"]["heldout"]["loss"]
    assert curve[-1] < 0.8 * curve[0]
    model, data = load_ema(spec("can-3").model, path), Data(digits.split("report"), ("label",))
    process = Trainer(spec()).process
    right = denoising_loss(model, process, data, 300, 4).mean()
    data.streams["label"] = (data.streams["label"] + 1) % 10
    wrong = denoising_loss(model, process, data, 300, 4).mean()
    assert wrong > right


def test_denoising_loss_by_hand(digits):
    """For a network that predicts 0, the loss is the target's mean square: E[eps^2] + E[x^2]."""
    data = Data(digits.split("report"), ("label",))
    process = Trainer(spec()).process
    errors = denoising_loss(lambda x, t, s: torch.zeros_like(x), process, data, 10**6, 5, repeats=8)
    assert errors.shape == (5,)
    assert errors.mean() == pytest.approx(1 + data.images.square().mean().item(), rel=0.02)


def test_divergence_is_an_error(tmp_path, digits):
    with pytest.raises(Diverged, match="after [0-9]+ images"):
        train(spec(lr=1e30), 640, digits, tmp_path, snapshot_every=640)


@pytest.mark.parametrize("scale", [1e14, float("nan")])
def test_a_huge_heldout_loss_is_divergence(digits, scale):
    model = build_initialised(model_spec(**METHODS["can-3"]), 0)
    for p in model.backbone.head.parameters():
        torch.nn.init.constant_(p, scale)
    options = {"images": 20, "bins": 2, "repeats": 1}
    with pytest.raises(Diverged, match="the denoising loss on report is"):
        HeldoutLoss.compute(model, Process("flow", "linear"), digits, options, "cpu")


def test_without_keep_state_the_state_is_deleted_at_the_end_only(tmp_path, digits):
    drop = {"keep_state": False, "snapshot_every": 64}
    with pytest.raises(Killed):
        train(spec(), 192, digits, tmp_path, progress=die, **drop)
    assert (tmp_path / "state.safetensors").exists()
    final = train(spec(), 192, digits, tmp_path, **drop)
    assert final.exists() and not (tmp_path / "state.safetensors").exists()


def test_flips_mirror_half_of_the_images(digits):
    data = Data(digits.split("generator-train"), ("label",))
    order = Order(len(data), 32, 0)
    flipped = spec(flip=True)
    inputs = []
    for trainer in (Trainer(spec()), Trainer(flipped)):
        trainer.model.register_forward_pre_hook(lambda m, a: inputs.append(a[0]))
        trainer.step(data, order)
    difference = (inputs[0] - inputs[1]).flatten(1).abs().sum(1) > 0  # the noise is the same
    assert 8 <= difference.sum() <= 24


def test_images_too_large_for_memory_train_to_the_same_bits(tmp_path, digits, monkeypatch):
    flipped = spec(flip=True)

    def trained(folder, dataset):
        return load_file(train(flipped, 96, dataset, tmp_path / folder, snapshot_every=96))

    in_memory = trained("a", digits)
    for name in SPLITS:
        np.save(tmp_path / f"{name}.npy", digits.split(name).images)
    parts = {
        name: Split(Shards([tmp_path / f"{name}.npy"]), digits.split(name).streams)
        for name in SPLITS
    }
    monkeypatch.setattr(batches, "IN_MEMORY", 0)
    assert not isinstance(Data(parts["report"], ()).images, torch.Tensor)
    assert same(in_memory, trained("b", dataclasses.replace(digits, splits=parts)))


def test_bfloat16_and_clipping_train(tmp_path, digits):
    path = train(spec(precision="bfloat16", clip=1.0), 640, digits, tmp_path, snapshot_every=320)
    losses = load_existing(path)[1]["curve"]["heldout"]["loss"]
    assert losses[-1] < losses[0]
