"""Resolved model specs and small files, as many tests want them."""

from __future__ import annotations

import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ["timestep", "label"]


def write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    return path


def model_spec(methods, depthwise=True, affine=False, preset="micro", **more) -> dict:
    """A resolved model spec without a study: DiT on 1x8x8 pictures, 10 labels."""
    from cabench.models.backbones.dit import DiT

    sizes = DiT.presets[preset]
    backbone = {"kind": "dit", "version": 1, "shape": [1, 8, 8], **sizes, "patch": 2,
                "depthwise": depthwise, "norm_affine": affine} | more  # fmt: skip
    embedder = {"version": 1, "width": sizes["width"], "normalise": True, "classes": {"label": 10}}
    return {"backbone": backbone, "embedder": embedder, "methods": methods}


def method(kind, source=None, **options) -> dict:
    return {"kind": kind, "version": 1, "options": {"source": source or SOURCE, **options}}


# Every method in every form, as (spec builder arguments): the tests of the seam run over all.
METHODS = {
    "adaln_zero": dict(methods=[method("adaln_zero")]),
    "can-3": dict(methods=[method("can")], affine=True),
    "can-all": dict(methods=[method("can", sites="all")], affine=True),
    "can-unshared": dict(methods=[method("can", shared=False)], affine=True),
    "can-bias": dict(methods=[method("can", bias=True)], affine=True),
    "can-bottleneck": dict(
        methods=[method("can", generator="bottleneck", rank=5)], affine=True
    ),
    "native+can-3": dict(methods=[method("adaln_zero"), method("can")]),
    "can-gate": dict(methods=[method("can")], affine=True, static_gate=True),
}  # fmt: skip
