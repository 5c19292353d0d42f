"""Writes the generated parts of the pages on methods and backbones.

    python scripts/docs_methods.py

A page is docs/methods/NAME.md or docs/backbones/NAME.md. What stands above the mark is written by
hand: what it does, its equation, its source. What stands between the marks is read from the code:
where it acts, its options, its cost on DiT nano, and its presets.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from pathlib import Path
from typing import Any

from conventions import applied
from pydantic.fields import FieldInfo

from cabench.commands.list import fits
from cabench.config.schema import Arm
from cabench.cost.macs import meta_macs
from cabench.cost.published import MODELS
from cabench.errors import CabenchError
from cabench.models.conditioning.base import MethodOptions, VectorOptions
from cabench.models.model import BACKBONES, METHODS
from cabench.planning.data import TextRef
from cabench.planning.methods import Network
from cabench.planning.models import resolve_models

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OVERVIEW = DOCS / "methods.md"
BEGIN = "<!-- generated: python scripts/docs_methods.py -->"
END = "<!-- end of generated -->"
TITLES = {"dit": "DiT", "uvit": "U-ViT", "cat": "CaT"}
HOOKS = {
    "norm": "modulates norms",
    "tokens": "adds tokens to the sequence",
    "block": "adds to the input of each block",
    "context": "adds a branch after self-attention",
    "ffn": "adds a branch beside each feed-forward part",
    "joint": "joins self-attention",
}
SHAPE, PATCH = (1, 16, 16), 4  # of scale `quick`
TEXT = TextRef("minilm", None, {"version": 1}, None, width=384, tokens=16)

Rows = list[tuple[str, ...]]


def table(header: str, rows: Rows) -> str:
    """A Markdown table; `header` has a column per cell, aligned right after a '>'."""
    titles = header.split("|")
    marks = ["---:" if title.startswith(">") else "---" for title in titles]
    lines = [[title.lstrip(">") for title in titles], marks, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def source_file(entry: type, page: str) -> str:
    """A link to the file that defines a method or backbone."""
    path = Path(inspect.getfile(entry)).relative_to(ROOT).as_posix()
    return f"[{path}]({'../' * (page.count('/') + 1)}{path})"


# ---- options ------------------------------------------------------------------------------------


def allowed(annotation: Any) -> str:
    """'`linear` or `mlp`', 'whole number': what a type takes, in words."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return allowed(parts[0])
    if origin is typing.Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(allowed(part) for part in parts if part is not type(None))
    if origin is list:
        inner = allowed(parts[0])
        return "list of names" if inner == "name" else f"list of {inner}"
    return {int: "whole number", float: "number", bool: "`true`, `false`", str: "name"}[annotation]


