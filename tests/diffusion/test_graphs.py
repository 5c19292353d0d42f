"""Steps and sampled networks for a GPU: they trace whole, and follow the uncompiled ones.

On a CPU torch.compile has no CUDA graphs. Here it traces the functions and runs them operation by
operation; that a graph overwrites its earlier results is imitated.
"""

import errno
import os
import threading

import pytest
import torch
from diffusion.test_compiled_network import BATCH, N, drawn, network
from diffusion.test_stack import ON_MAPS, digits  # noqa: F401  (a fixture)
from specs import METHODS, OF_MAPS, ON, model_spec, some, train_spec
from torch.testing import assert_close

from cabench.diffusion import graphs
from cabench.diffusion.batches import Data, Order
from cabench.diffusion.checkpoints import load_existing
from cabench.diffusion.graphs import GraphedNetwork
from cabench.diffusion.loop import train
from cabench.diffusion.training import Trainer
from cabench.errors import CabenchError
from cabench.models import cuda_forms, kernel_forms, kernels

MODELS = ON + ON_MAPS
STANDARD = [("dit", "many"), ("uvit", "can-3"), ("cat", "map_branch")]


def spec_of(name, backbone="dit", graphed=graphs.VERSION, **options):
    spec = train_spec(model_spec(**(METHODS | OF_MAPS)[name], backbone=backbone), **options)
    return spec.model_copy(update={"graphed": graphed})


@pytest.fixture
def traced(monkeypatch, tmp_path):
    """What torch.compile traces runs operation by operation, without a compiler."""
    for variable in graphs.CACHES:
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(graphs, "OPTIONS", {"backend": "aot_eager"})
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def overwritten(monkeypatch, tmp_path):
    """Functions are not compiled; each call overwrites the results of the call before."""
    for variable in graphs.CACHES:
        monkeypatch.setenv(variable, str(tmp_path))

    def compile(function, **_):
        earlier = []

        def run(*inputs):
            for tensor in earlier:
                tensor.detach().fill_(torch.nan)
            results = function(*inputs)
            earlier[:] = results if isinstance(results, tuple) else [results]
            return results

        return run

    monkeypatch.setattr(torch, "compile", compile)


@pytest.mark.parametrize("model", some(MODELS, STANDARD), ids="-".join)
def test_a_compiled_step_follows_the_uncompiled_one(model, traced, digits):  # noqa: F811
    backbone, name = model
    losses, networks = [], []
    for graphed in (None, graphs.VERSION):
        trainer = Trainer(spec_of(name, backbone, graphed, lr=1e-3))
        split = digits.split("generator-train")
        data = Data(split, trainer.spec.model.embedder.streams)
        order = Order(len(data), 32, 0)
        losses.append(torch.stack([trainer.step(data, order) for _ in range(3)]))
        networks.append(trainer.model.state_dict())
    assert_close(losses[1], losses[0], atol=1e-5, rtol=1e-5)
    for key, value in networks[0].items():
        assert_close(networks[1][key], value, atol=3e-5, rtol=1e-3)


@pytest.mark.parametrize("model", some(MODELS, [("dit", "many")]), ids="-".join)
def test_a_compiled_network_draws_the_networks_samples(model, traced, tmp_path):
    backbone, name = model
    eager, spec = network(name, backbone)
    fast = GraphedNetwork(eager, spec, N, BATCH, tmp_path)
    assert_close(
        drawn(fast, spec, guidance=2.0), drawn(eager, spec, guidance=2.0), atol=2e-4, rtol=1e-3
    )


def test_nothing_that_is_kept_is_overwritten_by_a_later_step(overwritten, digits, tmp_path):  # noqa: F811
    curves = []
    for graphed in (None, graphs.VERSION):
        spec, folder = spec_of("can-3", graphed=graphed), tmp_path / f"{graphed}"
        # a point of the curve is the mean over several steps
        path = train(spec, 32 * 210, digits, folder, 32 * 210, cache=tmp_path)
        curves.append(load_existing(path)[1]["curve"])
    assert curves[0]["loss"] == curves[1]["loss"]
    assert len(curves[0]["loss"]) == 105


def test_nothing_that_is_kept_is_overwritten_in_sampling(overwritten, tmp_path):
    eager, spec = network()
    fast = GraphedNetwork(eager, spec, N, BATCH, tmp_path)
    samples = drawn(fast, spec, guidance=2.0)
    assert_close(samples, drawn(eager, spec, guidance=2.0), atol=2e-4, rtol=1e-3)


