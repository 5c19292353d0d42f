"""Named parts: backbones, methods, data sets, metrics. Plugins register as we do."""

from __future__ import annotations

import difflib
import fnmatch
import sys
from collections.abc import Callable, Iterable
from typing import Any

from cabench.errors import CabenchError


def near(found: str, allowed: Iterable[str]) -> str:
    """A ' (did you mean X?)' suffix when one of `allowed` resembles `found`, else ''."""
    match = difflib.get_close_matches(found, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else ""


class Registry:
    """Maps a name to a class or function of one kind."""

    def __init__(self, kind: str):
        self.kind = kind
        self._entries: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        def add(entry: Any) -> Any:
            held = self._entries.get(name)
            if held is not None and held.__module__ != entry.__module__:
                raise CabenchError(
                    f"{self.kind} '{name}' is already registered by {held.__module__}"
                )
            self._entries[name] = entry
            entry.name = name
            return entry

        return add

    def get(self, name: str) -> Any:
        if name not in self._entries:
            raise CabenchError(
                f"unknown {self.kind} '{name}'{near(name, self._entries)}; "
                f"known: {', '.join(self.names())}"
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
REGISTRIES = (BACKBONES, METHODS, DATASETS, METRICS)


def plugin_of(entry: Any) -> str | None:
    """The sha256 of the plugin that registered an entry; None for a built-in one."""
    return getattr(sys.modules.get(entry.__module__), "__cabench_sha256__", None)


def versioned(entry: Any) -> dict[str, Any]:
    """What of an entry's code goes into keys: its version, and a plugin's hash."""
    plugin = plugin_of(entry)
    return {"version": entry.version} | ({"plugin": plugin} if plugin else {})
