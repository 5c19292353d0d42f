"""TensorBoard: event files in ARM/seed-S, one step per image seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cabench.analysis.loggers.base import TrialLog

SUFFIX = ".cabench"  # of our event files, so that those of other tools are left alone
HINT = "tensorboard --logdir {folder}"


def write(trials: Sequence[TrialLog], folder: Path) -> None:
    """Write event files below `folder`; the previous ones of a trial are replaced."""
    from tensorboardX import SummaryWriter

    for trial in trials:
        place = folder / trial.name
        for old in place.glob(f"events.out.tfevents.*{SUFFIX}"):
            old.unlink()
        with SummaryWriter(str(place), filename_suffix=SUFFIX) as writer:
            for tag, images, value in trial.scalars:
                writer.add_scalar(tag, value, images)
            if trial.grid is not None:
                pixels = np.asarray(Image.open(trial.grid).convert("RGB"))
                writer.add_image("samples", pixels, trial.images, dataformats="HWC")
