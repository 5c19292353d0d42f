"""Copies the studies, examples and reference results into the wheel; the rest is pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FOLDERS = ("studies", "examples", "results/reference")  # cabench/runtime/bundled.py looks them up
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "*.svg", "*.pdf")
IMAGES = shutil.ignore_patterns("*.png")  # figures; those of results/reference/records are data


def left_out(folder, names):
    """What is not copied: figures of the reference runs, which no command reads."""
    figures = set() if Path(folder).name == "records" else IMAGES(folder, names)
    return LEFT_OUT(folder, names) | figures


class BuildWithFolders(build_py):
    """As setuptools builds the package, with the folders in cabench/bundled/."""

    def run(self):
        super().run()
        if self.editable_mode:  # the package is used from the clone, which has the folders
            return
        bundled = Path(self.build_lib) / "cabench" / "bundled"
        shutil.rmtree(bundled, ignore_errors=True)
        for folder in FOLDERS:
            shutil.copytree(ROOT / folder, bundled / folder, ignore=left_out)


setup(cmdclass={"build_py": BuildWithFolders})
