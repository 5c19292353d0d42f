"""YAML files as validated models. Errors name file, line and key."""

from __future__ import annotations

import io
import math
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.parser import RoundTripParser
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from cabench.errors import CabenchError, ConfigError, Where, cut, key_path, shown
from cabench.runtime.files import is_special
from cabench.runtime.validation import Model, first_fault, validate

LARGEST_FILE = 1_000_000  # bytes
LONGEST_WORD = 1_000  # characters of a number or an unquoted text
DEEPEST = 30  # levels of nested mappings and lists
MOST_VALUES = 100_000  # with aliases expanded
LARGEST_INT = 2**63 - 1
SET = "--set"  # the option that replaces values of a scale


@dataclass(frozen=True)
class Document:
    """A YAML file (or text) as a mapping that knows the line of each key."""

    # fmt: off
    name: str                       # as in ConfigError.document: 'study', 'scale', ...
    path: Path | str                # what messages call it
    content: CommentedMap
    added: Mapping[Where, str] = field(default_factory=dict)  # parts given by an option: its name
    settings: tuple[Where, ...] = ()    # values given by --set
    origins: Mapping[Where, Where] = field(default_factory=dict)  # place -> where it is written
    layers: tuple[Document, ...] = ()   # this file and those that it extends; () for one alone
    # fmt: on

    @classmethod
    def read(cls, path: Path, name: str) -> Document:
        """The document in a file; YAML 1.2 without tags."""
        try:
            if is_special(path):
                raise CabenchError(f"{path}: not a {name}: it is not a regular file")
            if path.stat().st_size > LARGEST_FILE:
                raise CabenchError(f"{path}: not a {name}: more than {LARGEST_FILE:,} bytes")
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise CabenchError(f"{path}: not a {name}: the file is not UTF-8 text") from None
        except OSError as error:
            raise CabenchError(f"{path}: cannot read this {name}: {error.strerror}") from None
        return cls.parse(text, path, name)

    @classmethod
    def parse(cls, text: str, path: Path | str, name: str) -> Document:
        """The document in `text`."""
        content = _load(text, path, name)
        if not isinstance(content, CommentedMap):
            problem = f"expected a mapping of keys to values, got {shown(content)}"
            raise ConfigError(name, (), problem, path, 1)
        return cls(name, path, content)

    def validated(self, model: type[Model]) -> Model:
        """The document as a `model`; its first error is raised with file and line."""
        with located(self):
            value = plain(self.content, self.name)
            try:
                return validate(model, value)
            except ValidationError as error:
                where, text = first_fault(error, model, value)
                raise ConfigError(self.name, where, text) from None

    def locate(self, error: ConfigError) -> ConfigError:
        """The same error with this document's file and the line of its key."""
        for part, option in self.added.items():
            if error.where[: len(part)] == part:
                return ConfigError(self.name, error.where, error.text, option)
        if any(error.where[: len(part)] == part for part in self.settings):
            return ConfigError(self.name, (), error.text, f"{SET} {key_path(error.where)}")
        written = self._layer_of(error.where)
        line = line_of(written.content, self._origin_of(error.where))
        return ConfigError(self.name, error.where, error.text, written.path, line)

    def _origin_of(self, where: Where) -> Where:
        """Where the file writes what stands at `where` once grids are expanded."""
        for end in range(len(where), 0, -1):
            if origin := self.origins.get(where[:end]):
                return (*origin, *where[end:])
        return where

    def _layer_of(self, where: Where) -> Document:
        """The file that writes the value at `where`, or else the most of the keys that lead there.

        A value that is no mapping hides what is written below it in the files that are extended.
        """
        best, deepest = self, 0
        for layer in self.layers:
            depth, is_mapping = _reach(layer.content, where)
            if depth > deepest:
                best, deepest = layer, depth
            if not is_mapping and depth:
                break
        return best


def value_of(text: str, option: str, name: str) -> Any:
    """The JSON value that the text of an option stands for, written as in the document `name`."""
    try:
        return plain(_load(text, option, name), name)
    except ConfigError as error:
        raise ConfigError(name, (), error.text, option) from None


@contextmanager
def located(*documents: Document) -> Iterator[None]:
    """Adds file and line to a ConfigError about one of `documents`."""
    try:
        yield
    except ConfigError as error:
        if error.path is None:
            for document in documents:
                if document.name == error.document:
                    raise document.locate(error) from None
        raise


def line_of(content: Any, where: Where) -> int:
    """The line (from 1) of the deepest part of `where` that the file has."""
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


def _reach(content: Any, where: Where) -> tuple[int, bool]:
    """How many parts of `where` the content has, and whether all on the way are mappings."""
    for depth, part in enumerate(where):
        if not isinstance(content, CommentedMap):
            return depth, False
        if part not in content:
            return depth, True
        content = content[part]
    return len(where), isinstance(content, CommentedMap)


# ---- parsing ------------------------------------------------------------------------------------


