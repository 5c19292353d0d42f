"""Named parts: backbones, methods, data sets, metrics, feature extractors, text encoders."""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable
from typing import Any

from cabench.errors import CabenchError, listed, near, shown

NAME = r"[A-Za-z0-9][\w.+-]{0,59}"  # of what is registered


class Registry:
    """Maps a name to a class or function of one kind."""

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            raise CabenchError(
                f"a {self.kind}'s name has 1 to 60 letters, digits, _ + - . and begins with a "
                f"letter or digit; found {shown(name)}"
            )

        def add(entry: Any) -> Any:
            held = self._entries.get(name)
            if held is not None and held.__module__ != entry.__module__:
                module = sys.modules.get(held.__module__)
                by = module.__file__ if plugin_of(held) else held.__module__
                raise CabenchError(f"{self.kind} '{name}' is already registered by {by}")
            if not callable(entry):
                raise CabenchError(f"{self.kind} '{name}' is no class or function")
            if any(entry is other for other in self._entries.values()):
                raise CabenchError(f"{self.kind} '{name}' is registered as '{entry.name}', too")
            entry.name = name
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> Any:
        if name not in self._entries:
            raise CabenchError(
                f"unknown {self.kind} {shown(name)}{near(name, self._entries)}; "
                f"known: {listed(self.names())}"
            )
        return self._entries[name]

    def entries(self) -> list[Any]:
        return list(self._entries.values())

    def forget(self, module: str) -> None:
        """Drops what a module registered: a plugin that is loaded anew."""
        kept = {n: e for n, e in self._entries.items() if e.__module__ != module}
        self._entries = kept

    def names(self, pattern: str = "*") -> list[str]:
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


def plugin_of(entry: Any) -> str | None:
    """The sha256 of the plugin that registered an entry; None for a built-in one."""
    return getattr(sys.modules.get(entry.__module__), "__cabench_sha256__", None)


def versioned(entry: Any) -> dict[str, Any]:
    """What of an entry's code goes into keys: its version, and a plugin's hash."""
    plugin = plugin_of(entry)
    return {"version": entry.version} | ({"plugin": plugin} if plugin else {})
