"""Resolved model specs and small files, as many tests want them."""

from __future__ import annotations

import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ["timestep", "label"]


def write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    return path


def model_spec(
    methods, depthwise=True, affine=False, preset="micro", backbone="dit", **more
) -> dict:
    """A resolved model spec without a study: pictures of 1x8x8, 10 labels."""
    from cabench.registry import BACKBONES

    kind = BACKBONES.get(backbone)
    sizes = kind.presets[preset]
    built = {
        "kind": backbone,
        "version": 1,
        "shape": [1, 8, 8],
        **sizes,
        "patch": 2,
        "depthwise": depthwise,
        "norm_affine": affine,
    } | more
    embedder = {
        "version": 1,
        "width": kind.condition_width(sizes),
        "normalise": True,
        "classes": {"label": 10},
    }
    return {"backbone": built, "embedder": embedder, "methods": methods}


def method(kind, source=None, **options) -> dict:
    return {"kind": kind, "version": 1, "options": {"source": source or SOURCE, **options}}


TIMESTEP = ["timestep"]
# Every method in every form, as (spec builder arguments): the tests of the seam run over all.
METHODS = {
    "adaln_zero": dict(methods=[method("adaln_zero")]),
    "can-3": dict(methods=[method("can")], affine=True),
    "can-all": dict(methods=[method("can", sites="all")], affine=True),
    "can-unshared": dict(methods=[method("can", shared=False)], affine=True),
    "can-bias": dict(methods=[method("can", bias=True)], affine=True),
    "can-bottleneck": dict(methods=[method("can", generator="bottleneck", rank=5)], affine=True),
    "can-mlp": dict(methods=[method("can", generator="mlp")], affine=True),
    "native+can-3": dict(methods=[method("adaln_zero"), method("can")]),
    "can-gate": dict(methods=[method("can")], affine=True, static_gate=True),
    "mixture-add": dict(methods=[method("kernel_mixture", kernels=2)], affine=True),
    "mixture-condconv": dict(
        methods=[method("kernel_mixture", form="condconv", kernels=3, sites="all")], affine=True
    ),
    "mixture-convex": dict(methods=[method("kernel_mixture", form="convex")], affine=True),
    "timestep_mixture": dict(
        methods=[method("timestep_mixture", TIMESTEP), method("can", ["label"])], affine=True
    ),
    "lora": dict(methods=[method("lora", bases=3)], affine=True),
    "hyper_lora": dict(methods=[method("hyper_lora")], affine=True),
    "text_kernels": dict(methods=[method("text_kernels")], affine=True),
    "adaln": dict(methods=[method("adaln")]),
    "adaln-gate": dict(methods=[method("adaln")], static_gate=True),
    "adaln_single": dict(methods=[method("adaln_single")]),
    "film": dict(methods=[method("film")], affine=True),
    "tokens": dict(methods=[method("tokens")], affine=True),
    "tokens-late": dict(methods=[method("tokens", count=3, start="middle")], affine=True),
    "cross_attention": dict(methods=[method("cross_attention")], affine=True),
    "moe": dict(methods=[method("moe", top=1), method("adaln", ["label"])]),
    "many": dict(
        methods=[
            method("adaln_single"),
            method("can"),
            method("lora"),
            method("tokens"),
            method("cross_attention"),
            method("moe", SOURCE),
        ],
    ),
}
ONE_STREAM = {
    name: dict(methods=[method("can", [name])], affine=True) for name in ("timestep", "label")
}
# On the other backbones one form of each method, CAN's placements among them.
ELSEWHERE = (
    "adaln_zero",
    "can-3",
    "can-all",
    "mixture-condconv",
    "timestep_mixture",
    "lora",
    "hyper_lora",
    "text_kernels",
    "adaln_single",
    "film",
    "tokens-late",
    "cross_attention",
    "moe",
    "many",
)
TOKENS = ("tokens-late", "many")  # cat has no place for tokens
ON = [("dit", m) for m in METHODS] + [("uvit", m) for m in ELSEWHERE]
ON += [("cat", m) for m in ELSEWHERE if m not in TOKENS]
