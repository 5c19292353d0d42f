import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from cli import cabench as command
from example_study import make_weights
from rundir import MANIFEST, REFERENCE, TRIALS, fail, reference, write_run
from specs import readme

import cabench
from cabench.errors import CabenchError


@pytest.fixture(scope="module")
def frame():
    return cabench.load("layer_placement", results=REFERENCE)


def record(key: str) -> dict:
    return json.loads((REFERENCE / "records" / f"{key}.json").read_text())


def test_every_number_of_every_record_is_a_row(frame):
    assert len(frame["key"].unique()) == TRIALS
    for key, rows in frame.groupby("key"):
        stored = record(key)
        assert len(rows) == len(stored["metrics"])
        for row in rows.to_dict("records"):
            name = row["metric"] + ("/g2" if row["guidance"] == 2 else "")
            assert row["value"] == stored["metrics"][name]
            assert row["seed"] == stored["spec"]["train"]["seed"]
            assert row["macs"] == stored["cost"]["macs"]["total"]
            assert row["params"] == stored["cost"]["params"]["total"]
            assert row["train_images_per_s"] == stored["timing"]["train_images_per_s"]
    assert set(frame["status"]) == {"complete"}
    assert set(frame["study"]) == {"layer_placement"} and set(frame["scale"]) == {"quick"}


def test_another_guidance_is_a_value_of_the_same_metric(frame):
    assert not frame["metric"].str.contains("/g").any()
    kid = frame[frame["metric"] == "kid"]
    assert sorted(kid["guidance"].unique()) == [1.0, 2.0]
    assert len(kid[kid["guidance"] == 1.0]) == TRIALS
    assert set(kid[kid["guidance"] == 2.0]["seed"]) == {0}
    assert not frame.duplicated(["arm", "seed", "metric", "guidance"]).any()


def test_a_loss_has_neither_guidance_nor_samples(frame):
    losses = frame["metric"].str.contains("loss")
    assert frame[losses]["guidance"].isna().all() and frame[losses]["n"].isna().all()
    assert (frame[~losses]["n"] == 2000).all()


def test_means_are_those_of_the_readme(frame):
    """The table of the README, from the frame with pandas alone."""
    chosen = frame[(frame["metric"] == "kid") & (frame["guidance"] == 1)]
    means = chosen.groupby("arm")["value"].mean()
    for arm in ("native+dw", "native+can-3", "can-3", "unconditional"):
        printed = float(readme(arm)["KID-lite0@2000 ↓"].split()[0])
        assert means[arm] == pytest.approx(printed, abs=0.0005)


@pytest.fixture
def half_done(tmp_path):
    """The reference's run with one trial failed and one gone."""
    manifest, records = reference()
    fail(records["can-3", 1])
    del records["can-3", 2]
    return write_run(tmp_path, manifest, records)


def test_failed_and_missing_trials_keep_their_rows(half_done):
    actual = cabench.load("layer_placement.quick", results=half_done)
    rows = actual[
        (actual["arm"] == "can-3") & (actual["metric"] == "kid") & (actual["guidance"] == 1)
    ]
    assert rows.set_index("seed")["status"].to_dict() == {0: "complete", 1: "failed", 2: "missing"}
    assert rows["value"].isna().tolist() == [False, True, True]
    assert rows["n"].isna().tolist() == rows["params"].isna().tolist() == [False, True, True]
    assert cabench.load_curves("layer_placement", results=half_done).empty


def test_curves_are_the_points_on_disk():
    actual = cabench.load_curves("layer_placement", scale="quick", results=REFERENCE)
    for (key, kind), rows in actual.groupby(["key", "kind"]):
        stored = json.loads((REFERENCE / "records" / f"{key}.curves.json").read_text())
        stored = stored if kind == "train" else stored["heldout"]
        assert rows["images"].tolist() == stored["images"]
        assert rows["loss"].tolist() == stored["loss"]
    assert set(actual["kind"]) == {"train", "heldout"} and actual["key"].nunique() == TRIALS
    last = actual[actual["kind"] == "heldout"].groupby("key")["images"].max()
    assert (last == 90000).all()


def test_generated_weights_are_the_points_on_disk(tmp_path):
    arms_with_weights = set(cabench.load_weights("layer_placement", results=REFERENCE)["arm"])
    assert arms_with_weights == {
        arm["name"] for arm in json.loads(MANIFEST.read_text())["arms"] if "can" in arm["name"]
    }
    manifest, records = reference()
    history = make_weights("can-dw-pe")
    write_run(tmp_path, manifest, records, {records["can-3", 1]["key"]: {"weights": history}})
    actual = cabench.load_weights("layer_placement", results=tmp_path)
    assert actual.columns[:2].tolist() == ["study", "scale"]
    assert set(actual["arm"]) == {"can-3"} and set(actual["seed"]) == {1}
    for (site, measure), rows in actual.groupby(["site", "measure"]):
        assert rows["images"].tolist() == history["images"]
        assert rows["value"].tolist() == history["sites"][site][measure]
    assert len(actual) == 2 * 5 * len(history["images"])


