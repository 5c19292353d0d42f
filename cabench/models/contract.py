"""What a method must do in a model: act where something listens, on its source, by its parameters.

A method that does nothing would train and score as the network without it, and get a row.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cabench.errors import listed, near, shown
from cabench.models.conditioning.base import Method
from cabench.models.embedding import TEXT_TOKENS, TIMESTEP
from cabench.models.model import ConditionalModel, build_backbone, build_initialised
from cabench.models.operations import Conditioning
from cabench.models.sites import Layout
from cabench.models.streams import Streams
from cabench.records.spec import ModelSpec

SAMPLES = 16  # of a check; they differ in every stream
SPREAD = 0.1  # of the noise on all parameters, since maps and heads start at zero


def fault(spec: ModelSpec) -> str | None:
    """What is wrong with the parts of a model that come from plugins, or None.

    It runs them: forward and backward on random samples.
    """
    torch.manual_seed(0)
    model = build_initialised(spec, 0)
    if spec.backbone.plugin is not None and (text := _backbone_fault(spec, model)):
        return f"backbone '{spec.backbone.kind}': {text}"
    _, layout = build_backbone(spec)
    pairs = zip(spec.methods, model.methods.values(), strict=True)
    own = [method for part, method in pairs if part.plugin is not None]
    for at_start in (True, False):
        if not at_start:
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(SPREAD * torch.randn_like(p))
        for method in own:
            assert isinstance(method, Method)
            if text := next(_faults(spec, model, method, layout, at_start), None):
                return f"method '{method.name}': {text}"
    return None


def _backbone_fault(spec: ModelSpec, model: ConditionalModel) -> str | None:
    x = torch.randn(SAMPLES, *spec.backbone.shape)
    y = model(x, torch.linspace(0, 999, SAMPLES), _streams(spec))
    if y.shape != x.shape:
        return f"expected an output of {tuple(x.shape)}, as its input, got {tuple(y.shape)}"
    return None if torch.isfinite(y).all() else "its output is not finite"


def _faults(
    spec: ModelSpec, model: ConditionalModel, method: Method, layout: Layout, at_start: bool
) -> Iterator[str]:
    """What is wrong; with the parameters' initial values, only what is not finite."""
    x = torch.randn(SAMPLES, *spec.backbone.shape)
    t, streams = torch.linspace(0, 999, SAMPLES), _streams(spec)

    def produced(t: Tensor, streams: Streams) -> Conditioning:
        return method(model.embedder(t, streams))

    cond = produced(t, streams)
    if not isinstance(cond, Conditioning):
        yield f"its forward pass returns a {type(cond).__name__}, expected a Conditioning"
    yield from _unheard(cond, layout)
    output = model.backbone(x, cond)
    if not torch.isfinite(output).all():
        yield "its output is not finite"
    if at_start:
        yield from _infinite_gradients(method, output)
        return
    if torch.equal(output, model.backbone(x, Conditioning())):
        yield "it changes nothing: the output is that of the network without it"
    yield from _infinite_gradients(method, output)
    learned = [(name, p) for name, p in method.named_parameters() if p.requires_grad]
    idle = [name for name, p in learned if p.grad is None]
    if idle:
        yield f"nothing uses its parameters {listed(idle)}"
    for name in method.source:
        changed = {**streams, name: _rolled(streams[name])} if name in streams else streams
        other = produced(t.flip(0) if name == TIMESTEP else t, changed)
        if torch.equal(model.backbone(x, other), output):
            yield f"its output does not depend on '{name}', a stream of its source"


def _infinite_gradients(method: Method, output: Tensor) -> Iterator[str]:
    """Parameters whose gradient is not a finite number, such as that of a norm at zero."""
    method.zero_grad()
    output.square().mean().backward()
    grads = [(name, p.grad) for name, p in method.named_parameters() if p.grad is not None]
    if names := [name for name, grad in grads if not torch.isfinite(grad).all()]:
        yield f"the gradients of {listed(names)} are not finite"


def _unheard(cond: Conditioning, layout: Layout) -> Iterator[str]:
    """Addresses at which nothing listens."""
    listening = {
        "site": (cond.operations, [site.address for site in layout.sites]),
        "norm": (cond.modulation, [norm.address for norm in layout.norms]),
        "hook": (cond.branches, [branch.address for branch in layout.branches]),
    }
    for kind, (addresses, known) in listening.items():
        for address in addresses:
            if address not in known:
                text = f"it acts at {shown(address)}, where the backbone has no {kind}"
                yield f"{text}{near(address, known)}; it has {listed(known)}"
    for extra in cond.tokens:
        if not 0 <= extra.start < layout.blocks:
            yield f"its tokens join before block {extra.start}; the backbone has {layout.blocks}"


def _streams(spec: ModelSpec) -> dict[str, Tensor | tuple[Tensor, ...]]:
    streams: dict[str, Tensor | tuple[Tensor, ...]] = {
        name: torch.arange(SAMPLES) % classes for name, classes in spec.embedder.classes.items()
    }
    tokens = spec.text_tokens or TEXT_TOKENS
    for name, width in (spec.embedder.text or {}).items():
        mask = torch.ones(SAMPLES, tokens, dtype=torch.bool)
        streams[name] = torch.randn(SAMPLES, tokens, width), mask
    for name, numbers in (spec.embedder.vectors or {}).items():
        streams[name] = torch.randn(SAMPLES, numbers)
    for name, shape in (spec.embedder.maps or {}).items():
        streams[name] = torch.randn(SAMPLES, *shape)
    return streams


def _rolled(values: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """The stream with each sample's value at the next sample."""
    if isinstance(values, tuple):
        return tuple(tensor.roll(1, 0) for tensor in values)
    return values.roll(1, 0)
