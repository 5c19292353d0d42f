"""Several processes train and sample as one does: the same batch, the same draws, one mean."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from on_ranks import STEPS, draw, extract, fail_together, losses_of, on_ranks, run, train_some
from specs import METHODS, method, model_spec, train_spec

from cabench.data import load_dataset
from cabench.diffusion.checkpoints import load, load_existing
from cabench.diffusion.passes import Passes, blocks
from cabench.diffusion.ranks import Ranks
from cabench.diffusion.training import Trainer
from cabench.errors import CabenchError
from cabench.execution import joint
from cabench.metrics.extractors import opened
from cabench.metrics.extractors.base import on_white
from cabench.models.model import build

MOE = dict(methods=[method("timestep_moe", ["timestep"], top=1, balance=1.0)], affine=True)


def spec(name="can-3", **options):
    return train_spec(model_spec(**METHODS[name]), **options)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


# ---- one process --------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [Passes(7), Passes(None, True), Passes(12, True)])
@pytest.mark.parametrize("name", ["can-3", "timestep_moe"])
def test_parts_and_recomputation_leave_the_step_as_it_is(digits, name, passes):
    """Micro-batches of unequal sizes, recomputed blocks, clipped gradients, a method's penalty."""
    of = METHODS[name] if name == "can-3" else MOE
    one = train_spec(model_spec(**of), clip=0.5)
    whole, parts = Trainer(one), Trainer(one, passes=passes)
    expected, losses = losses_of(whole, digits, 5), losses_of(parts, digits, 5)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
    pairs = zip(whole.model.named_parameters(), parts.model.named_parameters(), strict=True)
    for (own, a), (other, b) in pairs:
        assert own == other
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)  # AdamW divides by small moments


@pytest.mark.parametrize(("backbone", "count"), [("dit", 2), ("uvit", 3), ("cat", 3)])
def test_every_block_of_a_backbone_is_recomputed(backbone, count):
    preset = {"preset": "micro", "backbone": backbone}
    network = build(model_spec(**METHODS["adaln_zero"], **preset)).backbone
    assert len(blocks(network)) >= count


@pytest.mark.parametrize("error", [ValueError("5 channels"), OSError(errno.ENOSPC, "full")])
def test_a_fault_of_the_machine_in_an_extractor_stays_one(monkeypatch, tmp_path, error):
    def extractor(*_):
        raise error

    monkeypatch.setattr(joint.ASSETS, "extractor", extractor)
    images = np.zeros((2, 1, 8, 8), np.uint8)
    with pytest.raises(OSError if isinstance(error, OSError) else CabenchError):
        joint.features(Ranks(), ["efficientnet-lite0"], tmp_path, "cpu", images=images)


def test_ranks_without_images_call_no_extractor(monkeypatch, tmp_path):
    monkeypatch.setattr(joint.ASSETS, "extractor", None)
    images = np.zeros((0, 1, 8, 8), np.uint8)
    assert joint.features(Ranks(), ["any"], tmp_path, "cpu", images=images) == {}


# ---- several ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.full)])
def test_losses_are_those_of_one_process(tmp_path, digits, count):
    """To 1e-3 over 200 steps; a batch that ranks share unequally, penalties, micro-batches."""
    specs = [
        ("can", spec(batch=18), Passes()),
        ("moe", train_spec(model_spec(**MOE), clip=0.5), Passes()),
        ("parts", train_spec(model_spec(**MOE), batch=30), Passes(4, True)),
    ]
    on_ranks(count, tmp_path, train_some, specs, digits, tmp_path)
    for name, one, _ in specs:
        expected = losses_of(trainer := Trainer(one), digits, STEPS if name == "can" else 5)
        losses, state = torch.load(tmp_path / f"{name}-{count}")
        torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(losses[:5], expected[:5], rtol=1e-5, atol=1e-6)
        assert set(state) == set(trainer.state())


@pytest.mark.slow
def test_a_run_resumes_on_another_number_of_ranks(tmp_path, digits):
    """On 2, 4 and 1 ranks in turn; the last snapshot is that of one process to a tolerance."""
    one = spec()
    for count, images in ((2, 64), (4, 128)):
        on_ranks(count, tmp_path, run, one, images, digits, tmp_path / "shared")
    run(Ranks(), one, 192, digits, tmp_path / "shared")
    run(Ranks(), one, 192, digits, tmp_path / "alone")
    name = "ema-0000000192.safetensors"
    (shared, metadata), (alone, expected) = (
        load_existing(tmp_path / folder / name) for folder in ("shared", "alone")
    )
    for key, tensor in alone.items():
        torch.testing.assert_close(shared[key], tensor, rtol=1e-3, atol=1e-4)
    assert metadata["curve"]["images"] == expected["curve"]["images"]
    losses, others = metadata["curve"]["loss"], expected["curve"]["loss"]
    assert losses == pytest.approx(others, rel=1e-4)


@pytest.mark.parametrize("n", [1, 3, 71])  # of 1 the leader has none
def test_features_have_the_bits_of_one_process_and_faults_keep_ranks_in_step(tmp_path, n):
    names, folder = ("efficientnet-lite0", "efficientnet-lite0-levels"), Path(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 12, 10), np.uint8)  # with opacity
    expected = {name: opened(name, folder).features(on_white(images)) for name in names}
    on_ranks(2, folder, extract, names, folder, images, folder / "features.npz")
    features = np.load(folder / "features.npz")
    assert len(features.files) == 4
    for name, layers in expected.items():
        for layer, values in layers.items():
            assert np.array_equal(features[f"{name} {layer}"], values)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_samples_have_the_bits_of_one_process_and_faults_keep_ranks_in_step(
    tmp_path, digits, count
):
    one, folder = spec(), Path(tmp_path)
    (folder / "diverging").mkdir()
    run(Ranks(), one, 32, digits, folder)
    snapshot = folder / "ema-0000000032.safetensors"
    draw(Ranks(), one, snapshot, folder / "alone.npy")
    on_ranks(count, folder, fail_together, one, digits, folder / "diverging", snapshot)
    assert load(folder / "diverging" / "ema-0000000064.safetensors") is None
    drawn = np.load(folder / "diverging" / "drawn.npy")
    assert drawn.shape == (50, 1, 8, 8) and np.array_equal(drawn, np.load(folder / "alone.npy"))
    texts = (folder / "diverging" / "texts").read_text().splitlines()
    assert "loss became" in texts[0] and texts[1] == f"rank {count - 1}: no data here"
