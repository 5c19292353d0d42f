"""Where study and scale files are, by path or name, and near matches of a wrong one."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from cabench.errors import LONGEST_WORD, CabenchError, listed, near, unknown
from cabench.runtime.bundled import bundled

SUFFIXES = (".yaml", ".yml")
STUDIES = "studies"  # the folder


def studies() -> dict[str, Path]:
    """The study files by name: those that come with cabench, then those of ./studies/."""
    folders = dict.fromkeys((bundled(STUDIES), Path(STUDIES)))
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def study_path(study: Path | str) -> Path:
    """The file of a study that is given by its path or its name.

    A name stands for studies/NAME.yaml here, else for the study of that name that comes with
    cabench. CabenchError names the nearest match.
    """
    path, name = Path(study), str(study)
    if is_file(path):
        return path
    known = studies()
    if name in known:
        return known[name]
    if name.isidentifier() and len(name) <= LONGEST_WORD and not path.is_dir():
        raise CabenchError(unknown("study", name, known))
    bundled_one = f"; the study '{path.stem}' comes with cabench" if path.stem in known else ""
    raise CabenchError(f"no study file {elsewhere(path)}{bundled_one}")


def as_named(path: Path) -> str:
    """What `study_path` takes for the file: the name of a study that comes with cabench elsewhere.

    Such a file's path would depend on the machine.
    """
    folder = bundled(STUDIES)
    is_bundled = folder.is_absolute() and path.parent == folder
    return path.stem if is_bundled and studies().get(path.stem) == path else str(path)


def study_elsewhere(path: Path) -> str | None:
    """The name of a known study that a record gives as STUDY or studies/STUDY.yaml, no file here.

    Where cabench is installed without a clone, the file is inside the package.
    """
    if is_file(path) or path.parent not in (Path(), Path(STUDIES)):
        return None
    return path.stem if path.stem in studies() else None


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
        if path.exists():
            return f"'{path}': it is neither a file nor a directory"
        known = [name for name in _yaml_files(path.parent) if is_file(Path(name))]
    except OSError:  # the name is too long for the file system
        return f"'{path}'"
    return f"'{path}'{near(str(path), known)}; files here: {listed(known)}"


def _yaml_files(folder: Path) -> list[str]:
    return sorted(str(p) for p in folder.glob("*.yaml"))
