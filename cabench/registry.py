"""Registries map names to backbones, methods, data sets, metrics, extractors and text encoders.

The package that owns a kind registers its entries when it is imported, and sets `contract`, which
plugins are checked against:

    METHODS.contract = contract              # in cabench.models.conditioning.base

    @METHODS.register("can")
    class CAN(Method): ...
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from cabench.errors import CabenchError, listed, near, shown

Entry = TypeVar("Entry")  # a class, a function or an object with a version
Contract = Callable[[Any], str | None]  # what is wrong with an entry, or None

NAME = r"[A-Za-z0-9][\w.+-]{0,59}"  # allowed names of entries


class Registry:
    """Maps a name to a class or function of one kind."""

    def __init__(self, kind: str):
        self.kind = kind
        self.contract: Contract | None = None  # set by the package that owns the kind
        self._entries: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorator that registers a class or function as `name` and sets its attribute `name`."""
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise CabenchError(
                f"{self.kind} name: expected 1 to 60 letters, digits, _ + - . starting with a "
                f"letter or digit, got {shown(name)}"
            )

        def add(entry: Entry) -> Entry:
            old = self._entries.get(name)
            if old is not None and old.__module__ != entry.__module__:
                module = sys.modules.get(old.__module__)
                owner = module.__file__ if module and plugin_of(old) else old.__module__
                raise CabenchError(f"{self.kind} '{name}' is already registered by {owner}")
            if not callable(entry) and not hasattr(entry, "version"):
                raise CabenchError(f"{self.kind} '{name}' is not a class or function")
            for other, registered in self._entries.items():
                if registered is entry:
                    raise CabenchError(f"{self.kind} '{name}' is already registered as '{other}'")
            entry.name = name  # pyright: ignore[reportAttributeAccessIssue]
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> Any:
        """The entry registered as `name`; CabenchError with near matches if there is none."""
        if name not in self._entries:
            raise CabenchError(
                f"unknown {self.kind} {shown(name)}{near(name, self._entries)}; "
                f"known: {listed(self.names())}"
            )
        return self._entries[name]

    def entries(self) -> list[Any]:
        """All entries in the order of registration."""
        return list(self._entries.values())

    def forget(self, module: str) -> None:
        """Remove the entries that `module` registered, before a plugin is reloaded."""
        self._entries = {n: e for n, e in self._entries.items() if e.__module__ != module}

    def names(self, pattern: str = "*") -> list[str]:
        """Registered names that match a glob pattern, sorted."""
        return sorted(fnmatch.filter(self._entries, pattern))

    def __contains__(self, name: str) -> bool:
        return name in self._entries


BACKBONES = Registry("backbone")
METHODS = Registry("method")
DATASETS = Registry("data set")
METRICS = Registry("metric")
EXTRACTORS = Registry("feature extractor")
TEXT_ENCODERS = Registry("text encoder")
REGISTRIES = (BACKBONES, METHODS, DATASETS, METRICS, EXTRACTORS, TEXT_ENCODERS)


def missing(entry: Any, attributes: tuple[str, ...]) -> str | None:
    """For contracts: what is missing of `attributes`, or wrong with `version`; None if nothing."""
    absent = [name for name in attributes if not hasattr(entry, name)]
    if absent:
        return f"missing {listed(absent)}"
    if not isinstance(entry.version, int):
        return f"version: expected an integer, got {shown(entry.version)}"
    return None


def plugin_of(entry: Any) -> str | None:
    """The sha256 of the plugin that registered an entry; None for a built-in one."""
    return getattr(sys.modules.get(entry.__module__), "__cabench_sha256__", None)


def versioned(entry: Any) -> dict[str, Any]:
    """An entry's part of content keys: its version and, from a plugin, the plugin's sha256."""
    plugin = plugin_of(entry)
    return {"version": entry.version} | ({"plugin": plugin} if plugin else {})
