"""Writes docs/study_keys.md, and the table of scales in docs/studies.md.

    python scripts/docs_keys.py

The keys are those of the models that read the files, with their descriptions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cabench.config.scale import Scale
from cabench.config.schema import Study
from cabench.config.study import read_scale, scale_names

DOCS = Path(__file__).parents[1] / "docs"
PAGE, STUDIES = DOCS / "study_keys.md", DOCS / "studies.md"
BEGIN, END = "<!-- scales: python scripts/docs_keys.py -->", "<!-- end of scales -->"
HEAD = """# Keys of study and scale files

<!-- Generated from the code: python scripts/docs_keys.py -->

What the keys are for, with examples: [studies and scales](studies.md). `cabench schema study` and
`cabench schema scale` print the same as JSON schemas for editors."""
FILES: dict[str, type[BaseModel]] = {"Study": Study, "Scale": Scale}
NUMBERS = {"integer": "whole number", "number": "number"}
LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}

Schema = dict[str, Any]


def takes(schema: Schema) -> str:
    """'whole number, at least 1', 'list of names', a link to a table: what a key takes."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(takes(one) for one in options if one.get("type") != "null")
    kind = schema.get("type")
    if kind in NUMBERS:
        limits = [f", {text} {schema[key]:,}" for key, text in LIMITS.items() if key in schema]
        return NUMBERS[kind] + "".join(limits)
    if kind == "array":
        inner = takes(schema["items"]) if "items" in schema else "values"
        return f"list of {inner}"
    if kind == "object":
        values = next(iter(schema.get("patternProperties", {}).values()), None)
        values = values or schema.get("additionalProperties")
        return f"mapping to {takes(values)}" if isinstance(values, dict) else "mapping"
    return {"boolean": "`true`, `false`", "string": "text"}.get(kind or "", "any value")


def default(schema: Schema, required: bool) -> str:
    """The default as written in YAML."""
    if required:
        return "required"
    value = schema.get("default")
    return "-" if value in (None, "", [], {}) else f"`{json.dumps(value)}`"


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def section(name: str, schema: Schema, level: int) -> str:
    """A table of one model's keys."""
    required = schema.get("required", [])
    lines = [f"{'#' * level} {name}", "", cell(schema.get("description", "")), ""]
    lines += ["| key | default | takes | meaning |", "|---|---|---|---|"]
    for key, one in schema["properties"].items():
        cells = (default(one, key in required), takes(one), one.get("description", ""))
        lines.append(f"| `{key}` | {' | '.join(map(cell, cells))} |")
    return "\n".join(lines)


def page() -> str:
    """The text of the page on keys: the two kinds of file, each with its parts."""
    parts = [HEAD]
    for name, model in FILES.items():
        schema = model.model_json_schema()
        parts.append(section(name, schema, 2))
        for part, definition in schema.get("$defs", {}).items():
            if "properties" in definition:
                parts.append(section(part, definition, 3))
    return "\n\n".join(parts) + "\n"


def scales() -> str:
    """A row per scale: what it trains, on how much, and what for."""
    rows = [
        "| scale | data | DiT | images per trial | seeds | what for |",
        "|---|---|---|---:|---:|---|",
    ]
    every = [(name, read_scale(name).scale) for name in scale_names()]
    for name, scale in sorted(every, key=lambda one: one[1].training.images):
        data, size = scale.data[0], scale.backbones["dit"]
        cells = (
            f"`{data.source}`",
            f"{size.preset}/{data.patch or size.patch}"
            + (f", {size.widening:g} x width" if size.widening != 1 else ""),
            f"{scale.training.images:,}",
            str(scale.seeds),
            cell(scale.about),
        )
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def with_scales(text: str) -> str:
    """The page on studies with its table of scales replaced."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{scales()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    STUDIES.write_text(with_scales(STUDIES.read_text(encoding="utf-8")), encoding="utf-8")
