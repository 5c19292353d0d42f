"""What a GPU draws and where the data lies: the code of a GPU, run on the CPU and on no device.

On torch's device `meta`, tensors have shapes and no values. Whatever would make a GPU wait (reading
a value, a copy to the CPU, a branch on a tensor, indices of unknown number) is an error there.
"""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from specs import METHODS, OF_MAPS, method, model_spec, train_spec
from torch.utils._python_dispatch import TorchDispatchMode

from cabench.data import load_dataset
from cabench.data.dataset import Latents, Split
from cabench.data.shards import Shards
from cabench.diffusion import rows, training
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.loop import train
from cabench.diffusion.process import Process
from cabench.diffusion.ranks import Ranks
from cabench.diffusion.sampling import Guide, solver
from cabench.diffusion.training import Trainer
from cabench.models.model import build
from cabench.runtime.rng import generator
from cabench.text import Encoded

ROOM = 2**40
N, SHAPE = 40, (1, 8, 8)
STREAMS = ("label", "text", "pose", "edges")
EVERYTHING = dict(
    methods=[method("can", ["timestep", "label", "text"])],
    affine=True,
    text={"text": 12},
)


def on_gpu(spec):
    """The spec as a GPU trains it."""
    return spec.model_copy(update={"draws": training.DRAWS})


def split(latents=False):
    """Random images with two captions each, labels, numbers and maps."""
    g = np.random.default_rng(0)
    texts = Encoded(
        features=np.concatenate([np.zeros((1, 12)), g.standard_normal((9, 12))]).astype(np.float32),
        begins=np.array([1, 4, 6]),
        lengths=np.array([3, 2, 4]),
        choices=g.integers(0, 3, (N, 3)),
        counts=g.integers(1, 4, N),
        tokens=5,
    )
    moments = g.random((N, 2, 2, 4, 4, 4), np.float32).astype(np.float16)
    return Split(
        g.integers(0, 256, (N, *SHAPE), np.uint8),
        {"label": g.integers(0, 10, N)},
        latents=Latents(moments, scale=0.5, shift=0.1) if latents else None,
        encoded={"text": texts},
        vectors={"pose": g.standard_normal((N, 3), np.float32)},
        maps={"edges": g.integers(0, 256, (N, *SHAPE), np.uint8)},
    )


def batch_of(spec, data, step=3, ranks=None):
    trainer = Trainer(spec, ranks=ranks or Ranks())
    trainer.seen = step * spec.training.batch
    return trainer.draw(data, Order(N, spec.training.batch, spec.seed))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


# ---- draws --------------------------------------------------------------------------------------


def test_a_draw_depends_on_seed_and_step_alone():
    spec = on_gpu(train_spec(model_spec(**EVERYTHING), flip=True))
    data = Data(split(), STREAMS)
    first = batch_of(spec, data)
    assert equal(first, batch_of(spec, data))
    for other in (batch_of(spec, data, step=4), batch_of(spec.of_seed(1), data)):
        for name in ("noised", "times"):
            assert not torch.equal(getattr(first, name), getattr(other, name))


def test_draws_are_uniform_and_normal():
    """Moments of 3,200 times and 204,800 noise values, to four standard errors."""
    spec = on_gpu(train_spec(model_spec(**METHODS["can-3"]), label_dropout=0.3))
    black = dataclasses.replace(split(), images=np.full((N, *SHAPE), 127, np.uint8))
    trainer, data, order, drawn = Trainer(spec), Data(black, ("label",)), Order(N, 32, 0), []
    for step in range(100):
        trainer.seen = 32 * step
        drawn.append(trainer.draw(data, order))
    u = torch.cat([b.times for b in drawn]) / 1000
    noise = torch.cat([b.target for b in drawn])  # of a flow: noise - x, with x near 0
    assert abs(u.mean() - 1 / 2) < 4 / np.sqrt(12 * u.numel())
    assert abs(u.var() - 1 / 12) < 4 / np.sqrt(180 * u.numel())
    assert abs(noise.mean()) < 4 / np.sqrt(noise.numel()) + 0.004
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / noise.numel())
    dropped = torch.cat([b.drop for b in drawn]).float()
    assert abs(dropped.mean() - 0.3) < 4 * np.sqrt(0.21 / dropped.numel())
    assert torch.cat([b.noised for b in drawn]).flatten(1).unique(dim=0).shape[0] == 3200


@pytest.mark.parametrize("latents", [False, True])
def test_each_rank_has_its_rows_of_the_whole_draw(latents):
    spec = on_gpu(train_spec(model_spec(**EVERYTHING), flip=True, batch=10))
    data = Data(split(latents), STREAMS, room=ROOM)
    whole = batch_of(spec, data)
    for count in (2, 3):
        parts = [batch_of(spec, data, ranks=Ranks(rank, count)) for rank in range(count)]
        assert [len(part) for part in parts] == ([5, 5] if count == 2 else [3, 3, 4])
        columns = zip(*(part.tensors() for part in parts), strict=True)
        assert equal(whole, whole.like([torch.cat(column) for column in columns]))


def test_a_trial_on_a_gpu_has_a_key_of_its_own():
    spec = train_spec(model_spec(**METHODS["can-3"]))
    assert on_gpu(spec).key != spec.key
    assert on_gpu(spec).of_seed(1).draws == training.DRAWS
    assert "draws" not in spec.dump()


