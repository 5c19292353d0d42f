"""Several processes train and sample as one does: the same batch, the same draws, one mean."""

from pathlib import Path

import numpy as np
import pytest
import torch
from specs import METHODS, method, model_spec, train_spec
from torch.multiprocessing.spawn import start_processes

from cabench.data import load_dataset
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.checkpoints import load, load_ema, load_existing
from cabench.diffusion.loop import train
from cabench.diffusion.passes import Passes, blocks
from cabench.diffusion.process import Process
from cabench.diffusion.ranks import Ranks, joined
from cabench.diffusion.sampling import sample
from cabench.diffusion.training import Diverged, Trainer
from cabench.errors import CabenchError
from cabench.models.model import build

MOE = dict(methods=[method("timestep_moe", ["timestep"], top=1, balance=1.0)], affine=True)
STEPS = 200


def spec(name="can-3", **options):
    return train_spec(model_spec(**METHODS[name]), **options)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def on_ranks(count, folder, function, *arguments):
    """Calls `function(ranks, *arguments)` on each rank of `count` forked processes."""
    start_processes(
        _rank, (count, folder / f"rendezvous-{function.__name__}-{count}", function, arguments),
        count, start_method="fork",
    )  # fmt: skip


def _rank(rank, count, rendezvous, function, arguments):
    torch.set_num_threads(1)
    with joined(rank, count, "cpu", init_method=f"file://{rendezvous}") as ranks:
        function(ranks, *arguments)


def losses_of(trainer, digits, steps):
    data = Data(digits.split("generator-train"), ("label",))
    order = Order(len(data), trainer.recipe.batch, trainer.spec.seed)
    return torch.stack([trainer.step(data, order) for _ in range(steps)])


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


# ---- several ------------------------------------------------------------------------------------


def train_some(ranks, specs, digits, folder):
    for name, one, passes in specs:
        trainer = Trainer(one, passes=passes, ranks=ranks)
        trainer.share()
        losses = ranks.sum(losses_of(trainer, digits, STEPS if name == "can" else 5))
        if ranks.leads:
            torch.save([losses, trainer.state()], folder / f"{name}-{ranks.count}")


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


def run(ranks, one, images, digits, folder):
    train(one, images, digits, folder, snapshot_every=64, ranks=ranks)


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


def draw(ranks, one, snapshot, path, batch=20):
    images = sample(
        load_ema(one.model, snapshot), Process("flow", "linear"),
        lambda index: {"label": index % 10}, 50, (1, 8, 8), seed=3, steps=4, batch=batch,
        guidance=2.0, ranks=ranks,
    )  # fmt: skip
    if ranks.leads:
        np.save(path, images.numpy())


def fail_together(ranks, one, digits, folder, path):
    """Calls that fail on all ranks, then on one, before one that succeeds."""
    diverging = train_spec(one.model, lr=1e30)
    if not ranks.leads:
        return ranks.follow()
    texts = []
    for function, arguments, kind in (
        (run, (diverging, 64, digits, folder), Diverged),
        (fail_on_the_last, (), CabenchError),
    ):
        with pytest.raises(kind) as raised:
            ranks.call(function, *arguments)
        texts.append(str(raised.value))
    ranks.call(draw, one, path, folder / "drawn.npy")
    (folder / "texts").write_text("\n".join(texts))
    ranks.dismiss()


def fail_on_the_last(ranks):
    if ranks.rank == ranks.count - 1:
        raise CabenchError("no data here")


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
