"""The work that gpu_check.py times: training steps, samplings and single layers on one device."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cabench.cost.published import Published, published_spec
from cabench.cost.timing import DIFFUSION, trainer_of
from cabench.diffusion import graphs
from cabench.diffusion.process import Process
from cabench.diffusion.sampling import sample
from cabench.diffusion.training import autocast
from cabench.models import kernel_forms, kernels
from cabench.models.model import build_initialised
from cabench.models.streams import take
from cabench.records.spec import ModelSpec

Work = Callable[[], Any]
CLASSES, GUIDANCE = 1000, 1.5
BOTH = ["timestep", "label"]
NATIVE = {"dit": "adaln_zero", "uvit": "tokens", "cat": "adaln"}
ARMS = ("control", "can-3")
PRECISION = "bfloat16"


@dataclass(frozen=True)
class Model:
    """A network at a size, and the batch that it is timed with."""

    kind: str
    preset: str
    side: int  # of a latent of 4 channels
    batch: int
    patch: int = 2
    steps: int = 8  # of sampling

    def __str__(self) -> str:
        tokens = (self.side // self.patch) ** 2
        return f"{self.kind}-{self.preset}, {tokens} positions, batch {self.batch}"


def spec_of(model: Model, arm: str) -> ModelSpec:
    """`control`: native method, static depthwise convolution; `can-3`: CAN in their place."""
    published = Published(model.kind, model.preset, model.patch, model.side, 0, None, "")
    spec = published_spec(published, "normalised").dump()
    native = arm == "control"
    spec["backbone"] |= {"depthwise": True, "norm_affine": not native or model.kind == "uvit"}
    if model.kind == "cat":  # its convolution is part of the backbone
        del spec["backbone"]["depthwise"]
    spec["backbone"].pop("out_channels", None)
    spec["embedder"]["classes"] = {"label": CLASSES}
    kind = NATIVE[model.kind] if native else "can"
    spec["methods"] = [{"kind": kind, "version": 1, "options": {"source": BOTH}}]
    return ModelSpec.model_validate(spec)


def rehearse() -> None:
    """What is compiled is only traced: that takes seconds instead of a minute."""
    graphs.OPTIONS = {"backend": "aot_eager"}


# ---- cabench ------------------------------------------------------------------------------------


def training(
    model: Model, arm: str, device: str, compiled: bool = False, draw: bool = True
) -> Work:
    """A trial's training step; without `draw` it repeats one batch that lies on the device."""
    graphed = graphs.VERSION if compiled else None
    trainer, data, order = trainer_of(spec_of(model, arm), model.batch, device, PRECISION, graphed)
    if not draw:
        batch = trainer.draw(data, order)
        trainer.draw = lambda *_: batch  # pyright: ignore[reportAttributeAccessIssue]
    return lambda: trainer.step(data, order)


def sampling(model: Model, arm: str, device: str, compiled: bool = False) -> Work:
    """A batch of samples with guidance, bfloat16 in the network."""
    spec = spec_of(model, arm)
    network: Any = build_initialised(spec, 0).eval().to(device)
    if compiled:
        network = graphs.GraphedNetwork(network, spec, model.batch, model.batch, Path())
    process = Process(DIFFUSION.prediction, DIFFUSION.schedule)
    labels = {"label": torch.arange(model.batch) % CLASSES}

    def work() -> Tensor:
        with autocast(device, PRECISION):
            return sample(
                network, process, lambda rows: take(labels, rows), model.batch,
                spec.backbone.shape, 0, steps=model.steps, guidance=GUIDANCE,
                batch=model.batch, device=device,
            )  # fmt: skip

    return work


@contextmanager
def forms(text: str) -> Iterator[None]:
    """Forces forms of the conditional layers, as CABENCH_KERNELS does."""
    before = os.environ.get(kernel_forms.VARIABLE)
    os.environ[kernel_forms.VARIABLE] = text
    try:
        yield
    finally:
        del os.environ[kernel_forms.VARIABLE]
        if before is not None:
            os.environ[kernel_forms.VARIABLE] = before


def under(text: str, work: Work) -> Work:
    """The work with forced forms."""

    def run() -> Any:
        with forms(text):
            return work()

    return run


KERNELS = {"linear": 1, "depthwise": 3, "conv": 3}  # side of the kernel, by kind of layer


