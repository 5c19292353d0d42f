"""The commands `score` and `audit`: saved samples, other metrics; metrics, corrupted pictures."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from cli import cabench, spawn

from cabench.metrics import audit
from cabench.metrics.corruptions import CORRUPTIONS, Real

pytestmark = pytest.mark.slow

STUDY = """
study: two
question: Which?
baseline: native
arms: {native: {methods: [native]}, can: {methods: [can]}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a study that was run at smoke."""
    folder = tmp_path_factory.mktemp("score")
    (folder / "two.yaml").write_text(STUDY)
    done = spawn(
        "run", "two.yaml", "--scale", "smoke", "--seeds", "1", "--executor", "local", cwd=folder
    )
    assert done.code == 0, done.err
    return folder


def test_saved_samples_get_other_scores_and_nothing_is_trained(run):
    records = {p: p.read_bytes() for p in (run / "results/records").iterdir()}
    done = spawn(
        "score", "two", "--metrics", "kid,precision_lite0,memorised", "--features", "f", cwd=run
    )
    assert done.code == 0, done.err
    assert "2 trials, 512 samples scored" in done.out and "real vs real" in done.out
    assert {p: p.read_bytes() for p in (run / "results/records").iterdir()} == records
    rows = list(csv.DictReader((run / "results/two.smoke/scores.csv").read_text().splitlines()))
    assert {r["metric"] for r in rows} == {"kid", "precision_lite0", "memorised"}
    told = json.loads((run / "results/two.smoke/scores.json").read_text())
    for key, scores in told["scores"].items():
        held = json.loads((run / f"results/records/{key}.json").read_text())
        assert scores["kid"] == held["metrics"]["kid"]  # the same samples
        assert scores["memorised"] == held["diagnostics"]["neighbours"]["memorised"]
    arrays = np.load(run / "f/can.seed-0.npz")
    assert arrays["efficientnet-lite0/1280"].shape == (256, 1280)
    assert np.array_equal(np.sort(arrays["labels"]), np.sort(np.load(run / "f/real.npz")["labels"]))


def test_what_score_can_not_do_is_one_line(run, monkeypatch):
    monkeypatch.chdir(run)
    for words, text in (
        (["--metrics", "kidd"], "did you mean 'kid'"),
        (["--metrics", "heldout_loss"], "measured on the network"),
        (["--metrics", "fid_inception"], "at least 4096"),
        (["--cache", "elsewhere"], "no saved samples"),
    ):
        code, _, err = cabench("score", "two", *words)
        assert code == 2 and text in err and len(err.strip().splitlines()) == 1


def test_specs_come_from_the_records_whatever_became_of_the_study_file(run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    (folder / "two.yaml").write_text(STUDY.replace("[can]", "[film]"))
    done = spawn("score", "two", "--metrics", "kid", cwd=folder)
    assert done.code == 0, done.err
    scores = json.loads((folder / "results/two.smoke/scores.json").read_text())["scores"]
    for key, values in scores.items():
        record = json.loads((folder / f"results/records/{key}.json").read_text())
        assert values["kid"] == record["metrics"]["kid"]


def test_a_scale_without_the_data_of_the_records_is_refused(run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    path = folder / "results/two.smoke/manifest.json"
    manifest = json.loads(path.read_text())
    for scale_file, text in (("gone.yaml", "gone.yaml"), ("paper", "is not in scale 'paper'")):
        path.write_text(json.dumps(manifest | {"scale_file": scale_file}))
        done = spawn("score", "two", "--metrics", "kid", cwd=folder)
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1


def test_the_nearest_training_pictures_stand_beside_the_record_and_in_the_report(run):
    keys = [p.name.removesuffix(".near.png") for p in (run / "results/records").glob("*.near.png")]
    assert len(keys) == 2
    for key in keys:
        record = json.loads((run / f"results/records/{key}.json").read_text())
        assert ".near.png" in record["files"]
        near = record["diagnostics"]["neighbours"]
        assert 0 <= near["memorised"] <= 1 and near["of"] == 1078
    done = spawn("report", "two", cwd=run)
    assert done.code == 0, done.err
    import pypdfium2

    pages = pypdfium2.PdfDocument(run / "reports/two.smoke.pdf")
    text = " ".join(page.get_textpage().get_text_range() for page in pages)
    assert "Nearest training images" in text


# ---- auditing the metrics ----------------------------------------------------------------------


def test_every_corruption_spoils_what_it_says_and_no_more():
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (40, 3, 16, 16)).astype(np.uint8)
    labels = np.repeat(np.arange(10), 4)
    real = Real(images, labels, images[::-1].copy())
    made = {name: make(real, np.random.RandomState(1)) for name, make in CORRUPTIONS.items()}
    for name, (found, asked) in made.items():
        assert found.shape == images.shape and found.dtype == np.uint8, name
        assert np.array_equal(np.sort(asked), labels), name
        assert (name == "shuffled labels") == (not np.array_equal(asked, labels)), name
        assert np.array_equal(found, images) == name.startswith("shuffled"), name
    assert made["blur"][0].std() < 0.8 * images.std()
    lost = (made["missing classes"][0] != images).any((1, 2, 3))
    assert len(np.unique(labels[lost])) == 3 and lost.sum() == 12


def test_the_matrix_finds_what_is_known_of_kid_and_accuracy(tmp_path):
    """KID and FID are flat under shuffled labels, where accuracy falls; blur is seen by all."""
    out = tmp_path / "reports"
    done = spawn(
        "audit",
        "digits",
        "--n",
        "100",
        "--sets",
        "3",
        "--out",
        out,
        "--metrics",
        "kid,condition_accuracy,memorised",
        cwd=tmp_path,
    )
    assert done.code == 0, done.err
    frame = pd.read_csv(out / "audit.digits.csv")
    found = {(r.metric, r.corruption): r.found for r in frame.itertuples()}
    assert found["kid", "shuffled labels"] == "flat"
    assert found["condition_accuracy", "shuffled labels"] == "worse"
    assert found["kid", "blur"] == found["condition_accuracy", "blur"] == "worse"
    assert found["memorised", "memorised"] == "worse"
    assert {p.suffix for p in out.iterdir()} == {".csv", ".md", ".png", ".svg"}
    kid = frame[(frame.metric == "kid") & (frame.corruption == "blur")].iloc[0]
    assert kid["shift"] == pytest.approx((kid["corrupted"] - kid["intact"]) / kid["sd"], rel=1e-6)


def test_a_wrong_argument_of_audit_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, text in (
        (["digit"], "did you mean 'digits'"),
        (["digits", "--sets", "2"], "at least 3"),
        (["digits", "--metrics", "kidd"], "did you mean 'kid'"),
        (["digits", "--n", "3000"], "samples can be scored"),
    ):
        code, _, err = cabench("audit", *words)
        assert code == 2 and text in err and len(err.strip().splitlines()) == 1


def test_expectations_name_corruptions_that_there_are():
    for told in audit.EXPECTED.values():
        assert set(told) <= set(CORRUPTIONS)
    assert audit.expected("fid_inception", "blur") == "worse"
    assert audit.expected("my_metric", "blur") == ""
