"""Plugins: one Python file that registers methods, metrics, backbones or data sets of one's own.

Nothing is loaded but what --plugin names. A plugin travels to workers as its source, so that what
runs is what was hashed into the trials' keys.
"""

from __future__ import annotations

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

from cabench.errors import CabenchError
from cabench.registry import METHODS, REGISTRIES, plugin_of

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
        try:
            plugin = Plugin(str(path), path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise CabenchError(f"--plugin: {path}: not a Python file in UTF-8") from None
        except OSError as error:
            raise CabenchError(f"--plugin: {path}: can't be read: {error.strerror}") from None
        if plugin.module in plugins:
            raise CabenchError(f"--plugin: {path}: a plugin of this file name is given already")
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
    from cabench.models.conditioning.base import Method, MethodOptions

    entries = [e for r in REGISTRIES for e in r.entries() if e.__module__ == plugin.module]
    if not entries:
        raise CabenchError("it registers nothing: use METHODS.register('name') or the like")
    for method in (e for e in METHODS.entries() if plugin_of(e) == plugin.sha256):
        if not (inspect.isclass(method) and issubclass(method, Method)):
            raise CabenchError(f"method '{method.name}' is no subclass of Method")
        if not issubclass(method.Options, MethodOptions):
            raise CabenchError(f"method '{method.name}': Options is no subclass of MethodOptions")


def _where(plugin: Plugin, error: BaseException) -> str:
    """'my_idea.py:12: NameError: ...'."""
    text = str(error).splitlines()[0] if str(error) else "no message"
    if isinstance(error, SyntaxError):
        return f"{plugin.path}:{error.lineno or 1}: not valid Python: {error.msg}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__)
             if f.filename == plugin.path]  # fmt: skip
    place = f"{plugin.path}:{lines[-1]}" if lines else plugin.path
    kind = "" if isinstance(error, CabenchError) else f"{type(error).__name__}: "
    return f"{place}: {kind}{text}"
