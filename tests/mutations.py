"""Invalid inputs derived from valid ones: strategies that mutate YAML as a tree and as text."""

from __future__ import annotations

import copy
import datetime
import functools
import json
import math
from typing import Any

from hypothesis import strategies as st
from ruamel.yaml import YAML

ODD = [  # values of a wrong kind, or of the right kind and out of reach
    None,
    True,
    False,
    0,
    -1,
    1,
    3.5,
    1e308,
    -1e-320,
    math.nan,
    math.inf,
    -math.inf,
    2**31,
    2**63,
    10**30,
    "",
    " ",
    "x" * 5000,
    "word " * 2000,
    "Ünïcödé 日本語 💥",
    "[/bold]",
    "[red]x[/red]",
    ":boom: $\\frac{1}$",
    "a\nb",
    "a\r\nb\n",
    "\t",
    "\x1b[31m",
    "\x00",
    "\x85",
    "\u2028",
    "\u202e",
    "null",
    "yes",
    "no",
    "1e-3",
    "0x10",
    "../../x",
    "native",
    "can",
    "all",
    "label",
    "timestep",
    "kid",
    "dit",
    "digits",
    [],
    {},
    [[]],
    [[[[1]]]],
    [None],
    ["native"] * 3,
    {"a": {"b": []}},
    {"": ""},
    {"can": None},
    {"native": {}},
    {"can": {}, "adaln_zero": {}},
    [1, "a", None, {}],
    datetime.date(2024, 1, 2),
    {1: 2},
    {None: "x"},
    {True: "x"},
    {"\x1b": 1},
]

TOKENS = [
    "\t",
    "\n",
    "\n\n",
    "\r",
    " ",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    ",",
    "- ",
    "? ",
    "#",
    "'",
    '"',
    "|",
    ">",
    "@",
    "`",
    "%",
    "=",
    "&a ",
    "*a",
    "*b ",
    "<<: *a\n",
    "<<: ",
    "&a [*a]",
    "&a {x: *a}",
    "!!python/object:os ",
    "!!python/object/apply:os.system ['true']",
    "!!int ",
    "!!bool ",
    "!!binary ",
    "!!set ",
    "!!omap ",
    "!foo ",
    "! ",
    "\x00",
    "\x07",
    "\x1b[31m",
    "\x7f",
    "\x85",
    "\u2028",
    "\ufeff",
    "\ufffe",
    "%YAML 1.1\n---\n",
    "%YAML 9.9\n---\n",
    "%TAG ! x\n",
    "---\n",
    "...\n",
    "[" * 2000,
    "{a: " * 2000,
    "- " * 2000,
    "? " * 500,
    '"\\ud800"',
    '"\\x1b"',
    '"\\u0000"',
    '"\\q"',
    "9" * 5000,
    "0x" + "f" * 2000,
    "0o9",
    "1e999999",
    "2024-99-99",
    "2024-01-01",
    "1:2:3",
    "~",
    ".nan",
    "-.inf",
    "é",
    "💥",
]


@functools.cache
def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def dump(tree: Any) -> str:
    """YAML with a line for each value."""
    if isinstance(tree, dict):
        return "{" + ",\n ".join(f"{dump(k)}: {dump(v)}" for k, v in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ",\n ".join(map(dump, tree)) + "]"
    if isinstance(tree, float) and not math.isfinite(tree):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(tree, ".nan")
    if isinstance(tree, datetime.date):
        return str(tree)
    return json.dumps(tree, ensure_ascii=False)


def places(tree: Any, where: tuple = ()) -> list[tuple]:
    """Paths to everything inside a tree."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree)
    paths = []
    for key, value in inner:
        paths.append((*where, key))
        if isinstance(value, dict | list):
            paths += places(value, (*where, key))
    return paths


def at(tree: Any, where: tuple) -> Any:
    for part in where:
        tree = tree[part]
    return tree


def misspelt(draw: Any, word: str) -> str:
    """One letter lost, doubled, changed or moved."""
    if not word:
        return "x"
    i = draw(st.integers(0, len(word) - 1))
    return draw(
        st.sampled_from(
            [
                word[:i] + word[i + 1 :],
                word[: i + 1] + word[i:],
                word[:i] + "q" + word[i + 1 :],
                word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :],
                word.upper(),
                word + " ",
            ]
        )
    )


def mutate(draw: Any, tree: Any) -> None:
    """One edit, in place."""
    where = draw(st.sampled_from(places(tree)))
    holder, key = at(tree, where[:-1]), where[-1]
    value = holder[key]
    edit = draw(
        st.sampled_from(
            ["drop", "rename", "replace", "replace", "misspell", "move", "copy", "swap", "wrap"]
        )
    )
    if edit == "drop":
        del holder[key]
    elif edit == "rename" and isinstance(holder, dict):
        renamed = {misspelt(draw, str(k)) if k == key else k: v for k, v in holder.items()}
        holder.clear()
        holder.update(renamed)
    elif edit == "misspell" and isinstance(value, str):
        holder[key] = misspelt(draw, value)
    elif edit in ("move", "copy"):
        if edit == "move":
            del holder[key]
        inside = [w for w in places(tree) if isinstance(at(tree, w), dict | list)]
        target = at(tree, draw(st.sampled_from([(), *inside])))
        value = copy.deepcopy(value)
        if isinstance(target, list):
            target.insert(draw(st.integers(0, len(target))), value)
        else:
            target[key] = value
    elif edit == "swap" and isinstance(value, list):
        holder[key] = {str(i): v for i, v in enumerate(value)}
    elif edit == "swap" and isinstance(value, dict):
        holder[key] = draw(st.sampled_from([list(value), list(value.values())]))
    elif edit == "wrap":
        holder[key] = draw(st.sampled_from([[value], {"x": value}, str(value)]))
    else:
        holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))


@st.composite
def trees(draw: Any, text: str, most: int = 2) -> str:
    """`text` with up to `most` edits of its tree."""
    tree = copy.deepcopy(load(text))
    for _ in range(draw(st.integers(1, most))):
        if places(tree):
            mutate(draw, tree)
    return dump(tree)


@st.composite
def texts(draw: Any, text: str, most: int = 3) -> str:
    """`text` with up to `most` edits of its characters and lines."""
    for _ in range(draw(st.integers(1, most))):
        lines = text.split("\n")
        i, j = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        a = draw(st.integers(0, len(text)))
        edit = draw(
            st.sampled_from(
                ["insert", "insert", "delete", "cut", "line", "lose", "exchange", "indent"]
            )
        )
        if edit == "insert":
            text = text[:a] + draw(st.sampled_from(TOKENS)) + text[a:]
        elif edit == "delete":
            text = text[:a] + text[a + draw(st.integers(1, 9)) :]
        elif edit == "cut":
            text = text[:a]
        else:
            if edit == "line":
                lines.insert(j, lines[i])
            elif edit == "lose":
                del lines[i]
            elif edit == "exchange":
                lines[i], lines[j] = lines[j], lines[i]
            else:
                lines[i] = draw(st.sampled_from([" ", "  ", "\t", "    "])) + lines[i]
            text = "\n".join(lines)
    return text
