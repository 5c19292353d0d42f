"""Unpacks the wheels of a folder whose packages are not installed: gpu_unpack.py WHEELS FOLDER.

Without pip, which the machine may lack, and without touching its installation.
"""

from __future__ import annotations

import sys
import zipfile
from importlib import metadata
from pathlib import Path


def installed(wheel: Path) -> bool:
    try:
        metadata.version(wheel.name.split("-")[0])
    except metadata.PackageNotFoundError:
        return False
    return True


def main() -> None:
    wheels, folder = Path(sys.argv[1]), Path(sys.argv[2])
    absent = [path for path in sorted(wheels.glob("*.whl")) if not installed(path)]
    for path in absent:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    print(f"unpacked: {', '.join(path.name.split('-')[0] for path in absent) or 'nothing'}")


if __name__ == "__main__":
    main()
