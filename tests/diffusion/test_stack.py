"""Stacks of seeds: the traced gradient is the network's, and each run has the bits it has alone."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from specs import METHODS, OF_MAPS, ON, model_spec, some, train_spec

from cabench.data import load_dataset
from cabench.data.maps import edges
from cabench.diffusion import compiled, stack
from cabench.diffusion.batches import Batch, Data, Order
from cabench.diffusion.checkpoints import load_existing
from cabench.diffusion.compiled import traced
from cabench.diffusion.loop import Job, train
from cabench.diffusion.losses import batch_loss
from cabench.diffusion.training import Diverged, Trainer
from cabench.errors import CabenchError
from cabench.models.kernel_forms import composed

needs_compiler = pytest.mark.skipif(compiled.compiler() is None, reason="needs a C++ compiler")


def spec_of(name="can-3", backbone="dit", **options):
    spec = train_spec(model_spec(**(METHODS | OF_MAPS)[name], backbone=backbone), **options)
    return spec.model_copy(update={"compiled": compiled.VERSION})


@pytest.fixture(scope="module")
def digits():
    """Digits with a map of their edges."""
    dataset = load_dataset("digits")
    splits = {
        name: dataclasses.replace(split, maps={"edges": edges(split.images)})
        for name, split in dataset.splits.items()
    }
    return dataclasses.replace(dataset, splits=splits, fingerprint="")


@pytest.fixture
def uncompiled(monkeypatch):
    """Stacks run the traced function itself: compiling it takes a minute."""

    def gradient(model, spec, batch, cache):
        function = traced(model, batch)

        def run(parameters, batch):
            with composed():
                *gradients, losses = function(*parameters, *batch.tensors())
            return gradients, losses

        return run

    monkeypatch.setattr(stack, "gradient", gradient)


def alone(trainer, batch):
    """The gradient of one run's next step, as autograd gives it to its parameters."""
    loss, error = batch_loss(trainer.model, batch)
    loss.backward()
    return error


STANDARD = [
    ("dit", "adaln_zero"),
    ("dit", "can-3"),
    ("dit", "many"),
    ("uvit", "can-3"),
    ("cat", "can-3"),
    ("dit", "map_concat"),
    ("cat", "map_branch"),
]
ON_MAPS = [(backbone, name) for backbone in ("dit", "uvit", "cat") for name in OF_MAPS]


@pytest.mark.parametrize("model", some(ON + ON_MAPS, STANDARD), ids="-".join)
def test_the_traced_gradient_is_that_of_each_network(model, digits):
    backbone, name = model
    trainers = [Trainer(spec_of(name, backbone, seed=seed)) for seed in (0, 1)]
    names = trainers[0].model.embedder.streams
    data = Data(digits.split("generator-train"), names)
    with torch.no_grad():  # zeros hide the gradient of what they multiply
        for trainer in trainers:
            for p in trainer.model.parameters():
                p.add_(torch.randn(p.shape) * 0.05)
    batches = [trainer.draw(data, Order(len(data), 32, 0)) for trainer in trainers]
    pairs = zip(*(trainer.model.parameters() for trainer in trainers), strict=True)
    parameters = [torch.stack(pair).detach() for pair in pairs]
    both = Batch.stack(batches)
    with composed():
        function = traced(trainers[0].model, both)
        *gradients, losses = function(*parameters, *both.tensors())
    for i, (trainer, batch) in enumerate(zip(trainers, batches, strict=True)):
        torch.testing.assert_close(losses[i], alone(trainer, batch).detach())
        for actual, (name, p) in zip(gradients, trainer.model.named_parameters(), strict=True):
            expected = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(actual[i], expected, atol=2e-6, rtol=2e-4, msg=name)


def trained(folder, digits, seeds=(0,), images=128, beside=(), **options):
    """The averaged network of the first seed after training it with the others."""
    first, *rest = [
        Job(spec_of(seed=seed, **options), folder / str(seed)) for seed in (*seeds, *beside)
    ]
    path = train(
        first.spec, images, digits, first.folder, snapshot_every=64, beside=rest, cache=folder
    )
    return load_file(path)


def same(a, b):
    return set(a) == set(b) and all(torch.equal(a[k], b[k]) for k in a)


