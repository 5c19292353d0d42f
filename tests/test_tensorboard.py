import json

import pytest
from specs import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cabench.manifests import find_run
from cabench.tensorboard import write_tensorboard

REFERENCE = ROOT / "results" / "reference"


@pytest.fixture
def run():
    return find_run(REFERENCE, "layer_placement")


def read(folder) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's own reader: all points by tag."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_back_what_the_records_say(run, tmp_path):
    assert write_tensorboard(run, tmp_path) == 30
    folders = {str(p.parent.relative_to(tmp_path)) for p in tmp_path.rglob("events.*")}
    assert folders == {f"{t['arm']}/seed-{t['seed']}" for t in run.told["trials"]}

    key = next(
        t["key"] for t in run.told["trials"] if (t["arm"], t["seed"]) == ("native+can-dw", 0)
    )
    told = json.loads((REFERENCE / "records" / f"{key}.curves.json").read_text())
    record = json.loads((REFERENCE / "records" / f"{key}.json").read_text())
    found = read(tmp_path / "native+can-dw" / "seed-0")
    for tag, part in (("loss/train", told), ("loss/heldout", told["heldout"])):
        assert [step for step, _ in found[tag]] == part["images"]
        assert [value for _, value in found[tag]] == pytest.approx(part["loss"], rel=1e-6)
    scores = {tag.removeprefix("score/"): points for tag, points in found.items() if "score" in tag}
    assert set(scores) == set(record["metrics"])
    for name, points in scores.items():  # event files hold float32
        assert points == [(22400, pytest.approx(record["metrics"][name], rel=1e-6))]


def test_writing_again_replaces_and_leaves_other_files(run, tmp_path):
    folder = tmp_path / "native" / "seed-1"
    write_tensorboard(run, tmp_path)
    (folder / "events.out.tfevents.1.elsewhere").write_bytes(b"")
    write_tensorboard(run, tmp_path)
    assert len(list(folder.iterdir())) == 2
    assert len(read(folder)["score/kid"]) == 1


def test_a_failed_trial_shows_its_curve_and_one_not_run_nothing(tmp_path):
    manifest = {
        "study": "s", "scale": "t", "study_file": "s.yaml",
        "trials": [{"arm": "a", "seed": s, "key": f"key{s}"} for s in range(3)],
    }  # fmt: skip
    (tmp_path / "s.t").mkdir()
    (tmp_path / "records").mkdir()
    (tmp_path / "s.t" / "manifest.json").write_text(json.dumps(manifest))
    failed = {"key": "key0", "status": "failed", "error": "Diverged", "spec": {"images": 9}}
    (tmp_path / "records" / "key0.json").write_text(json.dumps(failed))
    (tmp_path / "records" / "key1.json").write_text(json.dumps(failed | {"key": "key1"}))
    curve = {"images": [4, 8], "loss": [1.0, 0.5], "norm": [3, 4]}  # without held-out points
    (tmp_path / "records" / "key0.curves.json").write_text(json.dumps(curve))
    assert write_tensorboard(find_run(tmp_path, "s"), tmp_path / "board") == 1
    assert read(tmp_path / "board" / "a" / "seed-0") == {"loss/train": [(4, 1.0), (8, 0.5)]}
    assert not (tmp_path / "board" / "a" / "seed-1").exists()
