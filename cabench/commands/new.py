"""`cabench new`: writes a plugin that works, as a file to start from.

The files are in `skeletons/`, one per kind, and hold the placeholders that `skeleton` fills in.
"""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from cabench import data as _data  # noqa: F401  (registers)
from cabench import metrics as _metrics  # noqa: F401  (registers)
from cabench.config.yaml import value_of
from cabench.errors import CabenchError, shown, unknown
from cabench.models import model as _model  # noqa: F401  (registers)
from cabench.registry import BACKBONES, DATASETS, METHODS, METRICS, Registry

IDENTIFIER = r"[A-Za-z]\w{0,59}"  # with letters of ASCII; what a registry takes of these


@dataclass(frozen=True)
class Kind:
    """A kind of plugin that `cabench new` writes."""

    # fmt: off
    registry: Registry
    commands: tuple[str, ...]           # to try it after `plugin check`; $name, $file
    reserved: tuple[str, ...] = ()      # names that mean something else in a study
    # fmt: on


STUDY = "layer_placement"
RUN = f"cabench run {STUDY} --scale smoke"
KINDS = {
    "method": Kind(
        METHODS,
        (
            f"{RUN} --plugin $file --arm "
            "'{native+dw+$name: {methods: [native, $name], depthwise: static}}'",
            "cabench try $file",
        ),
        reserved=("native",),
    ),
    "metric": Kind(
        METRICS,
        (RUN, "cabench score layer_placement --scale smoke --plugin $file --metrics kid,$name"),
    ),
    "data": Kind(
        DATASETS,
        (
            "cabench data check $name --plugin $file",
            f"{RUN} --plugin $file --data $name -o size=8",
        ),
    ),
    "backbone": Kind(BACKBONES, (f"{RUN} --plugin $file --backbone $name",)),
}


def write_skeleton(kind: str, name: str, path: Path | None) -> None:
    """Write the skeleton of a plugin to a new file, and print the commands to type next.

    The default path is NAME.py. CabenchError where the kind is unknown, the name cannot be used or
    the file exists.
    """
    if kind not in KINDS:
        raise CabenchError(f"KIND: {unknown('kind of plugin', kind, KINDS)}")
    check_name(name, KINDS[kind])
    path = Path(f"{name}.py") if path is None else path
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(skeleton(kind, name))
    except FileExistsError:
        raise CabenchError(f"{path}: exists already; name another file with --output") from None
    print(f"written: {path}", "Next:", sep="\n")
    for command in next_commands(kind, name, path):
        print(f"  {command}")


def check_name(name: str, kind: Kind) -> None:
    """Refuse a name that is no identifier, means something else in a study, or is taken."""
    if not re.fullmatch(IDENTIFIER, name, re.ASCII) or keyword.iskeyword(name):
        how = "a Python identifier of 1 to 60 ASCII characters that starts with a letter"
        raise CabenchError(f"NAME: expected {how}, got {shown(name)}")
    if name in kind.reserved or value_of(name, "NAME", "study") != name:
        raise CabenchError(f"NAME: {shown(name)} has another meaning in a study")
    if name in kind.registry:
        raise CabenchError(f"NAME: there is a {kind.registry.kind} {shown(name)} already")


def skeleton(kind: str, name: str) -> str:
    """The source of a plugin that registers `name`."""
    folder = resources.files("cabench.commands") / "skeletons"
    template = Template((folder / f"{kind}.py.template").read_text(encoding="utf-8"))
    words = [word for word in name.split("_") if word]
    return template.substitute(
        name=name,
        class_name="".join(word[0].upper() + word[1:] for word in words) + kind.capitalize(),
        label=" ".join(words),
    )


def next_commands(kind: str, name: str, path: Path) -> Iterable[str]:
    """The commands that check and use a plugin, to be typed in a shell."""
    file = shlex.quote(str(path))
    for command in ("cabench plugin check $file", *KINDS[kind].commands):
        yield Template(command).substitute(name=name, file=file)