def bounds(field: FieldInfo) -> str:
    """', at least 1': the limits of a number."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [field.metadata]
    limits += [
        getattr(info, "metadata", ())
        for part in typing.get_args(field.annotation)
        for info in getattr(part, "__metadata__", ())
        if isinstance(info, FieldInfo)
    ]
    return "".join(
        f", {text} {getattr(limit, key):,}"
        for group in limits
        for limit in group
        for key, text in words.items()
        if getattr(limit, key, None) is not None
    )


def value(default: Any) -> str:
    """A default as written in a study."""
    if isinstance(default, list):
        return f"`[{', '.join(map(str, default))}]`"
    if default is None:
        return "-"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def options_table(options: type[MethodOptions]) -> str:
    """A row per option; those that all methods share come last."""
    fields = options.model_fields
    shared = [name for name in VectorOptions.model_fields if name in fields]
    rows: Rows = []
    for name in [*(n for n in fields if n not in shared), *shared]:
        field = fields[name]
        if not field.description:
            raise CabenchError(f"{options.__name__}.{name}: expected a description")
        takes = allowed(field.annotation) + bounds(field)
        rows.append((f"`{name}`", value(field.default), takes, field.description))
    return table("option|default|takes|meaning", rows)


def backbone_options(backbone: Any) -> str:
    """A row per further option of an arm's key `backbone`, with the constructor's comment."""
    source = inspect.getsource(backbone.__init__)
    rows: Rows = []
    for name in getattr(backbone, "options", ()):
        match = re.search(rf"^\s+{name}: (.+?) = (.+?),\s+# (.+)$", source, re.MULTILINE)
        if not match:
            raise CabenchError(f"{backbone.__name__}.{name}: expected a comment on its line")
        takes = allowed(typing.get_type_hints(backbone.__init__)[name])
        default = inspect.signature(backbone.__init__).parameters[name].default
        rows.append((f"`{name}`", value(default), takes, match[3]))
    return table("option|default|takes|meaning", rows) if rows else "None."


# ---- methods ------------------------------------------------------------------------------------


def network(kind: Any, backbone: str = "dit") -> Network:
    """The nano preset at the size of scale `quick`, with the streams that a method needs."""
    text = kind.Options().source == "text"
    maps = {"edges": SHAPE} if kind.Options.takes_maps else {}
    return Network(
        backbone,
        "nano",
        PATCH,
        SHAPE,
        classes={} if text else {"label": 10},
        needs=["text"] if text else ["label", *maps],
        text=TEXT if text else None,
        maps=maps,
    )


@functools.cache
def counts(kind: Any, methods: tuple[str, ...]) -> tuple[int, int, int] | None:
    """MACs, conditioning MACs and parameters of an arm on DiT nano; None where methods clash."""
    arm = Arm(methods=list(methods), depthwise="static")
    try:
        model = resolve_models({"arm": arm}, network(kind))["arm"]
    except CabenchError:
        return None
    macs = meta_macs(model.spec)
    return macs.total, macs.conditioning, model.parameters.total


def cost(name: str) -> str:
    """A row for the method alone and one on top of DiT's own method."""
    kind = METHODS.get(name)
    text = (
        "One forward pass at batch 1 on DiT nano: 16x16 images in patches of 4, as in scale "
        f"`quick`, with a static depthwise convolution in each block{cost_streams(kind)}. "
        "[How it is counted](../concepts.md#cost)."
    )
    rows: Rows = []
    for methods in ((), ("native",), (name,), ("native", name)):
        count = counts(kind, methods)
        if count is None:
            continue
        macs, conditioning, parameters = count
        arm = f"`methods: [{', '.join(methods)}]`"
        numbers = (f"{macs / 1e6:.2f}", f"{conditioning / 1e6:.3f}", f"{parameters / 1e3:,.0f}")
        rows.append((arm, *numbers))
    header = "arm|>MACs (M)|>conditioning MACs (M)|>parameters (K)"
    return f"{text}\n\n{table(header, rows)}"


def places(kind: Any) -> str:
    """The sites and hooks of a method with default options on DiT."""
    sites = kind.sites(kind.Options(), BACKBONES.get("dit").sites)
    texts = [f"`{hook}`: {HOOKS[hook]}" for hook in kind.hooks]
    texts += ["weights of " + ", ".join(f"`{site}`" for site in sites)] if sites else []
    return "; ".join(texts)


def fit(kind: Any, name: str) -> str:
    """'DiT, U-ViT, CaT': the backbones that a method acts on, and why not the others."""
    texts = []
    for backbone in TITLES:
        why = fits(kind, BACKBONES.get(backbone))
        link = f"[{TITLES[backbone]}](../backbones/{backbone}.md)"
        native = any(name in entry for entry in BACKBONES.get(backbone).native)
        texts.append(link + (" (native)" if native else "" if why == "yes" else f" ({why})"))
    return ", ".join(texts)


def method_part(name: str, costs: bool = True) -> str:
    """The generated part of a method's page; `costs=False` leaves out what must be counted."""
    kind, convention = METHODS.get(name), METHODS.get(name).convention
    facts: Rows = [
        ("acts on", places(kind)),
        ("backbones", fit(kind, name)),
        ("modulates or generates", convention.quantity),
        ("condition", convention.condition or applied(kind, {})),
        ("term without condition", convention.static),
        ("initial values", convention.initial),
    ]
    if kind.distinct:
        facts += [("runs", "once per distinct condition of a batch")]
    facts += [("code", source_file(kind, "methods/x.md")), ("version", str(kind.version))]
    others = [f"`{k}: {v}`" for k, v in kind.published.items()]
    published = [f"Condition: {applied(kind, kind.published)}."]
    published += [f"Options that differ from the default: {', '.join(others)}."] * bool(others)
    if convention.published and convention.published != "-":
        published += [f"Differences of the publication that remain: {convention.published}."]
    return "\n\n".join(
        [
            "## Where it acts",
            table("|", facts),
            "## Options",
            f"Written in an arm as `{{{name}: {{OPTION: VALUE}}}}`.",
            options_table(kind.Options),
            *(["## Cost", cost(name)] if costs else []),
            "## As published",
            "With `profile: as_published` ([what it is](../conventions.md)):",
            "\n".join(f"- {line}" for line in published),
        ]
    )


