"""YAML files as checked models: a fault names file, line, key, what was found, what is allowed."""

from __future__ import annotations

import math
import re
import unicodedata
import warnings
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.parser import RoundTripParser
from ruamel.yaml.reader import ReaderError

from cabench.errors import FOUND, CabenchError, cut, shown
from cabench.runtime.validation import Model, first_fault, validate

LARGEST_FILE = 1_000_000  # bytes
LONGEST_WORD = 1_000  # characters of a number or an unquoted text
DEEPEST = 30  # mappings and lists inside each other
MOST_VALUES = 100_000  # once aliases are followed
LARGEST_INT = 2**63 - 1


class _Parser(RoundTripParser):
    """Refuses tags, deep nesting and endless words before anything is built of them."""

    depth = 0

    def get_event(self) -> Any:
        event = super().get_event()
        problem = ""
        if tag := getattr(event, "tag", None):
            found = str(tag).replace("tag:yaml.org,2002:", "!!")
            problem = f"tags are not used here; found {shown(found)}"
        if isinstance(event, ScalarEvent) and not event.style and len(event.value) > LONGEST_WORD:
            problem = f"{len(event.value):,} characters without quotes; at most {LONGEST_WORD:,}"
        self.depth += isinstance(event, CollectionStartEvent)
        self.depth -= isinstance(event, CollectionEndEvent)
        if self.depth > DEEPEST:
            problem = f"nested more than {DEEPEST} deep"
        if problem:
            raise MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return event


class _Constructor(RoundTripConstructor):
    """Dates are text, as in YAML 1.2's core schema."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", RoundTripConstructor.construct_yaml_str)


def read_yaml(path: Path, what: str) -> CommentedMap:
    """The mapping in `path`, with line numbers; YAML 1.2 without tags."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise CabenchError(f"{path}: not a {what}: more than {LARGEST_FILE:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise CabenchError(f"{path}: not a {what}: the file isn't UTF-8 text") from None
    except OSError as error:
        raise CabenchError(f"{path}: can't read this {what}: {error.strerror}") from None
    return parse_yaml(text, path, what)


def parse_yaml(text: str, path: Path, what: str) -> CommentedMap:
    """The mapping in `text`; `path` is only named in faults."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a name given to two anchors
            reader = YAML(typ="rt")
            reader.Parser, reader.Constructor = _Parser, _Constructor
            content = reader.load(text)
    except ReaderError as error:
        where, problem = text.count("\n", 0, error.position) + 1, _character(error.character)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where, problem = mark.line + 1 if mark else 1, _problem(error)
    except Exception as error:  # the parser raises many kinds, one for each way to be odd
        where, problem = 1, f"{type(error).__name__}: {cut(str(error), 200)}"
    else:
        if isinstance(content, CommentedMap):
            return content
        kinds = "a mapping of keys to values"
        raise CabenchError(f"{path}:1: {what}: should be {kinds}; found {shown(content)}")
    raise CabenchError(f"{path}:{where}: not valid YAML: {problem}")


PROBLEMS = {  # the parser's words (a pattern), and what mends it
    r"mapping values are not allowed": "a second ': ' in a value, which wants quotes, or a line "
    "indented too far",
    r"expected <block end>": "this line's indentation doesn't fit the lines above",
    r"expected '?<document start>": "this stands outside of the mapping: mend the indentation",
    r"could not find expected ':'": "a key without its ': '",
    r"found character '\\t'": "a tab: indent with blanks",
    r"expected ',' or '[]}]'": "a bracket [ or { is not closed, or a comma is missing",
    r"unexpected end of stream": "a quote is not closed",
    r"another document": "a second document (---); one is allowed",
}


def _problem(error: MarkedYAMLError) -> str:
    text = error.problem or str(error)
    for words, ours in PROBLEMS.items():
        if re.search(words, text):
            return ours
    text = re.sub(r"^(found duplicate key .*?) with value .*", r"\1", text, flags=re.DOTALL)
    return cut(text.splitlines()[0], 200)


def _character(found: Any) -> str:
    return f"the character {shown(found if isinstance(found, str) else chr(found))} isn't allowed"


def line_of(content: Any, where: tuple[Any, ...]) -> int:
    """The line (from 1) on which the deepest known part of `where` stands."""
    line = 1
    for part in where:
        try:
            if isinstance(content, CommentedMap):
                mark, content = content.lc.key, content[part]
            elif isinstance(content, CommentedSeq):
                mark, content = content.lc.item, content[part]
            else:
                break
            line = mark(part)[0] + 1
        except (KeyError, IndexError):  # absent, or merged in from elsewhere
            continue
        except TypeError:  # not written in the file
            break
    return line


def fault(path: Path | str, content: Any, where: tuple[Any, ...], text: str) -> CabenchError:
    """'FILE:LINE: KEY: TEXT'; no line where there is no file, hence no `content`."""
    line = "" if content is None else f":{line_of(content, where)}"
    plain_key = re.compile(r"\S(.*\S)?", re.DOTALL)  # blanks at its ends would not be seen
    parts = [p if isinstance(p, str) and plain_key.fullmatch(p) else shown(p) for p in where]
    key = cut(".".join(cut(part, FOUND) for part in parts), 3 * FOUND)
    return CabenchError(f"{path}{line}: {key + ': ' if key else ''}{text}")


def check(model: type[Model], path: Path, content: CommentedMap) -> Model:
    """`content` as a `model`; the first fault as one line."""
    value = plain(path, content)
    try:
        return validate(model, value)
    except ValidationError as error:
        where, text = first_fault(error, model, value)
        raise fault(path, content, where, text) from None


def plain(path: Path, content: Any) -> Any:
    """`content` as what JSON can say: text keys, finite numbers, no control characters."""
    seen = 0

    def walk(node: Any, where: tuple[Any, ...]) -> Any:
        nonlocal seen
        seen += 1
        problem = _unfit(node)
        if len(where) > DEEPEST:
            problem = f"nested more than {DEEPEST} deep by an alias of itself"
        elif seen > MOST_VALUES:
            problem = f"aliases make more than {MOST_VALUES:,} values of this"
        if problem:
            raise fault(path, content, where, problem)
        if isinstance(node, dict):
            for key in node:
                if not isinstance(key, str):
                    text = f"a key is text: put it in quotes; found {shown(key)}"
                    raise fault(path, content, (*where, key), text)
                if problem := _unfit(key):
                    raise fault(path, content, (*where, key), f"key: {problem}")
            return {str(key): walk(value, (*where, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, (*where, i)) for i, value in enumerate(node)]
        return node

    return walk(content, ())


def _unfit(value: Any) -> str:
    """Why a value can't be used, or ''."""
    if isinstance(value, str):
        odd = [c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
        return f"holds the control character {shown(odd[0])}" if odd else ""
    if isinstance(value, float) and not math.isfinite(value):
        return f"should be a finite number; found {shown(float(value))}"
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        most = len(str(LARGEST_INT))
        return f"should be a number of at most {most} digits; found {len(str(abs(value)))}"
    return ""
