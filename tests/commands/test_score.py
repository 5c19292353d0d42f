"""The command `score`: further metrics of saved samples."""

import csv
import json
import shutil

import numpy as np
import pytest
from cli import cabench, spawn
from PIL import Image

from cabench.data import load_dataset
from cabench.diffusion.checkpoints import load
from cabench.metrics import SampleScorer
from cabench.records.store import Store
from cabench.registry import METRICS
from cabench.runtime.sealed import seal

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
    scored = json.loads((run / "results/two.smoke/scores.json").read_text())
    for key, scores in scored["scores"].items():
        record = json.loads((run / f"results/records/{key}.json").read_text())
        assert scores["kid"] == record["metrics"]["kid"]  # the same samples
        assert scores["memorised"] == record["diagnostics"]["neighbours"]["memorised"]
    arrays = np.load(run / "f/can.seed-0.npz")
    assert arrays["efficientnet-lite0/1280"].shape == (256, 1280)
    assert np.array_equal(np.sort(arrays["labels"]), np.sort(np.load(run / "f/real.npz")["labels"]))


def test_scores_have_the_protocol_of_what_is_scored_here(run, tmp_path):
    """The trials were scored on a GPU, and by a further extractor; here neither holds."""
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    judges = {"mobilenetv2": "abc"}
    for path in (folder / "results/records").glob("*.json"):
        if "." not in path.stem:
            record = json.loads(path.read_text())
            record["protocol"] |= {"judge_runs_on": "a GPU", "judges": judges}
            path.write_text(json.dumps(seal(record)))
    done = spawn("score", "two", "--metrics", "kid", cwd=folder)
    assert done.code == 0, done.err
    text = (folder / "results/two.smoke/scores.md").read_text()
    assert "feature extractor efficientnet-lite0-64" in text and "a GPU" not in text
    scored = json.loads((folder / "results/two.smoke/scores.json").read_text())
    assert scored["protocol"].keys().isdisjoint({"judge_runs_on", "judges"})


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


@pytest.mark.full
def test_saved_samples_as_files_get_the_numbers_of_the_record(run, tmp_path):
    """Samples of a trial as PNGs by class, and as an .npz file: n and scores are its own."""
    store = Store(run / "results", run / ".cabench")
    key = next(
        path.stem for path in (run / "results/records").glob("*.json") if "." not in path.stem
    )
    record = store.sound(key)
    images = load(store.samples(record.spec.sample_key(record.spec.guidance)))[0]["images"].numpy()
    labels = SampleScorer(load_dataset("digits"), len(images), run / ".cabench").labels
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "png" / str(label) / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    np.savez(tmp_path / "s.npz", images.transpose(0, 2, 3, 1), labels)
    samples = [n for n in METRICS.names() if METRICS.get(n).needs == "samples"]
    measured = {n: v for n, v in record.metrics.items() if n in samples}
    assert {"kid_levels", "condition_accuracy"} <= set(measured)
    for path in (tmp_path / "png", tmp_path / "s.npz"):
        words = ("--images", path, "--data", "digits", "--metrics", ",".join(measured), "--json")
        done = spawn("score", *words, cwd=run)
        assert done.code == 0, done.err
        scored = json.loads(done.out)
        assert scored["n"] == record.protocol.dump()["n"] == len(images)
        assert {n: s["value"] for n, s in scored["scores"].items()} == measured
        floor = {n: s["floor"] for n, s in scored["scores"].items()}
        assert floor == {n: record.protocol.dump()["floor"][n] for n in measured}


@pytest.mark.full
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


@pytest.mark.full
def test_a_scale_without_the_data_of_the_records_is_refused(run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run, folder)
    path = folder / "results/two.smoke/manifest.json"
    manifest = json.loads(path.read_text())
    for scale_file, text in (("gone.yaml", "gone.yaml"), ("paper", "is not in scale 'paper'")):
        path.write_text(json.dumps(manifest | {"scale_file": scale_file}))
        done = spawn("score", "two", "--metrics", "kid", cwd=folder)
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1


def test_the_nearest_training_images_stand_beside_the_record_and_in_the_report(run):
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


PLUGIN = """
from cabench.registry import METRICS
from cabench.runtime.sealed import seal


@METRICS.register("mine")
class Mine:
    version, needs, higher_is_better, label, min_samples = 1, "samples", True, "mine", 1

    @staticmethod
    def compute(generated, reference, images, labels, scorer):
        return VALUE
"""


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("1 / 0", "mine.py:12: ZeroDivisionError: division by zero"),
        ("float('nan')", "metric 'mine': expected a finite number, got nan"),
    ],
)
def test_a_plugins_metric_without_a_number_is_one_line(run, tmp_path, value, fault):
    (tmp_path / "mine.py").write_text(PLUGIN.replace("VALUE", value))
    words = ("--plugin", tmp_path / "mine.py", "--metrics", "mine")
    done = spawn("score", "two", *words, cwd=run)
    assert done.code == 2 and done.err.count("\n") == 1 and fault in done.err, done.err
    assert (
        not (run / "results/two.smoke/scores.csv").exists()
        or "mine" not in (run / "results/two.smoke/scores.csv").read_text()
    )