@pytest.fixture
def corrupted(tmp_path):
    """The reference's run; a number in the curves of can-3, seed 1, is not what was measured."""
    shutil.copytree(REFERENCE, tmp_path, dirs_exist_ok=True)
    (trial,) = (t for t in reference()[0]["trials"] if (t["arm"], t["seed"]) == ("can-3", 1))
    path = tmp_path / "records" / f"{trial['key']}.curves.json"
    curves = json.loads(path.read_text())
    curves["heldout"]["loss"][-1] *= 10
    path.write_text(json.dumps(curves))
    return path


def test_corrupted_curves_are_reported_once_and_left_out(corrupted, tmp_path, caplog):
    intact = cabench.load_curves("layer_placement", results=REFERENCE)
    actual = cabench.load_curves("layer_placement", results=tmp_path)
    key = corrupted.name.removesuffix(".curves.json")
    assert actual.equals(intact[intact["key"] != key].reset_index(drop=True)) and len(actual) > 0
    assert caplog.messages == [f"{corrupted} is corrupted; `cabench run` regenerates it"]
    caplog.clear()
    assert len(cabench.load("layer_placement", results=tmp_path)) > 0 and not caplog.messages


def test_commands_that_only_read_report_corrupted_curves_in_a_line(corrupted, tmp_path):
    here = ("--results", tmp_path)
    line = f"cabench: {corrupted} is corrupted; `cabench run` regenerates it\n"
    for words, message in (
        (("status",), ""),
        (("compare", "layer_placement:can-3", "layer_placement:native"), ""),
        (("log", "layer_placement", "tensorboard", tmp_path / "board"), line),
    ):
        code, out, err = command(*words, *here)
        assert code == 0 and out and err == message, words


def test_a_corrupted_record_is_reported_once_by_a_command_that_reads_it_twice(tmp_path):
    shutil.copytree(REFERENCE, tmp_path, dirs_exist_ok=True)
    key = reference()[0]["trials"][0]["key"]
    path = tmp_path / "records" / f"{key}.json"
    path.write_text(path.read_text().replace("complete", "finished"))
    code, _, err = command("compare", "layer_placement", "layer_placement", "--results", tmp_path)
    assert code == 0 and err == f"cabench: {path} is corrupted; `cabench run` regenerates it\n"


def test_columns_have_one_type(frame, half_done):
    other = cabench.load("layer_placement", results=half_done)
    assert other.dtypes.equals(frame.dtypes)
    assert frame["value"].dtype == np.float64 and frame["params"].dtype == pd.Int64Dtype()


def test_a_study_file_that_changed_since_the_run_warns(tmp_path, recwarn):
    manifest, records = reference()
    path = tmp_path / "study.yaml"
    path.write_text("study: layer_placement\n")
    manifest["study_file"] = str(path)
    manifest["study_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_run(tmp_path, manifest, records)
    cabench.load("layer_placement", results=tmp_path)
    assert not recwarn.list
    path.write_text("study: layer_placement # edited\n")
    with pytest.warns(UserWarning, match="study.yaml has changed since layer_placement.quick"):
        cabench.load("layer_placement", results=tmp_path)


def test_errors_name_near_matches():
    with pytest.raises(CabenchError, match="did you mean 'layer_placement'"):
        cabench.load("layer_placment", results=REFERENCE)
    with pytest.raises(CabenchError, match="was not run at scale 'cpu'"):
        cabench.load("layer_placement", scale="cpu", results=str(REFERENCE))
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = cabench.laod


def test_importing_the_package_loads_nothing_and_loading_needs_no_torch():
    script = (
        "import sys, cabench\n"
        "assert not {'pandas', 'numpy', 'torch'} & set(sys.modules)\n"
        f"cabench.load('layer_placement', results={str(REFERENCE)!r})\n"
        "assert not {'torch', 'ray', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"study": "../../evil"}', "{"])
def test_an_invalid_manifest_is_reported_and_left_out(tmp_path, content, caplog):
    manifest, records = reference()
    write_run(tmp_path, manifest, records)
    (tmp_path / "old.x").mkdir()
    (tmp_path / "old.x" / "manifest.json").write_text(content)
    assert len(cabench.load("layer_placement", results=tmp_path)) > 0
    assert "old.x/manifest.json" in caplog.messages[0]


@pytest.mark.parametrize("where", ["study", "scale", "arms"])
def test_names_that_lead_out_of_a_folder_are_refused(tmp_path, where):
    manifest, records = reference()
    if where == "arms":
        manifest["arms"][0]["name"] = "../../can-3"
        manifest["trials"][0]["arm"] = "../../can-3"
    write_run(tmp_path, manifest, records)
    if where != "arms":
        manifest[where] = "../../evil"
        path = tmp_path / "layer_placement.quick" / "manifest.json"
        path.write_text(json.dumps(manifest))
    with pytest.raises(CabenchError, match="no runs in"):
        cabench.load("layer_placement", results=tmp_path)