def test_forms_are_chosen_from_the_table_of_cuda_as_a_step_is_traced(
    traced,
    digits,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    shapes = [("depthwise", 32, 16, 96, 96, 3), ("linear", 32, 16, 24, 24, 1)]
    table = [cuda_forms.Timing(*shape, form="loop", ms=1.0) for shape in shapes]
    cuda_forms.write(tmp_path / "table.csv", table)
    monkeypatch.setattr(cuda_forms, "TABLE", tmp_path / "table.csv")
    monkeypatch.setitem(kernels.RULES, "cpu", cuda_forms.choose_cuda)
    used = []
    for kind in ("depthwise", "linear"):
        loop = kernel_forms.FORMS[kind]["loop"]
        monkeypatch.setitem(
            kernel_forms.FORMS[kind],
            "loop",
            lambda *a, loop=loop, k=kind: used.append(k) or loop(*a),
        )
    trainer = Trainer(spec_of("can-3"))
    data = Data(digits.split("generator-train"), ("label",))
    trainer.step(data, Order(len(data), 32, 0))
    assert set(used) == {"depthwise", "linear"}


def test_what_cannot_be_traced_is_one_line(traced):
    def function(x):
        print(x)  # breaks the graph
        return x

    with pytest.raises(CabenchError, match="training fails when compiled: .*compile: false"):
        graphs.compiled(function, "training")(torch.ones(2))


def test_code_is_kept_in_the_cache(monkeypatch, tmp_path):
    for variable in graphs.CACHES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", "elsewhere")
    with graphs.own_memory(tmp_path):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled" / "inductor")
        assert os.environ["TRITON_CACHE_DIR"] == "elsewhere"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")  # which stays set


def test_training_and_sampling_free_their_graphs_in_their_thread(
    overwritten,
    digits,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    threads = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: threads.append(threading.get_ident()))
    folder = tmp_path / "run"
    spec = spec_of("can-3")
    worker = threading.Thread(target=lambda: train(spec, 64, digits, folder, 64, cache=tmp_path))
    worker.start()
    identity = worker.ident
    worker.join()
    assert threads == [identity, identity]  # before and after


def test_a_fault_in_training_frees_the_graphs_too(traced, monkeypatch, tmp_path):
    resets = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    with pytest.raises(RuntimeError, match="disk full"), graphs.own_memory(tmp_path):
        raise RuntimeError("disk full")
    assert len(resets) == 2


class TestFault:
    """The attempt to compile on a GPU, on a machine that may have none."""

    @pytest.fixture(autouse=True)
    def forgotten(self):
        graphs.fault.cache_clear()
        yield
        graphs.fault.cache_clear()

    def raising(self, monkeypatch, error):
        devices = []

        def attempt(device):
            devices.append((device, threading.current_thread() is threading.main_thread()))
            raise error

        monkeypatch.setattr(graphs, "_attempt", attempt)
        return devices

    def test_the_gpu_that_was_asked_for_is_tried_in_a_thread_as_ray_does(self, monkeypatch):
        devices = self.raising(monkeypatch, RuntimeError("backend='inductor' raised:\nno Triton\n"))
        assert graphs.fault("cuda:1") == "RuntimeError: no Triton"
        assert devices == [("cuda:1", False)]

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (torch.OutOfMemoryError("CUDA out of memory\nfree"), "CUDA out of memory"),
            (OSError(errno.ENOSPC, "disk full"), rf"\[Errno {errno.ENOSPC}\] disk full"),
        ],
        ids=["memory", "disk"],
    )
    def test_a_lack_of_memory_does_not_choose_eager_trials(self, error, text, monkeypatch):
        self.raising(monkeypatch, error)
        with pytest.raises(CabenchError, match=f"^--device: 'cuda' cannot be used here: {text}$"):
            graphs.fault("cuda")

    def test_the_attempt_runs_both_passes_and_leaves_the_environment(self, traced):
        before = dict(os.environ)
        graphs._attempt("cpu")
        assert dict(os.environ) == before


def test_a_failing_graph_is_one_line_and_a_lack_of_memory_stays_one(monkeypatch):
    errors = [RuntimeError("capture failed\nmore"), torch.OutOfMemoryError("out of memory")]

    def compile(function, **_):
        def run(*inputs):
            raise errors.pop(0)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    call = graphs.compiled(lambda: None, "sampling")
    with pytest.raises(CabenchError, match="^sampling fails when compiled: capture failed; set"):
        call()
    with pytest.raises(torch.OutOfMemoryError):
        call()
