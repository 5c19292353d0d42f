"""Plugins: one Python file that registers methods, metrics, backbones or data sets of one's own.

Nothing is loaded but what --plugin names. A plugin travels to workers as its source, so that what
runs is what was hashed into the trials' keys.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
import traceback
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cabench.errors import CabenchError, cut, listed, shown
from cabench.registry import REGISTRIES

NEEDED = {  # attributes
    "backbone": ("version", "hooks", "sites", "native", "presets", "sizes", "problem"),
    "method": ("version",),
    "metric": ("version", "needs", "higher_is_better", "label", "compute"),
    "text encoder": ("version", "width", "fingerprint", "ids", "features"),
}

PREFIX = "cabench_plugin_"  # of the modules that plugins become


@dataclass(frozen=True)
class Plugin:
    path: str  # as given, for messages
    source: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def module(self) -> str:
        return PREFIX + re.sub(r"\W", "_", Path(self.path).stem)


def read_plugins(paths: Iterable[Path]) -> list[Plugin]:
    """The files' sources, not yet loaded."""
    plugins: dict[str, Plugin] = {}
    for path in paths:
        if path.exists() and not path.is_file():
            raise CabenchError(f"--plugin: {path}: not a file")
        try:
            plugin = Plugin(str(path), path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError:
            raise CabenchError(f"--plugin: {path}: not a Python file in UTF-8") from None
        except OSError as error:
            raise CabenchError(f"--plugin: {path}: can't be read: {error.strerror}") from None
        if plugin.module in plugins:
            raise CabenchError(
                f"--plugin: {path}: a plugin of this file name is given already: "
                f"{plugins[plugin.module].path}"
            )
        plugins[plugin.module] = plugin
    return list(plugins.values())


def load_plugins(plugins: Iterable[Plugin]) -> None:
    """Makes these the plugins of this process: each is run once, any other is forgotten."""
    wanted = {plugin.module: plugin for plugin in plugins}
    for name in [n for n in sys.modules if n.startswith(PREFIX)]:
        plugin = wanted.get(name)
        if plugin is None or sys.modules[name].__cabench_sha256__ != plugin.sha256:
            _forget(name)
    for name, plugin in wanted.items():
        if name not in sys.modules:
            _load(plugin)


def _load(plugin: Plugin) -> None:
    module: Any = types.ModuleType(plugin.module)
    module.__file__ = plugin.path
    module.__cabench_sha256__ = plugin.sha256
    sys.modules[plugin.module] = module
    try:
        exec(compile(plugin.source, plugin.path, "exec"), module.__dict__)
        _check(plugin)
    except (Exception, SystemExit) as error:
        _forget(plugin.module)
        raise CabenchError(_where(plugin, error)) from None


def _forget(module: str) -> None:
    del sys.modules[module]
    for registry in REGISTRIES:
        registry.forget(module)


def _check(plugin: Plugin) -> None:
    """Refuses what would fail later, away from the plugin's file."""
    found = {r.kind: [e for e in r.entries() if e.__module__ == plugin.module] for r in REGISTRIES}
    if not any(found.values()):
        raise CabenchError(
            f"{plugin.path}: it registers nothing: use METHODS.register('name') or the like"
        )
    for kind, entries in found.items():
        for entry in entries:
            if problem := _problem(kind, entry):
                place = f"{plugin.path}:{_line(plugin, entry)}"
                raise CabenchError(f"{place}: {kind} '{entry.name}': {problem}")


def _problem(kind: str, entry: Any) -> str | None:
    from cabench.models.conditioning.base import Method, MethodOptions

    if kind == "method" and not _is_a(entry, Method):
        return "it is no subclass of Method"
    if kind == "method" and not _is_a(entry.Options, MethodOptions):
        return "its Options is no subclass of MethodOptions"
    if kind == "data set":
        return _data_problem(entry)
    absent = [name for name in NEEDED[kind] if not hasattr(entry, name)]
    if absent:
        return f"it has no {listed(absent)}"
    if not isinstance(entry.version, int):
        return f"its version is a whole number; found {shown(entry.version)}"
    return _metric_problem(entry) if kind == "metric" else None


def _data_problem(entry: Any) -> str | None:
    from cabench.data import options_model

    try:
        options_model(entry.name)
    except Exception as error:  # an annotation that names nothing, or no kind of value
        return f"its arguments can't be options: {cut(f'{type(error).__name__}: {error}', 200)}"
    return None


def _metric_problem(entry: Any) -> str | None:
    if entry.needs not in ("samples", "model"):
        return f"its needs is 'samples' or 'model'; found {shown(entry.needs)}"
    if entry.needs == "samples" and not isinstance(getattr(entry, "min_samples", None), int):
        return "its min_samples is a whole number"
    try:
        entry.label.format(n=1)
    except (AttributeError, LookupError, ValueError):
        return f"its label is a text that may hold {{n}}; found {shown(entry.label)}"
    return None


def _is_a(entry: Any, parent: type) -> bool:
    return inspect.isclass(entry) and issubclass(entry, parent)


def _line(plugin: Plugin, entry: Any) -> int:
    """Where the class or function that was registered stands."""
    named = (ast.ClassDef, ast.FunctionDef)
    nodes = [n for n in ast.walk(ast.parse(plugin.source)) if isinstance(n, named)]
    return next((n.lineno for n in nodes if n.name == getattr(entry, "__name__", None)), 1)


def _where(plugin: Plugin, error: BaseException) -> str:
    """'my_idea.py:12: NameError: ...'."""
    if isinstance(error, SyntaxError) and error.filename in (plugin.path, None):
        return f"{plugin.path}:{error.lineno or 1}: not valid Python: {error.msg}"
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == plugin.path
    ]
    if isinstance(error, CabenchError):
        return f"{plugin.path}:{lines[-1]}: {error}" if lines else str(error)
    said = traceback.format_exception_only(error)[-1]  # whatever its own str() does
    return f"{plugin.path}:{lines[-1] if lines else 1}: {cut(said, 300)}"