def test_a_resumed_run_repeats_the_losses(tmp_path):
    """From the state on disk, with the draws of a GPU and the split on the device."""
    digits = load_dataset("digits")
    spec = on_gpu(train_spec(model_spec(**METHODS["can-3"]), flip=True))
    whole = load_file(train(spec, 192, digits, tmp_path / "a", snapshot_every=96))
    train(spec, 96, digits, tmp_path / "b", snapshot_every=96)
    resumed = load_file(train(spec, 192, digits, tmp_path / "b", snapshot_every=96))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


# ---- where the data lies ------------------------------------------------------------------------


@pytest.mark.parametrize("latents", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_a_resident_split_gives_the_batches_of_a_streamed_one(latents, flip, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "COPIED", 7)  # several parts, the last one smaller
    spec = on_gpu(train_spec(model_spec(**EVERYTHING), flip=flip))
    data = split(latents)
    if not latents:  # images in two files
        for k, part in enumerate(np.array_split(data.images, 2)):
            np.save(tmp_path / f"{k}.npy", part)
        shards = Shards([tmp_path / "0.npy", tmp_path / "1.npy"])
        data = dataclasses.replace(data, images=shards)
    streamed = Data(split(latents), STREAMS)
    whole = Data(data, STREAMS, room=ROOM)
    inputs = whole.moments if latents else whole.images
    arrays = [inputs, *whole.streams.values(), *whole.maps.values(), whole.texts["text"].features]
    assert all(isinstance(tensor, torch.Tensor) for tensor in arrays)
    for step in range(4):
        assert equal(batch_of(spec, whole, step), batch_of(spec, streamed, step))
    index = torch.tensor([3, 0, 3])
    ours, others = whole.streams_at(index), streamed.streams_at(index)
    assert torch.equal(ours["text"][0], others["text"][0]) and list(ours) == list(others)


def test_a_split_is_resident_where_all_of_it_fits():
    data = split()
    text = data.encoded["text"]
    size = data.images.nbytes + data.streams["label"].nbytes + data.vectors["pose"].nbytes
    size += data.maps["edges"].nbytes
    size += sum(array.nbytes for array in rows.arrays_of(text))
    assert isinstance(Data(data, STREAMS, room=size).maps["edges"], torch.Tensor)
    assert isinstance(Data(data, STREAMS, room=size - 1).maps["edges"], np.ndarray)


# ---- nothing waits ------------------------------------------------------------------------------


class Reads(TorchDispatchMode):
    """Counts the values that Python reads from tensors."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["adaln_zero", "can-3", "timestep_moe"])
def test_no_value_is_read_between_points_of_the_curve(name, tmp_path):
    """In the whole loop, with clipping: 20 steps after the first point of the curve."""
    points = []
    spec = on_gpu(train_spec(model_spec(**METHODS[name]), clip=0.5, flip=True, batch=4))

    class Stop(BaseException):
        pass

    def progress(seen, loss):
        points.append(reads.count)
        if len(points) == 2:
            raise Stop

    digits = load_dataset("digits")
    with Reads() as reads, pytest.raises(Stop):
        train(spec, 4 * 2000, digits, tmp_path, snapshot_every=4 * 2000, progress=progress)
    assert points[1] - points[0] == 1  # the loss, once in 20 steps


@pytest.fixture
def without_values(monkeypatch):
    """What `meta` lacks: generators (the CPU's draw nothing there), autocast and fused AdamW."""
    adamw = torch.optim.AdamW
    monkeypatch.setattr(training, "generator", lambda *purpose, device="": generator(*purpose))
    monkeypatch.setattr(training, "autocast", lambda device, precision: nullcontext())
    monkeypatch.setattr(torch.optim, "AdamW", lambda p, fused, **rest: adamw(p, **rest))


@pytest.mark.parametrize("latents", [False, True])
@pytest.mark.parametrize("where", ["resident", "streamed"])
@pytest.mark.usefixtures("without_values")
def test_a_draw_waits_for_nothing(where, latents):
    spec = on_gpu(train_spec(model_spec(**EVERYTHING), flip=True))
    trainer = Trainer(spec, "meta")
    data = Data(split(latents), STREAMS, "meta", ROOM if where == "resident" else 0)
    batch = trainer.draw(data, Order(N, 32, 0))
    assert {tensor.device.type for tensor in batch.tensors()} == {"meta"}


CASES = [("dit", name) for name in METHODS] + [("dit", name) for name in OF_MAPS]
CASES += [(backbone, name) for backbone in ("uvit", "cat") for name in ("can-3", "adaln_single")]


@pytest.mark.parametrize(("backbone", "name"), CASES)
@pytest.mark.usefixtures("without_values")
def test_a_step_waits_for_nothing(backbone, name):
    """Every method: draw, loss, gradients, clipping, AdamW and average."""
    model = model_spec(**(METHODS | OF_MAPS)[name], backbone=backbone)
    trainer = Trainer(on_gpu(train_spec(model, clip=0.5)), "meta")
    data = Data(split(), model.embedder.streams, "meta", ROOM)
    assert trainer.step(data, Order(N, 32, 0)).is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):  # the test can fail
        trainer.ema.backbone.head.weight.sum().item()


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddim"])
def test_the_steps_of_a_sampling_wait_for_nothing(sampler):
    """After its first copies; the solver's own times lie on the CPU."""
    model, process = build(model_spec(**METHODS["can-3"])).to("meta"), Process("v", "cosine")
    guide = Guide(model, 1.5, {"label": torch.arange(6) % 3}, "meta")
    scheduler, x = solver(process, sampler, 4), torch.empty(6, *SHAPE, device="meta")
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(guide(x, t.float()), t, x).prev_sample
    assert x.is_meta and x.shape == (6, *SHAPE)
