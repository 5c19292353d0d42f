import json
import struct
from io import BytesIO

import numpy as np
import pytest
from cli import cabench
from PIL import Image
from rundir import REFERENCE, TRIALS, fail, reference, write_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cabench.analysis.loggers import write_log
from cabench.analysis.loggers.base import trial_logs
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
    assert write_log(run, "tensorboard", tmp_path).startswith(f"{TRIALS} trials in")
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
    write_log(run, "tensorboard", tmp_path)
    (folder / "events.out.tfevents.1.elsewhere").write_bytes(b"")
    write_log(run, "tensorboard", tmp_path)
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
    run = find_run(tmp_path, "layer_placement")
    assert write_log(run, "tensorboard", tmp_path / "board").startswith("1 trial in")
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
    write_log(find_run(tmp_path, "layer_placement"), "tensorboard", tmp_path / "board")
    actual = read(tmp_path / "board" / "can-3" / "seed-0")
    assert actual["weights/depthwise/generated"] == [(4, 1.0), (8, 2.0)]
    assert actual["weights/depthwise/spread_class"] == [(8, 0.5)]


def test_the_command(tmp_path):
    command = ("log", "layer_placement", "tensorboard", tmp_path, "--results", REFERENCE)
    code, out, _ = cabench(*command)
    assert code == 0 and out.startswith(f"{TRIALS} trials in")
    assert read(tmp_path / "can-3" / "seed-2")["loss/heldout"][-1][0] == 90000
    code, _, err = cabench(*command, "--scale", "cpu")
    assert code == 2 and err.count("\n") == 1 and "it was run at quick" in err


def test_an_unknown_tracker_is_one_line(tmp_path):
    code, _, err = cabench("log", "layer_placement", "tensorbord", "--results", REFERENCE)
    assert code == 2 and err.count("\n") == 1 and "did you mean 'tensorboard'" in err
    code, _, err = cabench("run", "nowhere.yaml", "--log", "wandbb")
    assert code == 2 and "did you mean 'wandb'" in err


def test_samples_are_an_image(run, tmp_path):
    write_log(run, "tensorboard", tmp_path)
    events = EventAccumulator(str(tmp_path / "can-3" / "seed-0"), size_guidance={"images": 0})
    (image,) = events.Reload().Images("samples")
    grid = next(log.grid for log in trial_logs(run) if log.name == "can-3/seed-0")
    assert grid is not None and image.step == 90000
    logged, file = (
        np.asarray(Image.open(p).convert("RGB"))
        for p in (BytesIO(image.encoded_image_string), grid)
    )
    assert np.array_equal(logged, file)


@pytest.fixture
def two(tmp_path):
    """A run of two trials."""
    manifest, records = reference()
    pairs = (("can-3", 0), ("native", 1))
    manifest["trials"] = [t for t in manifest["trials"] if (t["arm"], t["seed"]) in pairs]
    chosen = {pair: records[pair] for pair in pairs}
    curve = {"images": [4, 8], "loss": [1.0, 0.5], "norm": [3, 4]}
    write_run(tmp_path, manifest, chosen, {chosen["can-3", 0]["key"]: curve})
    return find_run(tmp_path, "layer_placement")


@pytest.mark.slow
def test_mlflow_reads_back_the_records(two, tmp_path):
    from mlflow import MlflowClient

    for _ in range(2):  # the second call replaces the runs of the first
        assert write_log(two, "mlflow", tmp_path / "m").startswith("2 trials in")
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/m/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "layer_placement.quick"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"can-3/seed-0", "native/seed-1"}
    can = runs["can-3/seed-0"]
    log = next(log for log in trial_logs(two) if log.name == "can-3/seed-0")
    assert {
        f"score/{name}": v for name, v in log.scores.items()
    }.items() <= can.data.metrics.items()
    history = client.get_metric_history(can.info.run_id, "loss/train")
    assert [(m.step, m.value) for m in history] == [(4, 1.0), (8, 0.5)]
    assert can.data.params["images"] == "90000" and can.data.tags["arm"] == "can-3"


def leveldb_records(content):
    """The records of a .wandb file: a LevelDB log with a header of its own (7 bytes)."""
    assert content.startswith(b":W&B")
    place, parts = 7, []
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:  # the rest of a block is empty
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        parts.append(content[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


@pytest.mark.slow
def test_wandb_reads_back_the_records(two, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    from wandb.proto import wandb_internal_pb2

    for _ in range(2):
        assert write_log(two, "wandb", tmp_path / "w").startswith("2 trials in")
    files = sorted((tmp_path / "w" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    points, names = {}, set()
    for file in files:
        for data in leveldb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                names.add((record.run.run_group, record.run.display_name))
            if "can-3" in file.name:
                items = {
                    "/".join(i.nested_key) or i.key: json.loads(i.value_json)
                    for i in record.history.item
                }
                points |= {(items.get("_step"), name): value for name, value in items.items()}
    assert names == {("layer_placement.quick", n) for n in ("can-3/seed-0", "native/seed-1")}
    assert (points[4, "loss/train"], points[8, "loss/train"]) == (1.0, 0.5)
    log = next(log for log in trial_logs(two) if log.name == "can-3/seed-0")
    assert {name: points[90000, f"score/{name}"] for name in log.scores} == log.scores
