"""The verb `macs`: our counts beside the published ones.

Published: DiT, arXiv 2212.09748, tables 1 and 4, and its README, whose "GFLOPs" are
multiply-accumulates.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from rich.table import Table

from cabench.cost.macs import cost
from cabench.models.backbones.dit import DiT
from cabench.screen import screen

TOLERANCE = 0.005
CLASSES = 1000

# preset, latent's side, published GMACs (None: not published), published parameters in millions
PUBLISHED = [
    ("S", 32, 6.06, 33),
    ("B", 32, 23.02, 130),
    ("L", 32, 80.73, 458),
    ("XL", 32, 118.66, 675),
    ("XL", 64, 524.70, 675),
]


def published_spec(preset: str, side: int) -> dict[str, Any]:
    """DiT-<preset>/2 as published: raw embedder, adaLN-Zero, learned sigma, 4-channel latents."""
    sizes = DiT.presets[preset]
    return {
        "backbone": {"kind": "dit", "version": DiT.version, "shape": [4, side, side], **sizes,
                     "patch": 2, "out_channels": 8},
        "embedder": {"version": 1, "width": sizes["width"], "normalise": False,
                     "classes": {"label": CLASSES}},
        "methods": [{"kind": "adaln_zero", "version": 1,
                     "options": {"source": ["timestep", "label"]}}],
    }  # fmt: skip


def rows() -> list[dict[str, Any]]:
    found = []
    for preset, side, gmacs, millions in PUBLISHED:
        counted = cost(published_spec(preset, side))
        macs, params = counted["macs"], counted["params"]
        found.append(
            {
                "model": f"DiT-{preset}/2", "latent": f"{side}x{side}",
                "params_M": params["total"] / 1e6, "published_params_M": millions,
                "GMACs": macs["total"] / 1e9, "published_GMACs": gmacs,
                "difference": macs["total"] / 1e9 / gmacs - 1,
                "backbone_GMACs": macs["backbone"] / 1e9,
                "conditioning_GMACs": macs["generator"] / 1e9, "counter": macs["counter"],
            }
        )  # fmt: skip
    return found


def show_published(path: Path | None) -> int:
    """Prints the table; 1 when a count is off by more than the tolerance."""
    found = rows()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", no_wrap=True)
    for title in ("params (publ.)", "GMACs (publ.)", "off by", "cond.", "counter"):
        table.add_column(title, justify="right", no_wrap=True)
    for r in found:
        table.add_row(
            f"{r['model']} {r['latent']}",
            f"{r['params_M']:.1f}M ({r['published_params_M']}M)",
            f"{r['GMACs']:.2f} ({r['published_GMACs']:.2f})", f"{r['difference']:+.2%}",
            f"{r['conditioning_GMACs']:.2f}", r["counter"],
        )  # fmt: skip
    console = screen()
    console.print(table)
    console.print(
        "GMACs: batch 1, one network evaluation, a fused multiply-add counts once; attention "
        "products and conditioning (cond.) included, norms and activations not. "
        "Published: arXiv 2212.09748.",
        soft_wrap=True,
    )
    if path is not None:
        with open(path, "w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, fieldnames=list(found[0]))
            writer.writeheader()
            writer.writerows(found)
        console.print(f"written: {path}", soft_wrap=True)
    return int(any(abs(r["difference"]) > TOLERANCE for r in found))
