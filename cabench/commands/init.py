"""`cabench init`: copies a study, a scale and a method to start from."""

from __future__ import annotations

import shlex
from pathlib import Path

from cabench.errors import CabenchError
from cabench.runtime.bundled import bundled

# Of examples/
FILES = (
    "README.md", "first_study.yaml", "small.yaml", "gated_kernels.py", "slurm_ray.sh",
    "slurm_torchrun.sh",
)  # fmt: skip
NEXT = (
    "cabench run first_study.yaml --scale small.yaml --plugin gated_kernels.py",
    "cabench report first_study",
    "cabench try gated_kernels.py --seeds 2 --minutes 0",
)


def write_start(folder: Path) -> None:
    """Copy the files into the folder, and print the commands to type next.

    CabenchError where one of them exists there; then nothing is written.
    """
    contents = {folder / n: (bundled("examples") / n).read_bytes() for n in FILES}
    if existing := [path for path in contents if path.exists() or path.is_symlink()]:
        raise CabenchError(f"{existing[0]}: exists already; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        with path.open("xb") as file:
            file.write(content)
    print("Written:", *(f"  {path}" for path in contents), "Next:", sep="\n")
    if folder.resolve() != Path.cwd():
        print(f"  cd {shlex.quote(str(folder))}")
    for command in NEXT:
        print(f"  {command}")
