"""Print the size of the package's import graph: `python scripts/import_graph.py [FOLDER]`.

Imports inside functions count. A module's package is its first folder below cabench/, or the module
itself where it lies in cabench/. An import between packages is a pair (module, module). A layer is
a step of the longest chain of imports between packages; upward imports and cycles are those of the
modules.
"""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, modules: set[str]) -> set[str]:
    """The cabench modules that a file imports anywhere."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full in modules else node.module)
    return names & modules


def layers(graph: dict[str, set[str]]) -> int:
    """The length of the longest chain; cycles are cut where they close."""
    depth: dict[str, int] = {}

    def visit(node: str, trail: tuple[str, ...]) -> int:
        if node not in depth:
            below = [visit(n, (*trail, node)) for n in graph[node] if n not in (*trail, node)]
            depth[node] = 1 + max(below, default=0)
        return depth[node]

    return max(visit(node, ()) for node in graph)


def main(root: Path) -> None:
    paths = {module_name(p, root): p for p in sorted((root / "cabench").rglob("*.py"))}
    graph = {name: imports_of(path, set(paths)) - {name} for name, path in paths.items()}

    def package(module: str) -> str:
        return module.split(".")[1] if "." in module else module

    between = {(a, b) for a, names in graph.items() for b in names if package(a) != package(b)}
    packages: dict[str, set[str]] = {package(name): set() for name in graph}
    for a, b in between:
        packages[package(a)].add(package(b))
    folders = {package(n) for n, p in paths.items() if p.parent != root / "cabench"}
    top = [n for n, p in paths.items() if p.parent == root / "cabench"]
    single = [n for n in graph if sum(n in names for names in graph.values()) == 1]
    try:
        TopologicalSorter(graph).prepare()
        cycle = "none"
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
    lines = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in paths.items()
    }
    print(f"modules {len(graph)}, of them directly in cabench/ {len(top)}; packages {len(folders)}")
    print(f"lines {sum(lines.values()):,}, largest module {max(lines.values())}")
    print(
        f"imports between modules {sum(map(len, graph.values()))}, between packages {len(between)}"
    )
    print(f"pairs of packages {sum(map(len, packages.values()))}, layers {layers(packages)}")
    print(f"longest chain of modules {layers(graph)}; modules with one importer {len(single)}")
    print(f"cycle of modules: {cycle}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
