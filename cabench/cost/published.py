"""Our counts of the published models beside the published figures.

What the papers call GFLOPs are multiply-accumulates. Sources: DiT, arXiv 2212.09748, tables 1 and
4; U-ViT, arXiv 2209.12152, table 5 and its README; CaT's budgets follow from the CAN paper's
ratios (arXiv 2404.01143). `derived`: by arithmetic from the published network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cabench.cost.macs import meta_macs, parameter_counts
from cabench.models.embedding import TEXT_TOKENS, embedder_options
from cabench.models.model import BACKBONES, METHODS
from cabench.records.spec import ModelSpec

TOLERANCE = 0.005
BUDGET_TOLERANCE = 0.01  # of CaT's presets, which are sized to meet a budget
CLASSES = 1000
CLIP_FEATURES = 768  # ViT-L/14's text features
BOTH = ["timestep", "label"]


@dataclass(frozen=True)
class Published:
    """A published model and its published cost."""

    kind: str
    preset: str
    patch: int
    side: int  # of the latent
    gmacs: float
    params: float | None  # millions; None: not published
    source: str  # published, derived, budget (from a ratio of the paper), assumed
    text: bool = False  # conditioned on 77 text tokens instead of a label

    @property
    def name(self) -> str:
        names = {"dit": "DiT", "uvit": "U-ViT", "cat": "CaT"}
        name = f"{names[self.kind]}-{self.preset}"
        name += "" if self.kind == "cat" else f"/{self.patch}"
        return name + f", {TEXT_TOKENS} text" * self.text


MODELS = [
    Published("dit", "S", 2, 32, 6.06, 32.9, "published"),
    Published("dit", "B", 2, 32, 23.02, 130, "published"),
    Published("dit", "L", 2, 32, 80.73, 458, "published"),
    Published("dit", "XL", 2, 32, 118.66, 675, "published"),
    Published("dit", "S", 2, 64, 31.44, 32.9, "derived"),
    Published("dit", "B", 2, 64, 106.4, 130, "derived"),
    Published("dit", "L", 2, 64, 361.0, 458, "derived"),
    Published("dit", "XL", 2, 64, 524.70, 675, "published"),
    Published("uvit", "S", 2, 32, 12.25, 44.8, "derived"),
    Published("uvit", "S-Deep", 2, 32, 16.0, 58.4, "derived"),
    Published("uvit", "S-Deep", 2, 32, 21.2, None, "derived", text=True),
    Published("uvit", "M", 2, 32, 35.2, 131, "derived"),
    Published("uvit", "L", 2, 32, 76.5, 287, "derived"),
    Published("uvit", "H", 2, 32, 133.25, 500.9, "published"),
    Published("uvit", "S", 2, 64, 59.2, None, "derived"),
    Published("uvit", "S-Deep", 2, 64, 77.5, None, "derived"),
    Published("uvit", "M", 2, 64, 160.7, None, "derived"),
    Published("uvit", "L", 2, 64, 337.9, None, "derived"),
    Published("uvit", "H", 2, 64, 582, None, "derived"),
    Published("uvit", "L", 4, 64, 76.52, 287, "published"),
    Published("uvit", "H", 4, 64, 133.27, 500.9, "published"),
    Published("cat", "B0", 2, 32, 12.0, None, "budget"),
    Published("cat", "L0", 4, 64, 10.1, None, "budget"),
    Published("cat", "S0", 2, 32, 4.0, None, "assumed", text=True),
]

# (of, over, the paper's ratio). Ours hold by construction: CaT's presets are sized to meet them.
RATIOS = [
    (("DiT-XL/2", 32), ("CaT-B0", 32), 9.9),
    (("U-ViT-H/2", 32), ("CaT-B0", 32), 11.1),
    (("DiT-XL/2", 64), ("CaT-L0", 64), 52),
]

CAN = {  # a linear generator would have 13 times the other parameters (studies/cost.yaml)
    "kind": "can",
    "options": {
        "sites": ["depthwise", "patch_embed", "attn_out"],
        "generator": "bottleneck",
        "rank": 64,
    },
}
METHODS_OF = {  # the native method; CaT has CAN beside it
    "dit": [{"kind": "adaln_zero", "options": {}}],
    "uvit": [{"kind": "tokens", "options": {}}],
    "cat": [{"kind": "adaln", "options": {}}, CAN],
}
OPTIONS_OF = {  # as published
    "dit": lambda model: {"out_channels": 8},
    "uvit": lambda model: {},
    "cat": lambda model: {"norm_affine": False},
}


def published_spec(
    model: Published, embedder: Literal["native", "normalised"] = "native"
) -> ModelSpec:
    """The model as published, on 4-channel latents; `embedder` as in `models.embedding`."""
    backbone = BACKBONES.get(model.kind)
    sizes = backbone.sizes(model.preset, model.patch)
    streams = ["timestep", "text"] if model.text else BOTH
    methods = [
        {
            **entry,
            "version": METHODS.get(entry["kind"]).version,
            "options": {
                **METHODS.get(entry["kind"]).published,
                **entry["options"],
                "source": streams,
            },
        }
        for entry in METHODS_OF[model.kind]
    ]
    text = {"text": {"text": CLIP_FEATURES}} if model.text else {}
    width = backbone.condition_width(sizes)
    return ModelSpec.model_validate(
        {
            "backbone": {
                "kind": model.kind,
                "version": backbone.version,
                "shape": [4, model.side, model.side],
                **sizes,
                **OPTIONS_OF[model.kind](model),
            },
            "embedder": {
                "version": 1,
                "width": width,
                "classes": {} if model.text else {"label": CLASSES},
                **text,
                **embedder_options(embedder, width, streams[1:], backbone),
            },
            "methods": methods,
        }
    )


def row(model: Published) -> dict[str, Any]:
    """Our counts of a model beside the published ones."""
    published, shared = (published_spec(model, embedder) for embedder in ("native", "normalised"))
    macs = meta_macs(published)
    params = parameter_counts(published).total
    return {
        "model": model.name,
        "latent": f"{model.side}x{model.side}",
        "source": model.source,
        "params_M": params / 1e6,
        "published_params_M": model.params,
        "GMACs": macs.total / 1e9,
        "published_GMACs": model.gmacs,
        "difference": macs.total / 1e9 / model.gmacs - 1,
        "backbone_GMACs": macs.backbone / 1e9,
        "conditioning_GMACs": macs.conditioning / 1e9,
        "shared_embedder_params_M": (parameter_counts(shared).total - params) / 1e6,
    }


def rows() -> list[dict[str, Any]]:
    """A row per published model."""
    return [row(model) for model in MODELS]


def ratios(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The paper's ratios of MACs beside ours, between models of `rows`."""
    macs = {(r["model"], int(r["latent"].split("x")[0])): r["GMACs"] for r in table}
    return [
        {
            "of": of[0],
            "over": over[0],
            "latent": f"{of[1]}x{of[1]}",
            "paper": paper,
            "ours": macs[of] / macs[over],
        }
        for of, over, paper in RATIOS
    ]