def layers(kind: str, shape: tuple[int, int, int, int], device: str) -> dict[str, Work]:
    """Forward and backward pass of a layer with a weight per sample, by form, and of a static one.

    shape: batch, side of the grid, channels in and out (depthwise: out is ignored).
    """
    batch, side, inputs, outputs = shape
    dtype, grid, k = torch.bfloat16, (side, side), KERNELS[kind]
    x_shape = (batch, inputs, *grid) if kind == "conv" else (batch, side * side, inputs)
    weight = {
        "linear": (outputs, inputs),
        "depthwise": (inputs, 1, k, k),
        "conv": (outputs, inputs, k, k),
    }[kind]
    call: dict[str, Callable[[Tensor, Tensor, str | None], Tensor]] = {
        "linear": lambda x, w, form: kernels.conditional_linear(x, w, None, form),
        "depthwise": lambda x, w, form: kernels.conditional_depthwise(x, w, None, grid, form),
        "conv": lambda x, w, form: kernels.conditional_conv(x, w, None, form),
    }

    def tensor(*size: int) -> Tensor:
        return torch.randn(*size, device=device, dtype=dtype).mul_(0.1).requires_grad_()

    x, own, shared = tensor(*x_shape), tensor(batch, *weight), tensor(1, *weight)

    def work(form: str | None, w: Tensor) -> Work:
        def run() -> None:
            y = call[kind](x, w, form)
            torch.autograd.grad(y.float().square().mean(), (x, w))

        return run

    return {"static": work(None, shared)} | {f: work(f, own) for f in kernel_forms.FORMS[kind]}


# ---- diffusers ----------------------------------------------------------------------------------


def peer(model: Model, device: str, compiled: bool) -> Any:
    """diffusers' DiT of the same shape."""
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    sizes = spec_of(model, "control").backbone.arguments
    network = DiTTransformer2DModel(
        num_attention_heads=sizes["heads"],
        attention_head_dim=sizes["width"] // sizes["heads"],
        in_channels=4,
        num_layers=sizes["depth"],
        sample_size=model.side,
        patch_size=model.patch,
        num_embeds_ada_norm=CLASSES,
    ).to(device)
    return torch.compile(network, dynamic=False, **graphs.OPTIONS) if compiled else network


def peer_training(model: Model, device: str, compiled: bool) -> Work:
    """The usual loop: draws on the device, autocast, fused AdamW, one average of all tensors."""
    network = peer(model, device, compiled)
    process = Process(DIFFUSION.prediction, DIFFUSION.schedule)
    parameters = list(network.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0, fused=True)
    average = [copy.deepcopy(p.detach()) for p in parameters]
    images = torch.randn(4 * model.batch, 4, model.side, model.side, device=device)
    classes = torch.randint(CLASSES, (len(images),), device=device)

    def step() -> None:
        rows = torch.randint(len(images), (model.batch,), device=device)
        x, labels = images[rows], classes[rows]
        times = process.times(torch.rand(model.batch, device=device))
        noised, target = process.noisy(x, torch.randn_like(x), times)
        with autocast(device, PRECISION):  # the model drops labels itself while it trains
            predicted = network(noised, timestep=times, class_labels=labels).sample
        F.mse_loss(predicted.float(), target).backward()
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1e-4)  # pyright: ignore

    return step


def peer_sampling(model: Model, device: str, compiled: bool) -> Work:
    """DPM-Solver++ with guidance, both branches in one batch, as diffusers' DiTPipeline does."""
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    network = peer(model, device, compiled).eval()
    process = Process(DIFFUSION.prediction, DIFFUSION.schedule)
    labels = torch.arange(model.batch, device=device) % CLASSES
    both = torch.cat([labels, torch.full_like(labels, CLASSES)])

    @torch.no_grad()
    def work() -> Tensor:
        scheduler = DPMSolverMultistepScheduler(**process.scheduler_options())
        scheduler.set_timesteps(model.steps)
        x = torch.randn(model.batch, 4, model.side, model.side, device=device)
        for t in scheduler.timesteps:
            pair = torch.cat([x, x])
            times = t.float().to(device, non_blocking=True).expand(len(pair))
            with autocast(device, PRECISION):
                out = network(pair, timestep=times, class_labels=both).sample
            conditional, null = out.float().chunk(2)
            x = scheduler.step(null + GUIDANCE * (conditional - null), t, x).prev_sample
        return ((x.clamp(-1, 1) + 1) * 127.5).to(torch.uint8).cpu()

    return work


def context_of_cpu(device: str) -> Any:
    """One thread on a CPU, as a trial has; nothing on a GPU."""
    from cabench.runtime.threads import one_thread

    return one_thread() if device == "cpu" else nullcontext()
