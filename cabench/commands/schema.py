"""JSON schemas (draft 2020-12) of studies and scales for editors: what needs no data to check.

They are the models of `config`, with the names that are registered filled in: backbones, presets,
methods and data sets with their options, metrics.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue

from cabench import metrics
from cabench.config import extends
from cabench.config.cost_study import CostStudy
from cabench.config.grids import ARM_KEYS, BACKBONE
from cabench.config.scale import Scale
from cabench.config.schema import COUNTS, Study
from cabench.data import options_model
from cabench.errors import CabenchError, unknown
from cabench.models import model as _model  # noqa: F401  (registers backbones and methods)
from cabench.plugins import load_plugins, read_plugins
from cabench.records.entry import Entry
from cabench.registry import BACKBONES, DATASETS, METHODS, TEXT_ENCODERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Definitions = dict[str, JsonSchemaValue]  # the "$defs" of a schema


def show_schema(kind: str, plugins: Iterable[Path]) -> None:
    """Print the schema of a kind of file: study, cost, scale or entry."""
    kinds: dict[str, Callable[[], JsonSchemaValue]] = {
        "study": study,
        "cost": cost_study,
        "scale": scale,
        "entry": entry,
    }
    if kind not in kinds:
        raise CabenchError(f"KIND: {unknown('kind of file', kind, kinds)}")
    load_plugins(read_plugins(plugins))
    print(json.dumps(kinds[kind](), indent=1))


def study() -> JsonSchemaValue:
    """The schema of a study file."""
    schema = base(Study)
    definitions: Definitions = schema["$defs"]
    complete_arms(definitions)
    schema["properties"]["arms"]["additionalProperties"] = False  # names must match the pattern
    restrict(schema["properties"]["backbones"], BACKBONES.names())
    restrict(definitions["Arm"]["properties"]["on"], BACKBONES.names())
    restrict(schema["properties"]["primary"], metrics.names())
    restrict(definitions["Claim"]["properties"]["metric"], [*metrics.names(), *COUNTS])
    return schema


def entry() -> JsonSchemaValue:
    """The schema of a leaderboard entry, entry.json."""
    return {"$schema": DIALECT, **Entry.model_json_schema()}


def cost_study() -> JsonSchemaValue:
    """The schema of a study of kind cost or timing."""
    schema = base(CostStudy)
    definitions: Definitions = schema["$defs"]
    complete_arms(definitions)
    restrict(definitions["Model"]["properties"]["backbone"], BACKBONES.names())
    return schema


def scale() -> JsonSchemaValue:
    """The schema of a scale file."""
    schema = base(Scale)
    definitions: Definitions = schema["$defs"]
    restrict(schema["properties"]["metrics"], metrics.names())
    schema["properties"]["backbones"]["propertyNames"] = {"enum": BACKBONES.names()}
    presets = [preset for name in BACKBONES.names() for preset in BACKBONES.get(name).presets]
    restrict(definitions["BackboneChoice"]["properties"]["preset"], list(dict.fromkeys(presets)))
    restrict(definitions["TextChoice"]["properties"]["encoder"], TEXT_ENCODERS.names())
    data = definitions["DataChoice"]
    restrict(data["properties"]["metrics"], metrics.names())
    restrict(data["properties"]["source"], DATASETS.names())
    data["allOf"] = [data_options(name, definitions) for name in DATASETS.names()]
    needed = requirements(schema, definitions)
    extending = {"required": [extends.KEY], "properties": {extends.KEY: {"type": "string"}}}
    return schema | {"required": ["scale"], "if": extending, "else": needed}


def requirements(part: JsonSchemaValue, definitions: Definitions) -> JsonSchemaValue:
    """The keys that a part and its mappings require, as a schema; they are taken out of `part`.

    Lists keep theirs: a file that extends another replaces them as a whole.
    """
    needed: JsonSchemaValue = {}
    if required := part.pop("required", None):
        needed["required"] = required
    inner = {
        name: requirements(one, definitions)
        for name, written in part.get("properties", {}).items()
        for one in resolved(written, definitions)
    }
    if inner := {name: one for name, one in inner.items() if one}:
        needed["properties"] = inner
    if isinstance(values := part.get("additionalProperties"), dict):
        for one in resolved(values, definitions):
            needed["additionalProperties"] = requirements(one, definitions)
    return needed


def resolved(schema: JsonSchemaValue, definitions: Definitions) -> list[JsonSchemaValue]:
    """The schema, or the definition that it refers to; [] where it takes no mapping."""
    choices = [schema, *schema.get("anyOf", ())]
    named = [definitions[one["$ref"].split("/")[-1]] for one in choices if "$ref" in one]
    return named or [one for one in choices if one.get("type") == "object"]


def base(model: type[BaseModel]) -> JsonSchemaValue:
    """A model's JSON schema with its dialect."""
    return {"$schema": DIALECT} | model.model_json_schema()


def complete_arms(definitions: Definitions) -> None:
    """Fill in the methods that an arm may have, and the keys of its grid."""
    arm = definitions["Arm"]["properties"]
    arm["methods"]["items"] = method(definitions)
    options = {name: METHODS.get(name).Options.model_fields for name in METHODS.names()}
    options[BACKBONE] = {
        key: None
        for name in BACKBONES.names()
        for key in getattr(BACKBONES.get(name), "options", ())
    }
    keys = [f"{first}.{option}" for first, names in options.items() for option in names]
    arm["grid"]["propertyNames"] = {"enum": [*ARM_KEYS, *keys]}


def method(definitions: Definitions) -> JsonSchemaValue:
    """An arm's method: a name alone, or one name with its options, which join `definitions`."""
    choices: Definitions = {}
    for name in METHODS.names():
        entry = METHODS.get(name)
        options = entry.Options.model_json_schema()
        definitions[f"{name}_options"] = without_definitions(options, definitions)
        choices[name] = {
            "description": (inspect.getdoc(entry) or "").split("\n")[0],
            "anyOf": [{"$ref": f"#/$defs/{name}_options"}, {"type": "null"}],
        }
    one_name = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": choices,
    }
    return {"anyOf": [{"enum": ["native", *choices]}, one_name]}


def data_options(name: str, definitions: Definitions) -> JsonSchemaValue:
    """Where a data set is chosen: its own options, and those that it requires."""
    options = without_definitions(options_model(name).model_json_schema(), definitions)
    then: JsonSchemaValue = {"properties": {"options": options}}
    if options.get("required"):
        then["required"] = ["options"]
    condition = {"properties": {"source": {"const": name}}, "required": ["source"]}
    return {"if": condition, "then": then}


def without_definitions(schema: JsonSchemaValue, definitions: Definitions) -> JsonSchemaValue:
    """The schema; its own definitions join `definitions`."""
    definitions.update(schema.pop("$defs", {}))
    return schema


def restrict(schema: JsonSchemaValue, names: list[str]) -> None:
    """Wherever the schema takes text, let it take one of `names` only."""
    if schema.get("type") == "string":
        schema["enum"] = names
    for inner in (schema.get("items"), *schema.get("anyOf", ())):
        if inner:
            restrict(inner, names)
