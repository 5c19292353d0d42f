"""Hooks of mkdocs: files outside docs/ that a page links to, and equations without JavaScript.

The pages are written for GitHub, where a link such as ../studies/aa.yaml leaves docs/. In the site
such a file, and what it links to in turn, stands below repository/. Equations become MathML, which
browsers draw by themselves.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files, InclusionLevel
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[1]
OUTSIDE = "repository"  # the folder of the site with files from outside docs/
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2|`[^`\n]+`", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r'<span class="arithmatex">\\\((.+?)\\\)</span>', re.DOTALL)


def mathml(source: str, language: str, css_class: str, options: Any, md: Any, **kwargs: Any) -> str:
    """A fenced block of LaTeX as MathML."""
    return f'<div class="equation">{convert(source, display="block")}</div>'


def on_config(config: Any) -> Any:
    """Headings get the anchors that GitHub gives them; blocks ```math become MathML."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    fence = {"name": "math", "class": "equation", "format": mathml}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def repository_path(uri: str) -> str:
    """The path in the repository of a page or file of the site."""
    outside = uri.startswith(f"{OUTSIDE}/")
    return uri.removeprefix(f"{OUTSIDE}/") if outside else f"docs/{uri}"


def site_uri(path: str) -> str:
    """Where a file of the repository stands in the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{OUTSIDE}/{path}"


def target(link: str, uri: str) -> str:
    """The path in the repository that a link of the page `uri` names."""
    folder = posixpath.dirname(repository_path(uri))
    return posixpath.normpath(posixpath.join(folder, unquote(link)))


def links(text: str) -> list[str]:
    """Relative links of a page, without those in code."""
    return [match[1] for match in LINK.finditer(FENCED.sub("", text))]


def on_files(files: Files, config: Any) -> Files:
    """Adds the files outside docs/ that pages link to, and those that these link to."""
    queue = [file.src_uri for file in files.documentation_pages()]
    seen = set(queue)
    while queue:
        uri = queue.pop()
        text = (ROOT / repository_path(uri)).read_text(encoding="utf-8")
        for link in links(text):
            path = target(link, uri)
            other = site_uri(path)
            if path.startswith("docs/") or other in seen or not (ROOT / path).is_file():
                continue
            seen.add(other)
            level = InclusionLevel.NOT_IN_NAV
            file = File.generated(config, other, abs_src_path=str(ROOT / path), inclusion=level)
            files.append(file)
            if file.is_documentation_page():
                queue.append(other)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Points links to where the files stand in the site; a link to a folder becomes its text."""
    uri = page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        here = posixpath.dirname(uri) or "."
        path = posixpath.relpath(site_uri(target(match[1], uri)), here)
        return path + (match[2] or "")

    def outside_code(text: str) -> str:
        return LINK.sub(moved, text)

    parts, end = [], 0
    for code in FENCED.finditer(markdown):
        parts += [outside_code(markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, outside_code(markdown[end:])])


def on_page_content(content: str, page: Any, config: Any, files: Files) -> str:
    """Inline equations as MathML."""
    return INLINE.sub(lambda match: convert(html.unescape(match[1])), content)
