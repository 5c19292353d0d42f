"""The command `audit`: scores of corrupted real images."""

import pandas as pd
import pytest
from cli import cabench, spawn


@pytest.mark.full
def test_the_matrix_agrees_with_known_properties_of_kid_and_accuracy(tmp_path):
    """KID does not change with shuffled labels, accuracy gets worse; blur worsens both."""
    out = tmp_path / "reports"
    options = ["--n", "100", "--sets", "3", "--out", out]
    options += ["--metrics", "kid,condition_accuracy,memorised"]
    done = spawn("audit", "digits", *options, cwd=tmp_path)
    assert done.code == 0, done.err
    frame = pd.read_csv(out / "audit.digits.csv")
    effects = {(r.metric, r.corruption): r.effect for r in frame.itertuples()}
    assert effects["kid", "shuffled labels"] == "flat"
    assert effects["condition_accuracy", "shuffled labels"] == "worse"
    assert effects["kid", "blur"] == effects["condition_accuracy", "blur"] == "worse"
    assert effects["memorised", "memorised"] == "worse"
    assert {p.suffix for p in out.iterdir()} == {".csv", ".md", ".png", ".svg", ".pdf"}
    kid = frame[(frame.metric == "kid") & (frame.corruption == "blur")].iloc[0]
    assert kid["shift"] == pytest.approx((kid["corrupted"] - kid["intact"]) / kid["sd"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["digit"], "did you mean 'digits'"),
        (["digits", "--sets", "2"], "at least 3"),
        (["digits", "--metrics", "kidd"], "did you mean 'kid'"),
        (["digits", "--n", "3000"], "samples can be scored"),
    ],
)
def test_a_wrong_argument_is_one_line(words, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = cabench("audit", *words)
    assert code == 2 and text in err and len(err.strip().splitlines()) == 1
