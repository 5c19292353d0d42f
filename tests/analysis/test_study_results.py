"""`load_results`: frames beside those of `load`, claims, figures."""

import numpy as np
import pytest
from rundir import REFERENCE, TRIALS
from specs import ROOT

import cabench
from cabench.errors import CabenchError


@pytest.fixture(scope="module")
def placement():
    return cabench.load_results("layer_placement", results=REFERENCE)


def test_frames_are_those_of_the_single_functions(placement):
    assert placement.frame.equals(cabench.load("layer_placement", results=REFERENCE))
    assert placement.curves.equals(cabench.load_curves("layer_placement", results=REFERENCE))
    assert placement.weights.equals(cabench.load_weights("layer_placement", results=REFERENCE))
    assert repr(placement).endswith(f"15 arms, {TRIALS} of {TRIALS} trials>")


def test_the_comparison_is_that_of_the_frame(placement):
    rows = placement.comparison.set_index(["arm", "metric"])
    chosen = placement.frame.query("metric == 'kid' and guidance == 1")
    by_seed = chosen.pivot(index="seed", columns="arm", values="value")
    row = rows.loc[("can-3", "kid")]
    assert row["mean"] == pytest.approx(by_seed["can-3"].mean())
    assert row["sd"] == pytest.approx(by_seed["can-3"].std())
    pairs = (by_seed["can-3"] - by_seed["native+dw"]).dropna()
    assert (row["n"], row["pairs"]) == (by_seed["can-3"].count(), len(pairs))
    assert row["difference"] == pytest.approx(pairs.mean())
    assert row["difference_low"] < row["difference"] < row["difference_high"]


def test_claims_have_the_readmes_verdicts(placement):
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    stated = {line.split()[1]: line.split("|")[2] for line in lines if line.startswith("| C")}
    assert len(stated) >= 4
    verdicts = placement.claims.groupby("claim")["verdict"].first()
    for claim, text in stated.items():
        assert text.strip().strip("*").startswith(verdicts[claim]), claim


def test_a_figure_is_an_image_and_an_unknown_one_is_named(placement):
    pixels = np.asarray(placement.figure("forest").convert("L"))
    assert pixels.shape[1] > 1000 and (pixels < 128).mean() > 0.005
    with pytest.raises(CabenchError, match="got 'forrest' .did you mean 'forest'"):
        placement.figure("forrest")


def test_a_grid_has_a_column_per_label():
    images = np.full((4, 1, 8, 8), 128, np.uint8)
    narrow = cabench.image_grid(images, ["a", "a", "a", "a"])
    wide = cabench.image_grid(images, ["a", "b", "c", "d"])
    assert wide.width > narrow.width and wide.height < narrow.height
    with pytest.raises(CabenchError, match="4 images but 2 labels"):
        cabench.image_grid(images, ["a", "b"])
