"""MACs by fvcore (CPU tensors) or by torch's FlopCounterMode (meta device: shapes only).

Convention: batch 1, one network evaluation. A fused multiply-add is one MAC. Attention products and
weight generation count; norms, activations, embedding look-ups and biases do not. The conditioning
MACs are those that the methods add to the same backbone without conditioning.
"""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cabench.errors import CabenchError
from cabench.models.embedding import TEXT_TOKENS
from cabench.models.model import ConditionalModel, build, build_meta
from cabench.models.streams import Values
from cabench.records.schema import Cost, Macs, Params
from cabench.records.spec import EmbedderSpec, ModelSpec

NO_EMBEDDER = EmbedderSpec(version=1, normalise=True, width=1, classes={})  # no method uses it
VERSION = 3  # of the counting; in every key, so records of two conventions are never mixed
META_ABOVE = 50_000_000  # parameters: larger models are counted on the meta device

# Element-wise operators and look-ups: no MACs by the convention above. Sums are not among them,
# since an element-wise product with a sum over an axis is a matrix product.
UNCOUNTED = {
    "aten::add",
    "aten::add_",
    "aten::sub",
    "aten::mul",
    "aten::div",
    "aten::neg",
    "aten::pow",
    "aten::addcmul",
    "aten::zeros_like",
    "aten::rsqrt",
    "aten::sqrt",
    "aten::exp",
    "aten::sin",
    "aten::cos",
    "aten::gelu",
    "aten::silu",
    "aten::sigmoid",
    "aten::tanh",
    "aten::relu",
    "aten::softmax",
    "aten::where",
    "aten::embedding",
    "aten::index",
    "aten::gather",
    "aten::scatter_add",  # rows added at the places they were gathered from
    "aten::topk",
    "aten::repeat_interleave",
    "aten::expand_as",
    "aten::clamp",
    "aten::ones_like",
    "aten::new_ones",
    "aten::mT",
    "aten::unflatten",
    "aten::pixel_shuffle",
    "aten::pixel_unshuffle",
}
# Operators that move or view data, as they appear on the meta device, below autograd.
LAYOUT = {
    "aten::view",
    "aten::_unsafe_view",
    "aten::t",
    "aten::transpose",
    "aten::permute",
    "aten::expand",
    "aten::unsqueeze",
    "aten::squeeze",
    "aten::slice",
    "aten::select",
    "aten::split",
    "aten::unbind",
    "aten::cat",
    "aten::clone",
    "aten::_to_copy",
    "aten::detach",
    "aten::alias",
    "aten::reshape",
    "aten::zeros",
    "aten::arange",
    "aten::scalar_tensor",
}
COUNTED_ON_META = {
    "aten::mm",
    "aten::addmm",
    "aten::bmm",
    "aten::baddbmm",
    "aten::convolution",
    "aten::_safe_softmax",
    "aten::_softmax",  # attention is two bmm and this
    "aten::native_layer_norm",
    "aten::mean",  # of norms (RMS: pow, mean, rsqrt), which do not count
}


def _shape(value: Any) -> list[int]:
    return value.type().sizes()


def _attention(inputs: list[Any], outputs: list[Any]) -> float:
    """q k^T and its product with v: prod(q[:-1]) * k_len * (d_q + d_v)."""
    q, k, v = (_shape(i) for i in inputs[:3])
    return math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _baddbmm(inputs: list[Any], outputs: list[Any]) -> float:
    a, b = _shape(inputs[1]), _shape(inputs[2])
    return math.prod(a) * b[-1]


def _zero(inputs: list[Any], outputs: list[Any]) -> float:
    return 0.0


HANDLES: dict[str, Any] = {
    "aten::scaled_dot_product_attention": _attention,
    "aten::baddbmm": _baddbmm,
    "aten::layer_norm": _zero,
    "aten::rms_norm": _zero,
}


class _Batch1(nn.Module):
    """The model as a function of tensors only, which is what fvcore can trace."""

    def __init__(self, model: nn.Module, spec: ModelSpec):
        super().__init__()
        self.model, self.spec = model, spec

    def forward(self, x: torch.Tensor, t: torch.Tensor, *tensors: torch.Tensor) -> torch.Tensor:
        return self.model(x, t, streams_of(self.spec, tensors))


def streams_of(spec: ModelSpec, tensors: Iterable[torch.Tensor]) -> dict[str, Values]:
    """{stream: category} and {stream: (features, mask)} from the tensors of `inputs`."""
    each = iter(tensors)
    streams: dict[str, Values] = {name: next(each) for name in spec.embedder.classes}
    streams |= {name: (next(each), next(each)) for name in spec.embedder.text or {}}
    others = (*(spec.embedder.vectors or {}), *(spec.embedder.maps or {}))
    return streams | {name: next(each) for name in others}


