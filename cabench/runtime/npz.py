"""NumPy's .npz files that others wrote. Nothing is unpickled; what is wrong is one line."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cabench.errors import CabenchError, listed, shown

if TYPE_CHECKING:
    import numpy as np


def read_npz(
    path: Path, needed: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """The needed arrays of an .npz file, and the optional ones that it has.

    Raises CabenchError if the file is absent or corrupted, lacks a needed array, or holds pickled
    objects, which could run code.
    """
    import numpy as np

    needed = list(needed)
    if not path.is_file():
        raise CabenchError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if not zipfile.is_zipfile(path):
        raise CabenchError(f"{path}: expected an .npz file (a zip of arrays), got another format")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = list(file.files)
            if absent := [name for name in needed if name not in names]:
                raise CabenchError(
                    f"{path}: expected the arrays {listed(needed)}, got {listed(names)}; "
                    f"without {listed(absent)}"
                )
            return {
                name: _array(file[name], path, name)
                for name in (*needed, *optional)
                if name in names
            }
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            text = "holds pickled objects, which are not opened; expected arrays of numbers"
        else:
            text = f"doesn't read: {str(error)[:160] or type(error).__name__}"
        raise CabenchError(f"{path}: {text}") from None


def _array(value: object, path: Path, name: str) -> np.ndarray:
    import numpy as np

    if not isinstance(value, np.ndarray):  # the bytes of a member that is no array
        raise CabenchError(f"{path}: {shown(name)} is not an array")
    return value
