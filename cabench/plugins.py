"""Plugins: Python files that register methods, metrics, backbones or other entries.

Only files named by --plugin are loaded. Workers receive a plugin's source, so the code that runs is
the code that was hashed into the trials' keys. Each entry is checked against its registry's
contract, where the package that owns the registry is imported.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
import traceback
import types
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cabench.errors import CabenchError, cut
from cabench.registry import REGISTRIES

PREFIX = "cabench_plugin_"  # of the names of plugins' modules


@dataclass(frozen=True)
class Plugin:
    """A plugin's source, read but not loaded."""

    path: str  # as given, for messages
    source: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def module(self) -> str:
        """The name of its module in this process."""
        return PREFIX + re.sub(r"\W", "_", Path(self.path).stem)


def read_plugins(paths: Iterable[Path]) -> list[Plugin]:
    """The plugins at `paths`; CabenchError for unreadable files and repeated file names."""
    plugins: dict[str, Plugin] = {}
    for path in paths:
        if path.exists() and not path.is_file():
            raise CabenchError(f"--plugin: {path}: not a file")
        try:
            plugin = Plugin(str(path), path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError:
            raise CabenchError(f"--plugin: {path}: not a Python file in UTF-8") from None
        except OSError as error:
            raise CabenchError(f"--plugin: {path}: cannot be read: {error.strerror}") from None
        if plugin.module in plugins:
            raise CabenchError(
                f"--plugin: {path}: has the same file name as {plugins[plugin.module].path}"
            )
        plugins[plugin.module] = plugin
    return list(plugins.values())


def load_plugins(plugins: Iterable[Plugin]) -> None:
    """Load each plugin that is new or changed, and unload all others."""
    selected = {plugin.module: plugin for plugin in plugins}
    for name in [n for n in sys.modules if n.startswith(PREFIX)]:
        plugin = selected.get(name)
        if plugin is None or sys.modules[name].__cabench_sha256__ != plugin.sha256:
            _unload(name)
    for name, plugin in selected.items():
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
        _unload(plugin.module)
        raise CabenchError(_located(plugin, error)) from None


def _unload(module: str) -> None:
    del sys.modules[module]
    for registry in REGISTRIES:
        registry.forget(module)


def _check(plugin: Plugin) -> None:
    """Raise CabenchError if the plugin registers nothing or an entry violates its contract."""
    registered = [
        (registry, entry)
        for registry in REGISTRIES
        for entry in registry.entries()
        if entry.__module__ == plugin.module
    ]
    if not registered:
        raise CabenchError(
            f"{plugin.path}: registers nothing; expected @METHODS.register('name') or similar"
        )
    for registry, entry in registered:
        if registry.contract and (problem := registry.contract(entry)):
            line = _line(plugin, entry)
            raise CabenchError(f"{plugin.path}:{line}: {registry.kind} '{entry.name}': {problem}")


def _line(plugin: Plugin, entry: Any) -> int:
    """The line that defines a registered class or function; 1 if there is none."""
    definitions = (ast.ClassDef, ast.FunctionDef)
    nodes = [n for n in ast.walk(ast.parse(plugin.source)) if isinstance(n, definitions)]
    return next((n.lineno for n in nodes if n.name == getattr(entry, "__name__", None)), 1)


def _located(plugin: Plugin, error: BaseException) -> str:
    """'my_idea.py:12: NameError: ...'."""
    if isinstance(error, SyntaxError) and error.filename in (plugin.path, None):
        return f"{plugin.path}:{error.lineno or 1}: not valid Python: {error.msg}"
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == plugin.path
    ]
    if isinstance(error, CabenchError):
        return f"{plugin.path}:{lines[-1]}: {error}" if lines else str(error)
    text = traceback.format_exception_only(error)[-1]  # works where error.__str__ raises
    return f"{plugin.path}:{lines[-1] if lines else 1}: {cut(text, 300)}"
