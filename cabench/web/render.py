"""HTML from the package's templates: one file each, with styles, scripts and data inside.

Jinja2 escapes every text. Data is JSON in which no tag can end or begin. The page's policy allows
the scripts of this package by their hash, and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cabench.records.spec import Json
from cabench.version import __version__

SCRIPTS = ("charts.js", "plots.js", "viewer.js", "page.js")
STYLE = "page.css"
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class Live:
    """Where a served page asks every few seconds whether it is still up to date."""

    address: str  # on this server, of the version of what the page shows now
    version: str  # of what the page was drawn from


def render(template: str, data: Json | None = None, live: Live | None = None, **values: Any) -> str:
    """The page of a template.

    Args:
        template: name of a file in `templates`.
        data: what the page's scripts read.
        live: None for a page that sends no request.
        values: what the template reads.
    """
    script = "\n".join(map(asset, SCRIPTS))
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            live=live,
            version=__version__,
            style=Markup(asset(STYLE)),
            script=Markup(script),
            policy=_policy(script, asset(STYLE), live),
            data=embedded(data or {}),
        )
    )


def embedded(content: Json) -> Markup:
    """JSON for a script element: `<`, `>` and `&` are written as escapes. NaN is refused."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for letter, escape in UNSAFE.items():
        text = text.replace(letter, escape)
    return Markup(text)


@cache
def asset(name: str) -> str:
    """A script or style of the package."""
    return (resources.files("cabench.web") / "static" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("cabench.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _policy(script: str, style: str, live: Live | None) -> str:
    """The content security policy: scripts and styles by hash, images from data, no request."""
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"img-src data:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
