"""Specs of small models and training runs, and small files, for tests."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pytest

from cabench.records.spec import ModelSpec, TrainSpec

ROOT = Path(__file__).parent.parent
SOURCE = ["timestep", "label"]


def some(cases: Iterable, standard: Collection) -> list:
    """Parameters of a test: `standard` ones run each time, the others in `make test-full` only."""
    return [
        case if case in standard else pytest.param(case, marks=pytest.mark.full) for case in cases
    ]


def readme(arm: str) -> dict[str, str]:
    """An arm's row in the README's table of the reference run, by column."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [
        [cell.replace("*", "").strip() for cell in line.strip("|").split("|")] for line in lines
    ]
    titles = next(row for row in rows if row[0] == "arm" and len(row) > 4)
    cells = next(row for row in rows if row[0].split(" (")[0] == arm and len(row) == len(titles))
    return dict(zip(titles, cells, strict=True))


def write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    return path


def model_spec(
    methods: list[dict],
    depthwise: bool = True,
    affine: bool = False,
    preset: str = "micro",
    backbone: str = "dit",
    classes: dict[str, int] | None = None,
    text: dict[str, int] | None = None,
    text_tokens: int | None = None,
    maps: dict[str, tuple[int, int, int]] | None = None,
    **more: Any,
) -> ModelSpec:
    """A model spec without a study: images of 1x8x8 and 10 labels, by default."""
    from cabench.registry import BACKBONES

    kind = BACKBONES.get(backbone)
    sizes = kind.presets[preset]
    return ModelSpec.model_validate(
        {
            "backbone": {
                "kind": backbone,
                "version": 1,
                "shape": [1, 8, 8],
                **sizes,
                "patch": 2,
                "depthwise": depthwise,
                "norm_affine": affine,
            }
            | more,
            "embedder": {
                "version": 1,
                "width": kind.condition_width(sizes),
                "normalise": True,
                "classes": {"label": 10} if classes is None else classes,
            }
            | ({"text": text} if text else {})
            | ({"maps": maps} if maps else {}),
            "methods": methods,
        }
        | ({"text_tokens": text_tokens} if text_tokens else {})
    )


def train_spec(
    model: ModelSpec,
    seed: int = 0,
    flip: bool = False,
    prediction: str = "flow",
    schedule: str = "linear",
    **recipe: Any,
) -> TrainSpec:
    """What a trial trains, in batches of 32; `recipe` changes the optimiser."""
    return TrainSpec.model_validate(
        {
            "recipe": 1,
            "model": model,
            "data": {"source": "digits", "fingerprint": None, "flip": flip},
            "training": {
                "batch": 32,
                "lr": 2e-3,
                "warmup": 64,
                "ema_half_life": 64,
                "label_dropout": 0.1,
                "betas": [0.9, 0.999],
                "weight_decay": 0.0,
                "clip": None,
                "precision": "float32",
            }
            | recipe,
            "diffusion": {"prediction": prediction, "schedule": schedule},
            "seed": seed,
            "init_salt": "",
        }
    )


def method(kind: str, source: list[str] | None = None, **options: Any) -> dict:
    """A method as in a ModelSpec, conditioned on SOURCE by default."""
    return {"kind": kind, "version": 1, "options": {"source": source or SOURCE, **options}}


TIMESTEP = ["timestep"]
# Every method in every form, as arguments of model_spec
METHODS = {
    "adaln_zero": dict(methods=[method("adaln_zero")]),
    "can-3": dict(methods=[method("can")], affine=True),
    "can-all": dict(methods=[method("can", sites="all")], affine=True),
    "can-unshared": dict(methods=[method("can", shared=False)], affine=True),
    "can-bias": dict(methods=[method("can", bias=True)], affine=True),
    "can-bottleneck": dict(methods=[method("can", generator="bottleneck", rank=5)], affine=True),
    "can-linear": dict(methods=[method("can", activation="none", sum_scale="one")], affine=True),
    "can-fan-in": dict(methods=[method("can", scale="fan_in")], affine=True),
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
    "lora-mlp": dict(
        methods=[method("lora", bases=3, coefficients="mlp", activation="none")], affine=True
    ),
    "hyper_lora": dict(methods=[method("hyper_lora")], affine=True),
    "text_kernels": dict(methods=[method("text_kernels")], affine=True),
    "text_kernels-mlp": dict(methods=[method("text_kernels", generator="mlp")], affine=True),
    "adaln": dict(methods=[method("adaln")]),
    "adaln-mlp": dict(methods=[method("adaln", generator="mlp", rank=7)]),
    "adaln-gate": dict(methods=[method("adaln")], static_gate=True),
    "adaln_single": dict(methods=[method("adaln_single")]),
    "adaln_single-pixart": dict(methods=[method("adaln_single", form="pixart")]),
    "adaln_shared": dict(methods=[method("adaln_shared")]),
    "scale_gate": dict(methods=[method("scale_gate")]),
    "modulator": dict(methods=[method("modulator", hidden=12)]),
    "class_tokens": dict(methods=[method("class_tokens", count=2)], affine=True),
    "registers": dict(
        methods=[
            {"kind": "registers", "version": 1, "options": {"source": "none", "count": 3}},
            method("adaln"),
        ]
    ),
    "film-ffn": dict(methods=[method("film", norms="ffn")], affine=True),
    "film": dict(methods=[method("film")], affine=True),
    "tokens": dict(methods=[method("tokens")], affine=True),
    "tokens-late": dict(methods=[method("tokens", count=3, start="middle")], affine=True),
    "cross_attention": dict(methods=[method("cross_attention")], affine=True),
    "timestep_moe": dict(
        methods=[method("timestep_moe", TIMESTEP, top=1), method("adaln", ["label"])]
    ),
    "joint_attention": dict(methods=[method("joint_attention", count=2)], affine=True),
    "token_modulation": dict(methods=[method("token_modulation")]),
    "expert_choice": dict(methods=[method("expert_choice")], affine=True),
    "many": dict(
        methods=[
            method("adaln_single"),
            method("can"),
            method("lora"),
            method("tokens"),
            method("cross_attention"),
            method("timestep_moe", SOURCE),
        ],
    ),
}
ONE_STREAM = {
    name: dict(methods=[method("can", [name])], affine=True) for name in ("timestep", "label")
}
EDGES = {"edges": (1, 8, 8)}
# Those that are conditioned on maps of the images, beside the native way of label and timestep
OF_MAPS = {
    kind: dict(methods=[method("adaln"), method(kind, ["edges"])], maps=EDGES)
    for kind in ("map_branch", "map_concat")
}
# On the other backbones, one form of each method and some placements of CAN
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
    "timestep_moe",
    "joint_attention",
    "token_modulation",
    "expert_choice",
    "many",
)
TOKENS = ("tokens-late", "many", "joint_attention")  # which cat does not support
ON = [("dit", m) for m in METHODS] + [("uvit", m) for m in ELSEWHERE]
ON += [("cat", m) for m in ELSEWHERE if m not in TOKENS]