class _Parser(RoundTripParser):
    """Refuses tags, deep nesting and very long words before values are built from them."""

    depth = 0

    def get_event(self) -> Any:
        event = super().get_event()
        problem = ""
        if tag := getattr(event, "tag", None):
            name = str(tag).replace("tag:yaml.org,2002:", "!!")
            problem = f"expected no tags, got {shown(name)}"
        if isinstance(event, ScalarEvent) and not event.style and len(event.value) > LONGEST_WORD:
            length = f"{len(event.value):,}"
            problem = f"expected at most {LONGEST_WORD:,} characters without quotes, got {length}"
        self.depth += isinstance(event, CollectionStartEvent)
        self.depth -= isinstance(event, CollectionEndEvent)
        if self.depth > DEEPEST:
            problem = f"nested more than {DEEPEST} deep"
        if problem:
            raise MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return event


class _Constructor(RoundTripConstructor):
    """Reads dates and `=` as text, as YAML 1.2's core schema does."""


for _kind in ("timestamp", "value"):
    _Constructor.add_constructor(
        f"tag:yaml.org,2002:{_kind}", RoundTripConstructor.construct_yaml_str
    )


def _load(text: str, path: Path | str, name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about anchors that share a name
            reader = YAML(typ="rt")
            reader.Parser, reader.Constructor = _Parser, _Constructor
            return reader.load(text)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        character = error.character if isinstance(error.character, str) else chr(error.character)
        problem = f"the character {shown(character)} is not allowed"
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = _problem(error, text)
    except Exception as error:  # the parser raises many types, one for each oddity
        line, problem = 1, f"{type(error).__name__}: {cut(str(error), 200)}"
    raise ConfigError(name, (), f"not valid YAML: {problem}", path, line) from None


def _problem(error: MarkedYAMLError, text: str) -> str:
    """The parser's own words in one line; its terms have no angle brackets."""
    mark = error.problem_mark
    if isinstance(error, DuplicateKeyError) and mark is not None:
        key = text.splitlines()[mark.line][mark.column :].split(":")[0]
        return f"duplicate key {shown(key.strip())}"
    problem = (error.problem or str(error)).splitlines()[0]
    problem = cut(problem.replace("<", "").replace(">", ""), 200)
    return problem if mark is None else f"{problem} (column {mark.column + 1})"


# ---- writing ------------------------------------------------------------------------------------

PLAIN = re.compile(r"[a-z][a-z0-9_-]*")  # text that is surely no number or word of YAML's
WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def dump(content: dict[str, Any]) -> str:
    """JSON values as YAML that `Document.parse` reads back; lists of scalars are in one line."""
    writer = YAML(typ="rt")
    writer.width = LARGEST_FILE
    text = io.StringIO()
    writer.dump(_quoted(content), text)
    return text.getvalue()


def _quoted(value: Any) -> Any:
    """The value with quotes around texts that YAML could read as something else."""
    if isinstance(value, dict):
        return {key: _quoted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        items = CommentedSeq(map(_quoted, value))
        if not any(isinstance(item, dict | list) for item in value):
            items.fa.set_flow_style()
        return items
    if isinstance(value, str) and (not PLAIN.fullmatch(value) or value in WORDS):
        return DoubleQuotedScalarString(value)
    return value


# ---- values -------------------------------------------------------------------------------------


def plain(content: Any, name: str) -> Any:
    """`content` as JSON values: text keys, finite numbers, no control characters.

    Raises a ConfigError about the document `name`, without file and line.
    """
    seen = 0

    def walk(node: Any, where: Where) -> Any:
        nonlocal seen
        seen += 1
        problem = _value_problem(node)
        if len(where) > DEEPEST:
            problem = f"nested more than {DEEPEST} deep by an alias of itself"
        elif seen > MOST_VALUES:
            problem = f"more than {MOST_VALUES:,} values, with aliases expanded"
        if problem:
            raise ConfigError(name, where, problem)
        if isinstance(node, dict):
            for key in node:
                if problem := _key_problem(key):
                    raise ConfigError(name, (*where, key), problem)
            return {str(key): walk(value, (*where, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value, (*where, i)) for i, value in enumerate(node)]
        return node

    return walk(content, ())


def value_at(content: Any, where: Where) -> Any:
    """The value at `where` of JSON values; None where there is none."""
    for part in where:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def _key_problem(key: Any) -> str:
    if not isinstance(key, str):
        return f"expected a key that is text, got {shown(key)}; quote it"
    problem = _value_problem(key)
    return f"key: {problem}" if problem else ""


def _value_problem(value: Any) -> str:
    """Why a value cannot be used, or ''."""
    if isinstance(value, str):
        odd = [c for c in value if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"]
        return f"contains the control character {shown(odd[0])}" if odd else ""
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, got {shown(float(value))}"
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        most, digits = len(str(LARGEST_INT)), len(str(abs(value)))
        return f"expected a number of at most {most} digits, got {digits}"
    return ""
