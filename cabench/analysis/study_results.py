"""A study's results for notebooks: frames, verdicts and figures. Imports no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cabench.analysis import loading
from cabench.errors import CabenchError, listed, near, plural, shown
from cabench.evidence.results import Results
from cabench.evidence.statistics import deviation
from cabench.records.runs import Run
from cabench.runtime.cache import RESULTS

if TYPE_CHECKING:
    from PIL import Image

ARM_COLUMNS = ["arm", "role", "metric", "n", "mean", "sd"]
ARM_COLUMNS += ["difference", "difference_low", "difference_high", "pairs", "p", "p_holm"]
CLAIM_COLUMNS = ["claim", "says", "verdict", "metric", "better", "than"]
CLAIM_COLUMNS += ["difference", "low", "high", "n", "p", "p_holm", "reason"]


@dataclass(frozen=True)
class StudyResults:
    """The results of a study at a scale, read from its manifest and records.

    Printed, it is the table of `cabench run`. Frames are computed when they are read.
    """

    run: Run
    results: Results  # with curves

    @classmethod
    def of(cls, run: Run) -> StudyResults:
        """The results of a run as its records stand now."""
        return cls(run, Results.of(run, with_curves=True))

    @property
    def name(self) -> str:
        """The name STUDY.SCALE."""
        return self.run.name

    @property
    def question(self) -> str:
        """What the study asks."""
        return self.run.manifest.question

    @property
    def arms(self) -> list[str]:
        """The arms that have trials, in the study's order."""
        return list(self.results.arms)

    @property
    def seeds(self) -> list[int]:
        """The seeds that any arm has trials for, in the order in which they were chosen."""
        return list(self.run.manifest.seeds)

    @property
    def failures(self) -> list[str]:
        """'ARM (seeds 0, 2): error' for each kind of failed trial; [] where none failed."""
        return self.results.failures()

    # -- frames

    @cached_property
    def frame(self) -> pd.DataFrame:
        """A row per arm x seed x metric x guidance: what `cabench.load` returns."""
        return loading.trial_frame(self.results)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """A row per trial and point of its loss curves: what `cabench.load_curves` returns."""
        return loading.curve_frame(self.results)

    @cached_property
    def weights(self) -> pd.DataFrame:
        """Measures of generated weights in training: what `cabench.load_weights` returns."""
        return loading.weights_frame(self.results)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """A row per metric and arm: mean over seeds, and the difference to the baseline.

        arm, metric          names; metrics in the study's order
        role                 "arm", "baseline" or "bound" (a lower bound, not tested)
        n, mean, sd          seeds, their mean and standard deviation, in stored units
        difference, difference_low, difference_high
                             arm - baseline, paired by seed, with its 95 % interval (a confidence
                             sequence where seeds were added after a look)
        pairs                seeds that both have
        p, p_holm            of the paired test; after Holm's correction over the arms

        What does not apply is NaN.
        """
        rows = [
            (
                *(row.arm, row.role, row.metric),
                *(row.level.n, row.level.mean, deviation(row.level.values)),
                *(row.difference.mean, row.difference.low, row.difference.high, row.difference.n),
                *(row.p, row.p_holm),
            )
            for row in self.results.compare_arms()
        ]
        return pd.DataFrame(rows, columns=pd.Index(ARM_COLUMNS))

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row per claim, metric and rival: the verdict and the difference that it rests on.

        claim, says             the id and the sentence of the study
        verdict                 "supported", "contradicted", "equivalent", "unresolved",
                                "not tested" or "by construction"
        metric, better, than    what is compared; for a difference of differences two arms a side
        difference, low, high   better - than, paired by seed, with its 95 % interval; of a count
                                the difference alone
        n                       seeds that both have
        p, p_holm               of the claim's test; after Holm's correction over the claims
        reason                  why it is not tested, or what the verdict rests on
        """
        rows = []
        for verdict in self.results.verdicts:
            claim = verdict.claim
            said = (claim.id, claim.says, verdict.word)
            tested = (verdict.p, verdict.p_holm, verdict.reason)
            for part in verdict.evidence:
                effect = part.difference
                numbers = (
                    (part.better - part.than, np.nan, np.nan)
                    if effect is None
                    else (effect.mean, effect.low, effect.high)
                )
                rows.append((*said, part.metric, *part.sides, *numbers, part.n, *tested))
            if not verdict.evidence:
                nothing = (np.nan, np.nan, np.nan, 0)
                rows.append((*said, claim.metrics[0], claim.better, claim.than, *nothing, *tested))
        return pd.DataFrame(rows, columns=pd.Index(CLAIM_COLUMNS))

    # -- text and figures

    def __str__(self) -> str:
        from cabench.analysis import tables

        return tables.plain(self.results)

    def __repr__(self) -> str:
        trials = self.run.manifest.trials
        done = sum(t.key in self.results.records for t in trials)
        arms, of = plural(len(self.arms), "arm"), plural(len(trials), "trial")
        return f"<StudyResults {self.name}: {arms}, {done} of {of}>"

    def figure(self, name: str = "forest") -> Image.Image:
        """A figure of the study as an image, which a notebook shows.

        Args:
            name: "forest" (differences to the baseline), "cost", "curves", "bins", "weights",
                "weight_curves" or "lengths".

        Raises:
            CabenchError: there is no such figure, or it does not apply to these results.
        """
        from cabench.analysis import figures

        known = {figure.name: figure for figure in figures.STUDY_FIGURES}
        if name not in known:
            raise CabenchError(
                f"figure: expected one of {listed(known)}, got {shown(name)}{near(name, known)}"
            )
        with tempfile.TemporaryDirectory() as folder:
            paths = known[name].draw(Path(folder) / name, self.results, figures.SCREEN)
            images = [path for path in paths if path.suffix == ".png"]
            if not images:
                absent = known[name].absent or f"figure '{name}' does not apply"
                raise CabenchError(f"{self.name}: {absent}")
            return opened(images[0])


def load_results(
    study: str | Path, scale: str | None = None, results: str | Path = RESULTS
) -> StudyResults:
    """Load a study's results: frames, verdicts and figures. Trains nothing, imports no torch.

    `load`, `load_curves` and `load_weights` return single frames of it: `frame`, `curves` and
    `weights`.

    Args:
        study: its name ("layer_placement"), STUDY.SCALE ("layer_placement.quick"), or the path of
            its file ("studies/layer_placement.yaml").
        scale: one of the scales that the study was run at. Default: the only one, else "quick".
        results: the directory of results, as given to `cabench run --results`. Where the default
            one has no run of the study, the committed reference is read, and the log says so.

    Raises:
        CabenchError: no such study or scale, or its manifest or a record has another format.

    Warns:
        UserWarning: the study file has changed since the run.

    Example:
        >>> placement = cabench.load_results("layer_placement")
        >>> placement.claims[["claim", "verdict"]]
        >>> placement.figure("forest")
    """
    return StudyResults.of(loading.find(str(study), scale, results))


def image_grid(images: np.ndarray, labels: Sequence[str]) -> Image.Image:
    """Images as one image, a column per label, enlarged without smoothing.

    Args:
        images: (n, C, H, W) uint8 with C 1 or 3: an array or a tensor, such as `cabench.sample`
            returns.
        labels: the n class names; image i is in the column of labels[i], below earlier ones.

    Raises:
        CabenchError: shape, type or the number of labels does not fit.
    """
    from cabench.analysis.figures import grid

    images, labels = np.asarray(images), [str(label) for label in labels]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.png"
        try:
            grid(path, ["samples"], {"samples": images}, labels)
        except ValueError as error:
            raise CabenchError(str(error)) from None
        return opened(path)


def opened(path: Path) -> Image.Image:
    """The image of a file, in memory."""
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        return image