def cost_streams(kind: Any) -> str:
    """', on texts of 16 tokens': what the cost rests on beside timestep and label."""
    if kind.Options().source == "text":
        return f", conditioned on timestep and texts of {TEXT.tokens} tokens"
    return ", with a map of edges beside the label" * kind.Options.takes_maps


# ---- backbones ----------------------------------------------------------------------------------


def presets(name: str) -> str:
    """A row per preset: its sizes, and the published cost where there is one."""
    backbone = BACKBONES.get(name)
    keys = list(dict.fromkeys(key for sizes in backbone.presets.values() for key in sizes))
    rows: Rows = []
    for preset, sizes in backbone.presets.items():
        cells = [str(sizes.get(key, "-")).lower().strip("[]") for key in keys]
        known = [m for m in MODELS if (m.kind, m.preset, m.text) == (name, preset, False)]
        costs = [f"{m.gmacs:g} G at {m.side}x{m.side}, patch {m.patch} ({m.source})" for m in known]
        rows.append((f"`{preset}`", *cells, "; ".join(costs) or "-"))
    return table("|".join(["preset", *keys, "MACs on latents, by the publication"]), rows)


def backbone_cost(name: str) -> str:
    """A row per arm: without conditions, native, and with static depthwise convolutions."""
    arms = {
        "no conditioning": Arm(methods=[]),
        "`native`": Arm(methods=["native"]),
        "`native`, `depthwise: static`": Arm(methods=["native"], depthwise="static"),
    }
    if getattr(BACKBONES.get(name), "own_depthwise", False):
        arms.popitem()
    rows: Rows = []
    net = Network(name, "nano", PATCH, SHAPE, classes={"label": 10}, needs=["label"])
    for title, model in resolve_models(arms, net).items():
        macs = meta_macs(model.spec)
        numbers = (f"{macs.total / 1e6:.2f}", f"{model.parameters.total / 1e3:,.0f}")
        rows.append((title, *numbers))
    text = "The preset `nano` on 16x16 images in patches of 4, as in scale `quick`:"
    return f"{text}\n\n{table('arm|>MACs (M)|>parameters (K)', rows)}"


def backbone_part(name: str, costs: bool = True) -> str:
    """The generated part of a backbone's page; `costs=False` leaves out what must be counted."""
    backbone = BACKBONES.get(name)
    native = [kind for entry in backbone.native for kind in entry]
    facts: Rows = [
        ("native method", ", ".join(f"[`{kind}`](../methods/{kind}.md)" for kind in native)),
        ("hooks", "; ".join(f"`{hook}` ({HOOKS[hook]})" for hook in backbone.hooks)),
        ("sites", ", ".join(f"`{site}`" for site in backbone.sites)),
        ("code", source_file(backbone, "backbones/x.md")),
        ("version", str(backbone.version)),
    ]
    return "\n\n".join(
        [
            "## What it offers to methods",
            "[What sites and hooks are](../concepts.md#sites-and-hooks).",
            table("|", facts),
            "## Presets",
            presets(name),
            "## Options",
            "Written in an arm as `backbone: {OPTION: VALUE}`.",
            backbone_options(backbone),
            *(["## Cost", backbone_cost(name)] if costs else []),
        ]
    )


# ---- pages --------------------------------------------------------------------------------------


def pages(costs: bool = True) -> dict[Path, str]:
    """The generated part of each page; `costs=False` leaves out their sections on cost."""
    kinds = (("methods", METHODS, method_part), ("backbones", BACKBONES, backbone_part))
    return {
        DOCS / folder / f"{name}.md": part(name, costs)
        for folder, registry, part in kinds
        for name in registry.names()
    }


def overview() -> str:
    """For docs/methods.md: what each method adds to DiT nano without conditioning."""
    rows: Rows = []
    for name in METHODS.names():
        kind = METHODS.get(name)
        without, count = counts(kind, ()), counts(kind, (name,))
        assert without is not None and count is not None
        numbers = (f"{count[1] / 1e6:.3f}", f"{(count[2] - without[2]) / 1e3:,.0f}")
        rows.append((f"[`{name}`](methods/{name}.md)", places(kind), *numbers))
    return table("method|acts on|>MACs (M)|>parameters (K)", rows)


def with_part(page: str, part: str) -> str:
    """The page with what stands between the marks replaced."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    for path, part in pages().items():
        if not path.exists():
            raise SystemExit(f"{path}: missing; write what it does and its equation, then {BEGIN}")
        path.write_text(with_part(path.read_text("utf-8"), part), encoding="utf-8")
    OVERVIEW.write_text(with_part(OVERVIEW.read_text("utf-8"), overview()), encoding="utf-8")
