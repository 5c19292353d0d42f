"""Plugins: Python files that register methods, metrics, backbones or other entries.

Only files named by --plugin are loaded, and modules beside them that they import. Workers receive
their sources, so the code that runs is the code that was hashed into the trials' keys. Each entry
is checked against its registry's contract, where the package that owns the registry is imported.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.abc
import importlib.util
import json
import re
import sys
import traceback
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from cabench.errors import CabenchError, cut
from cabench.registry import REGISTRIES

PREFIX = "cabench_plugin_"  # of the names of plugins' modules


@dataclass(frozen=True)
class Source:
    """A Python file, read but not loaded."""

    path: str  # as given, for messages
    source: str


@dataclass(frozen=True)
class Plugin(Source):
    """A plugin's source and those of the modules beside it that it imports."""

    beside: dict[str, Source] = field(default_factory=dict)  # by the name that is imported

    @property
    def sha256(self) -> str:
        """Of the source; with modules beside it, of all sources."""
        parts = {name: module.source for name, module in sorted(self.beside.items())}
        text = json.dumps([self.source, parts]) if parts else self.source
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def files(self) -> set[str]:
        """The paths of the plugin and of the modules beside it."""
        return {self.path, *(module.path for module in self.beside.values())}

    @property
    def module(self) -> str:
        """The name of its module in this process."""
        return PREFIX + re.sub(r"\W", "_", Path(self.path).stem)


def read_plugins(paths: Iterable[Path]) -> list[Plugin]:
    """The plugins at `paths`; CabenchError for unreadable files and repeated file names."""
    plugins: dict[str, Plugin] = {}
    for path in paths:
        source = _read(path)
        plugin = Plugin(str(path), source, _beside(path, source))
        if plugin.module in plugins:
            raise CabenchError(
                f"--plugin: {path}: has the same file name as {plugins[plugin.module].path}"
            )
        plugins[plugin.module] = plugin
    others: dict[str, Source] = {}
    for plugin in plugins.values():
        for name, module in plugin.beside.items():
            if others.setdefault(name, module).source != module.source:
                raise CabenchError(
                    f"--plugin: {module.path} and {others[name].path} are two modules of one name"
                )
    return list(plugins.values())


def _read(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise CabenchError(f"--plugin: {path}: not a file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise CabenchError(f"--plugin: {path}: not a Python file in UTF-8") from None
    except OSError as error:
        raise CabenchError(f"--plugin: {path}: cannot be read: {error.strerror}") from None


def _beside(path: Path, source: str) -> dict[str, Source]:
    """The modules in a plugin's folder that it imports, and those that they import."""
    modules: dict[str, Source] = {}
    waiting = [source]
    while waiting:
        for name in _imported(waiting.pop()):
            file = path.parent / f"{name}.py"
            if name in modules or not file.is_file() or _is_installed(name, file):
                continue
            modules[name] = Source(str(file), _read(file))
            waiting.append(modules[name].source)
    return modules


def _imported(source: str) -> Iterator[str]:
    """The first parts of the names that a source imports; none where it is not valid Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return  # said when it is loaded
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _is_installed(name: str, file: Path) -> bool:
    """Whether the name is that of another module, which a file of that name does not replace."""
    if name in _BESIDE.modules:
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return name in sys.modules
    return spec is not None and not (spec.origin and Path(spec.origin).resolve() == file.resolve())


class _Beside(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules beside loaded plugins from their sources."""

    def __init__(self) -> None:
        self.modules: dict[str, tuple[Source, str]] = {}  # and the sha256 of their plugin

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.modules:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: types.ModuleType) -> None:
        source, sha256 = self.modules[module.__name__]
        module.__file__ = source.path
        module.__cabench_sha256__ = sha256  # pyright: ignore[reportAttributeAccessIssue]
        exec(compile(source.source, source.path, "exec"), module.__dict__)


_BESIDE = _Beside()


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
    module.__cabench_beside__ = tuple(plugin.beside)
    sys.modules[plugin.module] = module
    if _BESIDE not in sys.meta_path:
        sys.meta_path.insert(0, _BESIDE)
    for name, source in plugin.beside.items():
        sys.modules.pop(name, None)
        _BESIDE.modules[name] = source, plugin.sha256
    try:
        exec(compile(plugin.source, plugin.path, "exec"), module.__dict__)
        _check(plugin)
    except (Exception, SystemExit) as error:
        _unload(plugin.module)
        raise CabenchError(_located(plugin, error)) from None


def _unload(module: str) -> None:
    beside = getattr(sys.modules.pop(module), "__cabench_beside__", ())
    for name in (module, *beside):
        for registry in REGISTRIES:
            registry.forget(name)
    for name in beside:
        sys.modules.pop(name, None)
        _BESIDE.modules.pop(name, None)


def _check(plugin: Plugin) -> None:
    """Raise CabenchError if the plugin registers nothing or an entry violates its contract."""
    registered = [
        (registry, entry)
        for registry in REGISTRIES
        for entry in registry.entries()
        if entry.__module__ in (plugin.module, *plugin.beside)
    ]
    if not registered:
        raise CabenchError(
            f"{plugin.path}: registers nothing; expected @METHODS.register('name') or similar"
        )
    for registry, entry in registered:
        if registry.contract and (problem := registry.contract(entry)):
            place = _place(plugin.beside.get(entry.__module__, plugin), entry)
            raise CabenchError(f"{place}: {registry.kind} '{entry.name}': {problem}")


def _place(file: Source, entry: Any) -> str:
    """FILE:LINE of the definition of a registered class or function; line 1 if there is none."""
    definitions = (ast.ClassDef, ast.FunctionDef)
    nodes = [n for n in ast.walk(ast.parse(file.source)) if isinstance(n, definitions)]
    name = getattr(entry, "__name__", None)
    return f"{file.path}:{next((n.lineno for n in nodes if n.name == name), 1)}"


def place_of(error: BaseException) -> str | None:
    """'my_idea.py:12: NameError: ...' of an error that a loaded plugin's code raised, or None."""
    loaded = [module for name, module in sys.modules.items() if name.startswith(PREFIX)]
    files = {getattr(module, "__file__", None) for module in loaded}
    files |= {source.path for source, _ in _BESIDE.modules.values()}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    if not frames:
        return None
    text = traceback.format_exception_only(error)[-1].strip()
    return f"{frames[-1].filename}:{frames[-1].lineno}: {cut(text, 300)}"


def _located(plugin: Plugin, error: BaseException) -> str:
    """'my_idea.py:12: NameError: ...'."""
    if isinstance(error, SyntaxError) and (error.filename or plugin.path) in plugin.files:
        place = error.filename or plugin.path
        return f"{place}:{error.lineno or 1}: not valid Python: {error.msg}"
    places = [
        f"{f.filename}:{f.lineno}"
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename in plugin.files
    ]
    if isinstance(error, CabenchError):
        return f"{places[-1]}: {error}" if places else str(error)
    text = traceback.format_exception_only(error)[-1]  # works where error.__str__ raises
    return f"{places[-1] if places else f'{plugin.path}:1'}: {cut(text, 300)}"
