"""Prints the oldest allowed version of each runtime dependency in pyproject.toml, for pip.

python scripts/lowest_versions.py > constraints.txt
"""

from __future__ import annotations

import tomllib
from pathlib import Path


def main() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())[
        "project"
    ]
    for requirement in project["dependencies"] + project["optional-dependencies"]["text"]:
        name, version = requirement.split(">=")
        local = f",!={version}+cpu" if name == "torch" else ""  # torchvision would not load
        print(f"{name.split('[')[0]}=={version}{local}")


if __name__ == "__main__":
    main()
