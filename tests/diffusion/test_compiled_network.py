"""Sampling by a compiled network: the traced function is the network, few libraries serve all."""

import pytest
import torch
from specs import METHODS, OF_MAPS, ON, model_spec, some
from torch.testing import assert_close

from cabench.diffusion import compiled
from cabench.diffusion.compiled_network import CompiledNetwork
from cabench.diffusion.process import Process
from cabench.diffusion.sampling import sample
from cabench.errors import CabenchError
from cabench.models.kernel_forms import composed
from cabench.models.model import build_initialised

needs_compiler = pytest.mark.skipif(compiled.compiler() is None, reason="needs a C++ compiler")
N, BATCH = 44, 32  # the second batch is not full
STANDARD = [("dit", "adaln_zero"), ("dit", "native+can-3"), ("dit", "many"), ("cat", "map_branch")]
ON_MAPS = [(backbone, name) for backbone in ("dit", "uvit", "cat") for name in OF_MAPS]


def network(name="native+can-3", backbone="dit"):
    """A network whose methods have an effect, and its spec."""
    spec = model_spec(**(METHODS | OF_MAPS)[name], backbone=backbone)
    model = build_initialised(spec, 0).eval()
    with torch.no_grad():  # methods start without an effect
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(0)) * 0.05)
    return model, spec


def streams_of(spec):
    """Streams of the samples at an index."""
    embedder, g = spec.embedder, torch.Generator().manual_seed(1)
    labels = {name: torch.arange(N) * 7 % count for name, count in embedder.classes.items()}
    shapes = (embedder.maps or {}).items()
    every = labels | {name: torch.randn(N, *shape, generator=g) for name, shape in shapes}
    return lambda index: {name: values[index] for name, values in every.items()}


def drawn(network, spec, **options):
    """Two steps of sampling, as floats."""
    process = Process("v", "cosine")
    return sample(
        network, process, streams_of(spec), N, spec.backbone.shape, seed=3, steps=2, batch=BATCH,
        decode=lambda x: x, **options,
    )  # fmt: skip


@pytest.fixture
def traced(monkeypatch):
    """The traced function runs without a compiler; returns the shapes that would be compiled."""
    shapes = []

    def library(self, streams, inputs, drops):
        function = self.traced(streams, drops)
        shapes.append((len(inputs[0]), len(inputs[2])))
        compiled_for = [tensor.shape for tensor in inputs]

        def run(tensors):
            assert [tensor.shape for tensor in tensors[-len(inputs) :]] == compiled_for
            with composed(), torch.no_grad():
                return function(*tensors)

        return run

    monkeypatch.setattr(CompiledNetwork, "_library", library)
    return shapes


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("model", some(ON + ON_MAPS, STANDARD), ids="-".join)
def test_the_traced_network_draws_the_networks_samples(model, guidance, traced, tmp_path):
    backbone, name = model
    eager, spec = network(name, backbone)
    fast = CompiledNetwork(eager, spec, N, BATCH, tmp_path)
    assert_close(
        drawn(fast, spec, guidance=guidance), drawn(eager, spec, guidance=guidance),
        atol=2e-4, rtol=1e-3,
    )  # fmt: skip


@pytest.mark.parametrize(("guidance", "shape"), [(1.0, (32, 16)), (2.0, (64, 16))])
def test_one_library_serves_full_and_other_batches(guidance, shape, traced, tmp_path):
    eager, spec = network()
    drawn(CompiledNetwork(eager, spec, N, BATCH, tmp_path), spec, guidance=guidance)
    assert traced == [shape]  # of 44 samples; of 10 classes, and of no class with guidance


def test_a_guidance_interval_takes_a_second_library(traced, tmp_path):
    eager, spec = network()
    fast = CompiledNetwork(eager, spec, N, BATCH, tmp_path)
    drawn(fast, spec, guidance=2.0, interval=(0.0, 0.5))
    assert sorted(traced) == [(32, 16), (64, 16)]


@pytest.mark.parametrize("rows", [4, 5])
def test_with_a_condition_of_its_own_per_sample_and_the_null_one(rows, traced, tmp_path):
    """Outside of the guidance interval there are more conditions than samples."""
    eager, spec = network()
    fast = CompiledNetwork(eager, spec, rows, rows, tmp_path)
    for count in (rows + 1, rows):
        x, index = torch.randn(rows, *spec.backbone.shape), torch.arange(rows) % count
        t, labels = torch.full((count,), 300.0), {"label": torch.arange(count)}
        drop = torch.arange(count) == count - 1
        assert_close(fast(x, t, labels, drop, index), eager(x, t, labels, drop, index, {}))


def test_a_sample_does_not_depend_on_the_rows_that_fill_its_batch(traced, tmp_path):
    eager, spec = network()
    fast = CompiledNetwork(eager, spec, N, BATCH, tmp_path)
    x, index = torch.randn(BATCH, *spec.backbone.shape), torch.arange(BATCH) % 10
    t, labels = torch.full((10,), 300.0), {"label": torch.arange(10)}
    whole = fast(x, t, labels, None, index)
    assert torch.equal(fast(x[:12], t, labels, None, index[:12]), whole[:12])


@needs_compiler
@pytest.mark.full
@pytest.mark.parametrize("model", ON, ids="-".join)
def test_the_compiled_network_draws_the_networks_samples(model, tmp_path):
    backbone, name = model
    eager, spec = network(name, backbone)
    first, again = (
        drawn(CompiledNetwork(eager, spec, N, BATCH, tmp_path), spec, guidance=2.0)
        for _ in range(2)
    )
    assert torch.equal(first, again)
    assert_close(first, drawn(eager, spec, guidance=2.0), atol=2e-4, rtol=1e-3)
    assert len(list((tmp_path / "compiled").glob("*.pt2"))) == 1


def test_a_network_that_cannot_be_compiled_is_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("g++ failed")

    monkeypatch.setattr(torch._inductor, "aot_compile", fail)
    eager, spec = network()
    with pytest.raises(CabenchError, match="the network cannot be compiled: RuntimeError") as error:
        drawn(CompiledNetwork(eager, spec, N, BATCH, tmp_path), spec)
    assert "`compile: false` under `sampling`" in str(error.value) and "\n" not in str(error.value)