def inputs(spec: ModelSpec, device: str, batch: int = 1) -> tuple[torch.Tensor, ...]:
    """x, t, an index for each category, features and mask for each text, vectors, maps."""
    x = torch.zeros(batch, *spec.backbone.shape, device=device)
    streams = [torch.zeros(batch, dtype=torch.long, device=device) for _ in spec.embedder.classes]
    tokens = spec.text_tokens or TEXT_TOKENS
    for features in (spec.embedder.text or {}).values():
        streams.append(torch.zeros(batch, tokens, features, device=device))
        streams.append(torch.ones(batch, tokens, dtype=torch.bool, device=device))
    for numbers in (spec.embedder.vectors or {}).values():
        streams.append(torch.zeros(batch, numbers, device=device))
    for shape in (spec.embedder.maps or {}).values():
        streams.append(torch.zeros(batch, *shape, device=device))
    return (x, torch.zeros(batch, device=device), *streams)


class Uncounted(CabenchError):
    """A model uses an operator without a counting rule."""


@dataclass(frozen=True)
class MacCount:
    """MACs of one forward pass at batch 1."""

    backbone: int  # of the backbone without conditioning
    total: int

    @property
    def conditioning(self) -> int:
        return self.total - self.backbone


def fvcore_macs(spec: ModelSpec) -> MacCount:
    """MACs of real forward passes, by fvcore; Uncounted on an operator without a rule."""
    return _split(_fvcore_total, spec)


def meta_macs(spec: ModelSpec) -> MacCount:
    """The same by FlopCounterMode on the meta device: no memory, seconds for the largest model."""
    return _split(_meta_total, spec)


def total_macs(spec: ModelSpec) -> int:
    """The total of `meta_macs` alone."""
    return _meta_total(spec)


def _fvcore_total(spec: ModelSpec) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; fvcore is built on it
        from fvcore.nn import FlopCountAnalysis

    model = _Batch1(build(spec), spec).eval()
    for p in model.parameters():
        nn.init.zeros_(p)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(model, inputs(spec, "cpu")).set_op_handle(**HANDLES)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    total = int(analysis.total())
    _refuse(set(analysis.unsupported_ops()) - UNCOUNTED)
    return total


def _meta_total(spec: ModelSpec) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    model = build_meta(spec)
    x, t, *rest = inputs(spec, "meta")
    streams = streams_of(spec, rest)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), torch.device("meta"), _Operators() as seen, counter:
        model(x, t, streams)
    _refuse(seen.names - UNCOUNTED - LAYOUT - COUNTED_ON_META)
    return counter.get_total_flops() // 2


class _Operators(TorchDispatchMode):
    """Collects the names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func._schema.name)
        return func(*args, **(kwargs or {}))


def _refuse(unknown: set[str]) -> None:
    if unknown:
        raise Uncounted(
            f"MACs: no rule to count {', '.join(sorted(unknown))}; add a handle or, for an "
            "element-wise operator, its name to cabench.cost.macs.UNCOUNTED"
        )


def _split(count: Callable[[ModelSpec], int], spec: ModelSpec) -> MacCount:
    """Count the model, and its backbone without methods and embedder."""
    total = count(spec)
    alone = spec.model_copy(update={"methods": (), "embedder": NO_EMBEDDER})
    # pydantic declares no hash; ours is in records.spec.Frozen
    backbone = _count_once(count, alone) if spec.methods else total  # pyright: ignore[reportArgumentType]
    return MacCount(backbone, total)


@functools.cache  # arms share their backbones
def _count_once(count: Callable[[ModelSpec], int], spec: ModelSpec) -> int:
    return count(spec)


def parameter_counts(spec: ModelSpec) -> Params:
    """Numbers of learned parameters, without building the model in memory."""
    return count_parameters(build_meta(spec))


def count_parameters(model: ConditionalModel) -> Params:
    """Numbers of learned parameters. Without methods the embedder has no use and counts as 0."""
    backbone, methods = _parameters(model.backbone), _parameters(model.methods)
    embedder = _parameters(model.embedder) if model.methods else 0
    total = backbone + embedder + methods
    return Params(backbone=backbone, embedder=embedder, methods=methods, total=total)


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def cost(spec: ModelSpec, meta: bool = False) -> Cost:
    """The MACs and parameters of a model. With `meta`, or if it is large, nothing is computed."""
    params = parameter_counts(spec)
    if meta or params.total > META_ABOVE:
        count, counter = meta_macs(spec), "FlopCounterMode"
    else:
        count, counter = fvcore_macs(spec), "fvcore"
    macs = Macs(
        backbone=count.backbone,
        conditioning=count.conditioning,
        total=count.total,
        counter=counter,
    )
    return Cost(macs=macs, params=params)