def test_a_stack_follows_the_single_runs(tmp_path, digits, uncompiled):
    """To rounding: the compiled step sums in another order."""
    trained(tmp_path / "stack", digits, beside=(1,))
    for seed in (0, 1):
        single = spec_of(seed=seed).model_copy(update={"compiled": None})
        path = train(single, 128, digits, tmp_path / f"single {seed}", snapshot_every=64)
        stacked = load_file(tmp_path / "stack" / str(seed) / path.name)
        for name, expected in load_file(path).items():
            torch.testing.assert_close(stacked[name], expected, atol=1e-5, rtol=1e-4, msg=name)


def test_all_runs_of_a_stack_end_with_their_own_files(tmp_path, digits, uncompiled):
    trained(tmp_path, digits, beside=(1, 2))
    for seed in (0, 1, 2):
        _, metadata = load_existing(tmp_path / str(seed) / "ema-0000000128.safetensors")
        assert metadata["curve"]["images"][-1] == 128 and metadata["seconds"] > 0
        assert set(metadata["curve"]["weights"]["sites"]) == {
            "attn_out",
            "depthwise",
            "patch_embed",
        }
    networks = [load_file(tmp_path / s / "ema-0000000128.safetensors") for s in "012"]
    assert not same(networks[0], networks[1]) and not same(networks[1], networks[2])


def test_runs_that_were_stopped_at_different_times_go_on_together(tmp_path, digits, uncompiled):
    trained(tmp_path / "a", digits, seeds=(1,), images=64)
    trained(tmp_path / "a", digits, images=192, beside=(1, 2))
    trained(tmp_path / "b", digits, images=192, beside=(1, 2))
    for seed in "012":
        a, b = (
            load_file(tmp_path / folder / seed / "ema-0000000192.safetensors") for folder in "ab"
        )
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=1e-5)


def test_one_seeds_fault_leaves_the_others(tmp_path, digits, uncompiled, monkeypatch):
    draw = Trainer.draw

    def poisoned(trainer, data, order):
        batch = draw(trainer, data, order)
        if trainer.spec.seed == 1 and trainer.seen >= 64:
            batch.noised.fill_(float("nan"))
        return batch

    without = trained(tmp_path / "without", digits, beside=(2,))
    monkeypatch.setattr(Trainer, "draw", poisoned)
    with_a_fault = trained(tmp_path / "a", digits, beside=(1, 2))
    for name in without:
        torch.testing.assert_close(with_a_fault[name], without[name], atol=1e-6, rtol=1e-5)
    names = {path.parent.name for path in (tmp_path / "a").glob("*/ema-0000000128.safetensors")}
    assert names == {"0", "2"}
    with pytest.raises(Diverged, match="nan after 96 images"):
        trained(tmp_path / "a", digits, seeds=(1,))


@needs_compiler
@pytest.mark.full
@pytest.mark.parametrize("model", ON, ids="-".join)
def test_a_stack_of_any_size_has_the_same_bits(model, tmp_path, digits):
    (backbone, name), networks = model, {}
    for size in (1, 2, 3, 4):
        networks[size] = trained(
            tmp_path / str(size), digits, beside=range(1, size), images=160,
            backbone=backbone, name=name,
        )  # fmt: skip
        assert same(networks[size], networks[1]), size
    assert len(list((tmp_path / "1" / "compiled").glob("*.pt2"))) == 1


@needs_compiler
@pytest.mark.full
def test_a_library_is_compiled_once(tmp_path, digits, monkeypatch):
    trained(tmp_path, digits, images=64)
    monkeypatch.setattr(compiled, "_compile", None)
    first = load_file(tmp_path / "0" / "ema-0000000064.safetensors")
    (tmp_path / "0").rename(tmp_path / "first")
    assert same(first, trained(tmp_path, digits, images=64))


def test_a_step_that_cannot_be_compiled_is_one_line(tmp_path, digits, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("g++ failed")

    monkeypatch.setattr(torch._inductor, "aot_compile", fail)
    with pytest.raises(
        CabenchError, match="cannot be compiled: RuntimeError: g\\+\\+ failed"
    ) as error:
        trained(tmp_path, digits, images=64)
    assert "`compile: false`" in str(error.value) and "\n" not in str(error.value)
