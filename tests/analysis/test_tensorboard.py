import json

import pytest
from cli import cabench
from rundir import REFERENCE, TRIALS, fail, reference, write_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cabench.analysis.tensorboard import write_tensorboard
from cabench.records.runs import find_run


@pytest.fixture
def run():
    return find_run(REFERENCE, "layer_placement")


def read(folder) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's own reader: all points by tag."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_back_the_records(run, tmp_path):
    assert write_tensorboard(run, tmp_path) == TRIALS
    folders = {str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob("events.*")}
    assert folders == {f"{t.arm}/seed-{t.seed}" for t in run.manifest.trials}

    key = next(t.key for t in run.manifest.trials if (t.arm, t.seed) == ("native+can-dw", 0))
    curves = json.loads((REFERENCE / "records" / f"{key}.curves.json").read_text())
    record = json.loads((REFERENCE / "records" / f"{key}.json").read_text())
    actual = read(tmp_path / "native+can-dw" / "seed-0")
    for tag, part in (("loss/train", curves), ("loss/heldout", curves["heldout"])):
        assert [step for step, _ in actual[tag]] == part["images"]
        assert [value for _, value in actual[tag]] == pytest.approx(part["loss"], rel=1e-6)
    scores = {
        tag.removeprefix("score/"): points for tag, points in actual.items() if "score" in tag
    }
    assert set(scores) == set(record["metrics"])
    for name, points in scores.items():  # event files hold float32
        assert points == [(90000, pytest.approx(record["metrics"][name], rel=1e-6))]


def test_writing_again_replaces_and_leaves_other_files(run, tmp_path):
    folder = tmp_path / "native" / "seed-1"
    write_tensorboard(run, tmp_path)
    (folder / "events.out.tfevents.1.elsewhere").write_bytes(b"")
    write_tensorboard(run, tmp_path)
    assert len(list(folder.iterdir())) == 2
    assert len(read(folder)["score/kid"]) == 1


def test_a_failed_trial_shows_its_curve_and_one_not_run_nothing(tmp_path):
    manifest, records = reference()
    manifest["trials"] = [t for t in manifest["trials"] if t["arm"] == "can-3"]
    failed = {pair: records[pair] for pair in (("can-3", 0), ("can-3", 1))}
    for record in failed.values():
        fail(record)
    curve = {"images": [4, 8], "loss": [1.0, 0.5], "norm": [3, 4]}  # without held-out points
    write_run(tmp_path, manifest, failed, {failed["can-3", 0]["key"]: curve})
    assert write_tensorboard(find_run(tmp_path, "layer_placement"), tmp_path / "board") == 1
    assert read(tmp_path / "board" / "can-3" / "seed-0") == {"loss/train": [(4, 1.0), (8, 0.5)]}
    assert not (tmp_path / "board" / "can-3" / "seed-1").exists()


def test_generated_weights_are_curves_too(tmp_path):
    manifest, records = reference()
    key = records["can-3", 0]["key"]
    weights = {
        "images": [4, 8],
        "sites": {"depthwise": {"generated": [1.0, 2.0], "spread_class": [None, 0.5]}},
    }
    write_run(tmp_path, manifest, records, {key: {"images": [], "loss": [], "weights": weights}})
    write_tensorboard(find_run(tmp_path, "layer_placement"), tmp_path / "board")
    actual = read(tmp_path / "board" / "can-3" / "seed-0")
    assert actual["weights/depthwise/generated"] == [(4, 1.0), (8, 2.0)]
    assert actual["weights/depthwise/spread_class"] == [(8, 0.5)]


def test_the_command(tmp_path):
    command = ("tensorboard", "layer_placement", tmp_path, "--results", REFERENCE)
    code, out, _ = cabench(*command)
    assert code == 0 and out.startswith(f"{TRIALS} trials in")
    assert read(tmp_path / "can-3" / "seed-2")["loss/heldout"][-1][0] == 90000
    code, _, err = cabench(*command, "--scale", "cpu")
    assert code == 2 and err.count("\n") == 1 and "it was run at quick" in err
