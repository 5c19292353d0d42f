"""MACs by fvcore (CPU tensors) or by torch's FlopCounterMode (meta device: shapes only).

Convention: batch 1, one network evaluation, one fused multiply-add = one MAC; attention products
and weight generation included; norms, activations, embedding look-ups and biases not. Of
conditioning: whatever the methods add to the same backbone told nothing, inside it or beside it.
"""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cabench.errors import CabenchError
from cabench.models.embedding import TEXT_TOKENS
from cabench.models.model import ConditionalModel, build, build_meta
from cabench.models.streams import Values
from cabench.records.spec import EmbedderSpec, ModelSpec

NO_EMBEDDER = EmbedderSpec(version=1, normalise=True, width=1, classes={})  # no method uses it
VERSION = 3  # of the counting: in every key, so that records of another convention are not mixed
META_ABOVE = 50_000_000  # parameters: larger models are counted on the meta device

# Element-wise and look-up operators: no multiply-accumulates by the convention above. Sums are not
# among them: a product summed over an axis is a matrix product in disguise.
UNCOUNTED = {
    "aten::add",
    "aten::add_",
    "aten::sub",
    "aten::mul",
    "aten::div",
    "aten::neg",
    "aten::pow",
    "aten::addcmul",
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
    "aten::topk",
    "aten::repeat_interleave",
    "aten::clamp",
    "aten::ones_like",
    "aten::new_ones",
    "aten::mT",
    "aten::unflatten",
    "aten::pixel_shuffle",
    "aten::pixel_unshuffle",
}
# As they appear on the meta device, below autograd.
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
    "aten::mean",  # norms (RMS: pow, mean, rsqrt): by convention none
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
        return self.model(x, t, _streams(self.spec, tensors))


def _streams(spec: ModelSpec, tensors: Iterable[torch.Tensor]) -> dict[str, Values]:
    """{stream: category} and {stream: (features, mask)} from the tensors of `_inputs`."""
    each = iter(tensors)
    streams: dict[str, Values] = {name: next(each) for name in spec.embedder.classes}
    return streams | {name: (next(each), next(each)) for name in spec.embedder.text or {}}


def _inputs(spec: ModelSpec, device: str) -> tuple[torch.Tensor, ...]:
    """x, t, an index for each category, features and mask for each text; batch 1."""
    x = torch.zeros(1, *spec.backbone.shape, device=device)
    streams = [torch.zeros(1, dtype=torch.long, device=device) for _ in spec.embedder.classes]
    tokens = spec.text_tokens or TEXT_TOKENS
    for features in (spec.embedder.text or {}).values():
        streams.append(torch.zeros(1, tokens, features, device=device))
        streams.append(torch.ones(1, tokens, dtype=torch.bool, device=device))
    return (x, torch.zeros(1, device=device), *streams)


def fvcore_macs(spec: ModelSpec) -> dict[str, int]:
    """{backbone, conditioning, total} of real forward passes; raises on uncounted operators."""
    return _split(_fvcore_total, spec)


def meta_macs(spec: ModelSpec) -> dict[str, int]:
    """The same by FlopCounterMode on the meta device: no memory, seconds for the largest model."""
    return _split(_meta_total, spec)


def _fvcore_total(spec: ModelSpec) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; fvcore is built on it
        from fvcore.nn import FlopCountAnalysis

    model = _Batch1(build(spec), spec).eval()
    for p in model.parameters():
        nn.init.zeros_(p)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(model, _inputs(spec, "cpu")).set_op_handle(**HANDLES)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    total = int(analysis.total())
    _refuse(set(analysis.unsupported_ops()) - UNCOUNTED)
    return total


def _meta_total(spec: ModelSpec) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    model = build_meta(spec)
    x, t, *rest = _inputs(spec, "meta")
    streams = _streams(spec, rest)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), torch.device("meta"), _Operators() as seen, counter:
        model(x, t, streams)
    _refuse(seen.names - UNCOUNTED - LAYOUT - COUNTED_ON_META)
    return counter.get_total_flops() // 2


class _Operators(TorchDispatchMode):
    """Notes the names of all operators that run."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func._schema.name)
        return func(*args, **(kwargs or {}))


def _refuse(odd: set[str]) -> None:
    if odd:
        raise CabenchError(
            f"MACs: no rule to count {', '.join(sorted(odd))}; add a handle or, for an "
            "element-wise operator, its name to cabench.cost.macs.UNCOUNTED"
        )


def _split(count: Callable[[ModelSpec], int], spec: ModelSpec) -> dict[str, int]:
    """MACs of the backbone without conditioning, and what the methods add to it."""
    total = count(spec)
    alone = spec.model_copy(update={"methods": (), "embedder": NO_EMBEDDER})
    # pydantic declares no hash; ours is in records.spec.Frozen
    backbone = _count_once(count, alone) if spec.methods else total  # pyright: ignore[reportArgumentType]
    return {"backbone": backbone, "conditioning": total - backbone, "total": total}


@functools.cache  # arms share their backbones
def _count_once(count: Callable[[ModelSpec], int], spec: ModelSpec) -> int:
    return count(spec)


def parameter_counts(spec: ModelSpec) -> dict[str, int]:
    """Learned numbers: {backbone, embedder, methods, total}."""
    return count_parameters(build_meta(spec))


def count_parameters(model: ConditionalModel) -> dict[str, int]:
    """Learned numbers of a model: {backbone, embedder, methods, total}."""
    parts = {
        name: sum(p.numel() for p in getattr(model, name).parameters())
        for name in ("backbone", "embedder", "methods")
    }
    if not model.methods:
        parts["embedder"] = 0  # nothing uses it
    return parts | {"total": sum(parts.values())}


def cost(spec: ModelSpec, meta: bool = False) -> dict[str, Any]:
    """A record's `cost`: MACs with the counter's name, and parameters; `meta`: run nothing."""
    params = parameter_counts(spec)
    if meta or params["total"] > META_ABOVE:
        return {"macs": meta_macs(spec) | {"counter": "FlopCounterMode"}, "params": params}
    return {"macs": fvcore_macs(spec) | {"counter": "fvcore"}, "params": params}