def off(r: dict[str, Any]) -> bool:
    """Whether a count differs from the published one by more than the tolerance."""
    allowed = BUDGET_TOLERANCE if r["source"] in ("budget", "assumed") else TOLERANCE
    params = r["published_params_M"]
    wrong = params is not None and abs(r["params_M"] / params - 1) > TOLERANCE
    return wrong or abs(r["difference"]) > allowed


NOTES = (
    "GMACs: batch 1, one network evaluation; a fused multiply-add counts once. Attention products "
    "and conditioning (cond.) count, norms and activations do not. Counted by FlopCounterMode on "
    "the meta device. Each model has its published embedder; the embedder that studies share adds "
    "a timestep MLP to U-ViT (shared: 0.4 to 1.6 M parameters) and nothing to DiT.",
    "published: arXiv 2212.09748, 2209.12152 and their READMEs. derived: by arithmetic from the "
    "published network. CaT's widths and depths are not published; ours meet the budgets that "
    "follow from the CAN paper's ratios, generators included, so these ratios hold by "
    "construction. S0's budget is an assumption.",
)


def cells(r: dict[str, Any]) -> list[str]:
    """The cells of a row, for terminal and PDF."""
    published = r["published_params_M"]
    added = r["shared_embedder_params_M"]
    return [
        r["model"],
        r["latent"],
        f"{r['params_M']:.1f}M",
        "" if published is None else f"{published:g}M",
        f"{r['GMACs']:.2f}",
        f"{r['published_GMACs']:g}",
        f"{r['difference']:+.2%}",
        f"{r['conditioning_GMACs']:.2f}",
        f"+{added:.2f}M" if added else "",
        r["source"],
    ]


def ratio_line(r: dict[str, Any]) -> str:
    """A ratio of `ratios` as a line of text."""
    return (
        f"{r['of']} / {r['over']} at {r['latent']}: {r['ours']:.1f}x "
        f"(paper: {r['paper']:g}x; ours by construction)"
    )
