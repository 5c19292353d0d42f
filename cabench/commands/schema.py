"""JSON schemas (draft 2020-12) of studies and scales, for editors: what is checked without data.

The models of schema.py with everything that is registered spelt out: methods and data sets with
their options, backbones, presets, metrics. A field's description is its trailing comment.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cabench import metrics
from cabench.config import schema as models
from cabench.config.cost_study import CostStudy
from cabench.data import options_model
from cabench.errors import CabenchError, unknown
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import BACKBONES, DATASETS, METHODS, TEXT_ENCODERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMMENT = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)


def show_schema(kind: str, plugins: Iterable[Path]) -> None:
    kinds = {"study": study, "cost": cost_study, "scale": scale}
    if kind not in kinds:
        raise CabenchError(f"KIND: {unknown('kind of file', kind, kinds)}")
    load_plugins(read_plugins(plugins))
    print(json.dumps(kinds[kind](), indent=1))


def study() -> dict[str, Any]:
    """The schema of a study file."""
    made = _schema(models.Study)
    parts = made["$defs"]
    parts["Arm"]["properties"]["methods"]["items"] = _method(parts)
    made["properties"]["arms"]["additionalProperties"] = False  # other names than the pattern's
    _choose(made["properties"]["backbones"], BACKBONES.names())
    _choose(parts["Arm"]["properties"]["on"], BACKBONES.names())
    _choose(made["properties"]["primary"], metrics.names())
    _choose(parts["Claim"]["properties"]["metric"], [*metrics.names(), *models.COUNTS])
    return made


def cost_study() -> dict[str, Any]:
    """The schema of a study of kind cost or timing."""
    made = _schema(CostStudy)
    parts = made["$defs"]
    parts["Arm"]["properties"]["methods"]["items"] = _method(parts)
    _choose(parts["Model"]["properties"]["backbone"], BACKBONES.names())
    return made


def scale() -> dict[str, Any]:
    """The schema of a scale file."""
    made = _schema(models.Scale)
    parts = made["$defs"]
    _choose(made["properties"]["metrics"], metrics.names())
    made["properties"]["backbones"]["propertyNames"] = {"enum": BACKBONES.names()}
    presets = [preset for name in BACKBONES.names() for preset in BACKBONES.get(name).presets]
    _choose(parts["BackboneChoice"]["properties"]["preset"], list(dict.fromkeys(presets)))
    _choose(parts["TextChoice"]["properties"]["encoder"], TEXT_ENCODERS.names())
    data = parts["DataChoice"]
    _choose(data["properties"]["metrics"], metrics.names())
    _choose(data["properties"]["source"], DATASETS.names())
    data["allOf"] = [_options_of(name, parts) for name in DATASETS.names()]
    return made


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    made = {"$schema": DIALECT} | model.model_json_schema()
    _describe(model, made)
    beside = inspect.getmodule(model)  # where its parts are, or in schema.py
    for name, part in made["$defs"].items():
        _describe(getattr(beside, name, None) or getattr(models, name), part)
    return made


def _describe(model: type[BaseModel], part: dict[str, Any]) -> None:
    """Trailing comments in the model's source, as the descriptions of its fields."""
    for field, comment in COMMENT.findall(inspect.getsource(model)):
        if field in part["properties"]:
            part["properties"][field].setdefault("description", comment)


def _method(parts: dict[str, Any]) -> dict[str, Any]:
    """A name alone, or one name with its options."""
    for name in METHODS.names():
        options = METHODS.get(name).Options
        parts[f"{name}_options"] = _inner(options.model_json_schema(), parts)
    names = ["native", *METHODS.names()]
    return {
        "anyOf": [
            {"enum": names},
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": {
                    name: {
                        "description": inspect.getdoc(METHODS.get(name)).split("\n")[0],
                        "anyOf": [{"$ref": f"#/$defs/{name}_options"}, {"type": "null"}],
                    }
                    for name in METHODS.names()
                },
            },
        ]
    }


def _options_of(name: str, parts: dict[str, Any]) -> dict[str, Any]:
    """If a data set is chosen, then with its own options, and with those that it needs."""
    options = _inner(options_model(name).model_json_schema(), parts)
    chosen: dict[str, Any] = {"properties": {"options": options}}
    if options.get("required"):
        chosen["required"] = ["options"]
    wanted = {"properties": {"source": {"const": name}}, "required": ["source"]}
    return {"if": wanted, "then": chosen}


def _inner(made: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """A schema without definitions of its own: they join `parts`."""
    parts.update(made.pop("$defs", {}))
    return made


def _choose(part: dict[str, Any], names: list[str]) -> None:
    """Wherever `part` takes text, it takes one of `names`."""
    if part.get("type") == "string":
        part["enum"] = names
    for inner in (part.get("items"), *part.get("anyOf", ())):
        if inner:
            _choose(inner, names)
