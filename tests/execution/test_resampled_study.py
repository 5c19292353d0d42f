"""A study whose seeds draw their own images, from the study file to the table."""

import json

import numpy as np
import pytest
from cli import spawn
from conftest import TINY_SCALE, TINY_STUDY
from invalid import assert_at, error_of, put

from cabench.config.study import read_scale, read_study
from cabench.data import load_dataset
from cabench.data.resampling import resampled
from cabench.execution.schedule import stacked
from cabench.planning.trials import plan

STUDY = """
study: drawn
question: Which?
baseline: native
primary: kid
resample: true
arms: {native: {methods: [native]}, can: {methods: [can]}}
"""


def planned(tmp_path, scale="quick", text=STUDY, **options):
    (tmp_path / "drawn.yaml").write_text(text)
    return plan(read_study(tmp_path / "drawn.yaml"), read_scale(scale), **options)


def test_the_draw_is_in_the_key_and_follows_the_seed(tmp_path):
    drawn = {(t.arm, t.seed): t for t in planned(tmp_path, seeds=[0, 1]).trials}
    whole = planned(tmp_path, text=STUDY.replace("resample: true\n", ""), seeds=[0, 1]).trials
    for trial in whole:
        assert trial.key != drawn[trial.arm, trial.seed].key
    assert {t.spec.train.data.resample.seed for t in drawn.values() if t.seed == 1} == {1}
    first, second = (drawn["can", seed].spec.train for seed in (0, 1))
    assert first.of_seed(1).key == second.key


def test_seeds_with_other_images_do_not_train_in_one_stack(tmp_path):
    drawn = planned(tmp_path, seeds=[0, 1, 2])
    assert all(trial.spec.train.compiled for trial in drawn.trials)
    assert not any(trial.beside for trial in stacked(drawn.trials, 4))


@pytest.mark.full
def test_trials_are_scored_against_the_images_that_their_seed_draws(tmp_path):
    (tmp_path / "drawn.yaml").write_text(STUDY)
    (tmp_path / "tiny.yaml").write_text(TINY_SCALE)
    words = ("--scale", "tiny.yaml", "--seeds", "2", "--executor", "local")
    done = spawn("run", "drawn.yaml", *words, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "draw half of the images" in " ".join(done.out.split())
    folder = tmp_path / "results/drawn.tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    seed_of = {trial["key"]: trial["seed"] for trial in manifest["trials"]}
    records = {
        key: json.loads((tmp_path / f"results/records/{key}.json").read_text()) for key in seed_of
    }
    digits, floors = load_dataset("digits"), {}
    for key, seed in seed_of.items():
        trained = len(resampled(digits, seed).split("generator-train"))
        assert records[key]["diagnostics"]["neighbours"]["of"] == trained
        floors[seed] = records[key]["protocol"]["floor"]
    assert floors[0] != floors[1]

    done = spawn("score", "drawn", "--metrics", "kid", "--features", "f", cwd=tmp_path)
    assert done.code == 0, done.err
    scores = json.loads((folder / "scores.json").read_text())["scores"]
    for key, record in records.items():
        assert scores[key]["kid"] == record["metrics"]["kid"]
    real = [np.load(tmp_path / f"f/real.seed-{seed}.npz") for seed in (0, 1)]
    layer = "efficientnet-lite0/1280"
    assert not np.array_equal(real[0][layer], real[1][layer])


def test_too_few_images_in_half_of_the_report_split_are_one_line(tiny):
    put(tiny / "tiny.yaml", TINY_STUDY.replace("arms:", "resample: true\narms:", 1))
    put(tiny / "scale.yaml", TINY_SCALE.replace("n: 100", "n: 256"))
    error = error_of(lambda: plan(read_study(tiny / "tiny.yaml"), read_scale("scale.yaml")))
    assert_at(error, "scale.yaml", 9, "sampling.n")
