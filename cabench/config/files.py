"""Where study and scale files are: those of the package, and near matches of a wrong path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from cabench.errors import listed, near

SUFFIXES = (".yaml", ".yml")


def scale_names() -> list[str]:
    """The scales that come with cabench."""
    folder = resources.files("cabench.config") / "scales"
    return sorted(Path(p.name).stem for p in folder.iterdir() if p.name.endswith(".yaml"))


def scale_path(name: str) -> Path:
    """The file of a scale that comes with cabench."""
    return Path(str(resources.files("cabench.config") / "scales" / f"{name}.yaml"))


def is_file(path: Path) -> bool:
    """Whether `path` is a file; False for a name that is too long."""
    try:
        return path.is_file()
    except OSError:  # the name is too long for the file system
        return False


def elsewhere(path: Path) -> str:
    """A path that is no file, the nearest match, and the YAML files of its directory."""
    try:
        if path.is_dir():
            return f"'{path}': it is a directory; its files: {listed(_yaml_files(path))}"
        known = _yaml_files(path.parent)
    except OSError:  # the name is too long for the file system
        return f"'{path}'"
    return f"'{path}'{near(str(path), known)}; files here: {listed(known)}"


def _yaml_files(folder: Path) -> list[str]:
    return sorted(str(p) for p in folder.glob("*.yaml"))
