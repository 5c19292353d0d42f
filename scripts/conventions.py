"""Writes the tables of docs/conventions.md from the code: `python scripts/conventions.py`.

What every method applies to the condition, what it has as published, and which initial values the
presets of each backbone draw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cabench.models.conditioning.base import Method
from cabench.models.embedding import SHARED, embedder_options
from cabench.models.model import BACKBONES, METHODS

PAGE = Path(__file__).parents[1] / "docs" / "conventions.md"
BEGIN, END = "<!-- {}: python scripts/conventions.py -->", "<!-- end of {} -->"


def applied(kind: type[Method], options: dict[str, Any]) -> str:
    """'sum / sqrt(k), SiLU, linear': what happens to the condition under these options."""
    if not kind.Options.takes_source:
        return "none: conditioned on nothing"
    if kind.Options.takes_maps:
        return "none: patches of the maps"
    written = kind.Options(**options)
    values = written.model_dump()
    if "activation" not in values:
        if "generator" in values:  # a map of each token
            return "SiLU, linear" if values["generator"] == "linear" else "linear, SiLU, linear"
        return "none: one token per stream"
    parts = ["sum / sqrt(k)" if values["sum_scale"] == "sqrt" else "sum"]
    parts += ["SiLU"] if values["activation"] == "silu" else []
    own_mlp = "hidden" in values and written.set_size("rank", 1)  # not the width of an expert
    mlp = "mlp" in (values.get("generator"), values.get("coefficients")) or own_mlp
    parts += ["linear", "SiLU", "linear"] if mlp else ["linear"]
    return ", ".join(parts)


def methods() -> str:
    """A row per method."""
    rows = [
        "| method | modulates or generates | condition | term without condition | initial values |",
        "|---|---|---|---|---|",
    ]
    for name in METHODS.names():
        kind, convention = METHODS.get(name), METHODS.get(name).convention
        condition = convention.condition or applied(kind, {})
        cells = (convention.quantity, condition, convention.static, convention.initial)
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def published() -> str:
    """A row per method: what `as_published` changes, and what differs all the same."""
    rows = [
        "| method | condition | other options | differences of the publication that remain |",
        "|---|---|---|---|",
    ]
    for name in METHODS.names():
        kind = METHODS.get(name)
        shown = ("sum_scale", "activation", "generator", "coefficients")
        others = ", ".join(f"{k}: {v}" for k, v in kind.published.items() if k not in shown)
        cells = (applied(kind, kind.published), others, kind.convention.published)
        cells = tuple(cell or "-" for cell in cells)
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def presets() -> str:
    """A row per preset: spreads that differ from the published ones in the profile `uniform`."""
    rows = [
        "| backbone | preset | width of the condition | class tables and timestep MLP | layers |",
        "|---|---|---|---|---|",
    ]
    for name in BACKBONES.names():
        backbone = BACKBONES.get(name)
        for preset in backbone.presets:
            sizes = backbone.sizes(preset, 2)
            width = backbone.condition_width(sizes)
            embedder = embedder_options(SHARED, width, [], backbone)
            spread = embedder.get("spread", 0.02)
            changed = getattr(backbone, "uniform", lambda sizes: {})(sizes)
            own = f"N(0, {changed['spread']:.3g}^2)" if changed else "as published"
            rows.append(f"| {name} | {preset} | {width} | N(0, {spread:.3g}^2) | {own} |")
    return "\n".join(rows)


TABLES = {"methods": methods, "published": published, "presets": presets}


def with_tables(text: str) -> str:
    """The page with every table replaced by what the code says."""
    for name, table in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        before, rest = text.split(begin)
        after = rest.split(end)[1]
        text = f"{before}{begin}\n\n{table()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
