"""The package's layers: imports go down only, without a cycle, and heavy libraries stay where they
belong. CONTRIBUTING.md lists the packages in the same order."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from specs import ROOT

# A package or module imports only from entries after its own.
LAYERS = [
    "__main__",
    "commands",
    "__init__",
    "api",
    "web",
    "report",
    "analysis",
    "execution",
    "planning",
    "cost",
    "metrics",
    "diffusion",
    "data",
    "text",
    "models",
    "evidence",
    "records",
    "config",
    "plugins",
    "registry",
    "runtime",
    "errors",
    "version",
]
NO_TORCH = ("evidence", "records", "config", "analysis", "report", "web")
HEAVY = {"torch", "ray", "pandas", "matplotlib", "seaborn", "scipy", "sklearn", "onnxruntime"}
HEAVY |= {"diffusers", "transformers", "numpy", "optuna", "torch_fidelity"}


@lru_cache
def imports() -> dict[str, set[str]]:
    """Every module's imports, those inside functions included: {'cabench.data.vae': {...}}."""
    paths = {module_name(path): path for path in (ROOT / "cabench").rglob("*.py")}
    return {name: set(imported(path, paths)) for name, path in paths.items()}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def imported(path: Path, modules: dict[str, Path]) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            for alias in node.names:
                full = f"{base}.{alias.name}"
                names.append(full if full in modules else base)
    return ["cabench.__init__" if name == "cabench" else name for name in names]


def layer(module: str) -> int:
    return LAYERS.index(module.split(".")[1])


def internal(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith("cabench.")}


def test_imports_go_down_only():
    upward = [
        f"{module} -> {other}"
        for module, names in sorted(imports().items())
        for other in sorted(internal(names))
        if layer(other) < layer(module)
    ]
    assert not upward


def test_no_two_modules_import_each_other_in_a_cycle():
    graph = {module: internal(names) - {module} for module, names in imports().items()}
    while free := [m for m, names in graph.items() if not names & graph.keys()]:
        for module in free:
            del graph[module]
    # what is left lies on a cycle or leads to one; strip what nothing left imports
    while idle := graph.keys() - set().union(*graph.values()):
        for module in idle:
            del graph[module]
    assert not graph, graph


def closure(module: str) -> set[str]:
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += imports().get(name, ())
    return seen


@pytest.mark.parametrize("package", NO_TORCH)
def test_packages_that_read_results_reach_no_torch(package):
    modules = [m for m in imports() if m.split(".")[1] == package]
    assert modules
    reach = {m: sorted(n for n in closure(m) if n.split(".")[0] == "torch") for m in modules}
    assert not {m: names for m, names in reach.items() if names}


def test_few_modules_import_ray():
    users = [m for m, names in imports().items() if any(n.split(".")[0] == "ray" for n in names)]
    folder = "cabench.execution.executors"
    assert sorted(users) == [f"{folder}.{name}" for name in ("ray", "ray_cluster", "ray_train")]


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words):
    program = f"""
import sys
sys.argv[1:] = {words}
from cabench.commands.entry import main
try:
    main()
except SystemExit as end:
    assert not end.code
print(sorted(set({sorted(HEAVY)}) & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == "[]", done.stderr
