"""`cabench entry` and `cabench verify`, on the tiny study that was really run."""

import json
import shutil

import jsonschema
import pytest
from cli import cabench
from datasets import load_dataset

from cabench.commands.leaderboard_entry import entry_of, trial_rows
from cabench.records.runs import find_run
from cabench.runtime.files import file_hash, write_json
from cabench.runtime.sealed import seal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def entry(undisturbed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("entries") / "can"
    root = undisturbed.root
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        code, out, err = cabench("entry", "tiny:can-3", folder, "--by", "A. Author")
    assert code == 0 and f"cabench verify {folder}" in out, err
    return folder


@pytest.fixture
def copy(entry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(entry, tmp_path / "can")
    return tmp_path / "can"


def records_of(folder):
    return sorted(p for p in (folder / "records").glob("*.json") if "." not in p.stem)


def test_an_entry_is_a_run_of_two_arms(copy, undisturbed, tmp_path):
    content = json.loads((copy / "entry.json").read_text())
    assert (content["arm"], content["baseline"], content["by"]) == (
        "can-3",
        "native+dw",
        "A. Author",
    )
    kid = next(score for score in content["scores"] if score["metric"] == "kid")
    values = {
        arm: [
            undisturbed.outcome[t["key"]]["metrics"]["kid"]
            for t in content["trials"]
            if t["arm"] == arm
        ]
        for arm in ("can-3", "native+dw")
    }
    assert kid["mean"] == pytest.approx(sum(values["can-3"]) / 2)
    assert kid["baseline_mean"] == pytest.approx(sum(values["native+dw"]) / 2)
    assert kid["seeds"] == 2 and kid["low"] < kid["difference"] < kid["high"]
    rows = load_dataset(
        "json", data_files=str(copy / "trials.jsonl"), split="train", cache_dir=tmp_path
    )
    assert sorted(zip(rows["arm"], rows["seed"], strict=True)) == sorted(
        (t["arm"], t["seed"]) for t in content["trials"]
    )
    assert rows["metrics.kid"] == [
        undisturbed.outcome[key]["metrics"]["kid"] for key in rows["key"]
    ]
    code, out, _ = cabench("schema", "entry")
    jsonschema.Draft202012Validator(json.loads(out)).validate(content)
    code, out, _ = cabench("status", "--results", copy)
    assert code == 0 and "4     4       0        0" in out


def test_trials_are_repeated_to_the_bit(copy):
    code, out, err = cabench("verify", copy, "--repeat", "1")
    assert code == 0, out + err
    assert "failed" not in out and out.count("passed") == 5 and "1 trial repeated" in out


def reseal(copy, edit):
    """Change the first record as a forger would: seal, hashes and scores of the entry fit again."""
    document = json.loads((copy / "entry.json").read_text())
    path = copy / "records" / f"{document['trials'][0]['key']}.json"
    record = json.loads(path.read_text())
    edit(record)
    write_json(path, seal(record))
    document["trials"][0]["sha256"] = file_hash(path)
    write_json(copy / "entry.json", document)
    run = find_run(copy, document["study"], document["scale"])
    (copy / "trials.jsonl").write_text(trial_rows(run))
    write_json(copy / "entry.json", entry_of(run, "can-3", "A. Author").dump())


def test_a_forged_score_is_seen_by_repeating_the_trial(copy):
    reseal(copy, lambda record: record["metrics"].update(kid=record["metrics"]["kid"] - 1.0))
    code, out, _ = cabench("verify", copy, "--repeat", "0")
    assert code == 0 and "failed" not in out
    code, out, _ = cabench("verify", copy, "--repeat", "4")
    assert code == 1 and "failed  4 trials repeated" in out and "metrics: kid" in out


FORGED = {
    "other rows": "trials.jsonl: not the rows of the records",
    "no scores": "scores that the records have and the entry lacks: kid",
    "an unknown arm": "no trial of zzz",
    "no trials": "no trial of can-3",
    "another arm's record": "differs in",
    "a better score in a resealed record": "not the file that the entry was written for",
    "a better score in the record": "missing or corrupted",
    "a better mean in the entry": "expected",
    "a record that the entry does not list": "others than those of the entry",
    "another seed's record": "missing or corrupted",
}


@pytest.mark.parametrize("forgery", FORGED)
def test_what_is_forged_fails(copy, forgery):
    document = json.loads((copy / "entry.json").read_text())
    paths = [copy / "records" / f"{t['key']}.json" for t in document["trials"]]
    record = json.loads(paths[0].read_text())
    if "record" in forgery and "better" in forgery:
        record["metrics"]["kid"] -= 1.0
        write_json(paths[0], seal(record) if "resealed" in forgery else record)
    elif "mean" in forgery:
        document["scores"][0]["mean"] -= 1.0
        write_json(copy / "entry.json", document)
    elif "list" in forgery:
        document["trials"] = document["trials"][1:]
        write_json(copy / "entry.json", document)
    elif "rows" in forgery:
        (copy / "trials.jsonl").write_text("{}")
    elif "scores" in forgery:
        write_json(copy / "entry.json", document | {"scores": []})
    elif "unknown" in forgery:
        write_json(copy / "entry.json", document | {"arm": "zzz"})
    elif "trials" in forgery or "arm's" in forgery:
        manifest = json.loads((copy / "tiny.tiny/manifest.json").read_text())
        trials = [] if "trials" in forgery else document["trials"]
        if trials:  # the baseline's record in the arm's place
            ours = next(t for t in trials if t["arm"] == "can-3")
            base = next(t for t in trials if t["arm"] != "can-3" and t["seed"] == ours["seed"])
            ours.update(key=base["key"], sha256=base["sha256"])
        write_json(copy / "entry.json", document | {"trials": trials})
        entries = [{k: t[k] for k in ("arm", "seed", "key")} for t in trials]
        write_json(copy / "tiny.tiny/manifest.json", manifest | {"trials": entries})
    else:
        shutil.copyfile(paths[1], paths[0])
    code, out, _ = cabench("verify", copy, "--repeat", "0")
    assert code == 1 and FORGED[forgery] in out


def test_faults_are_one_line(copy, undisturbed, monkeypatch):
    (copy / "entry.json").write_text('{"format": 2}')
    code, _, err = cabench("verify", copy)
    assert code == 2 and "format 1" in err and err.count("\n") == 1
    code, _, err = cabench("verify", copy / "records")
    assert code == 2 and "no entry" in err
    monkeypatch.chdir(undisturbed.root)
    for target, text in (("tiny:can-4", "did you mean 'can-3'"), ("tiny:native+dw", "baseline")):
        code, _, err = cabench("entry", target, copy.parent / "new")
        assert code == 2 and text in err and err.count("\n") == 1
    code, _, err = cabench("entry", "tiny:can-3", copy)
    assert code == 2 and "new or empty" in err


def test_a_study_without_a_run_gives_the_entry_of_the_reference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = cabench("entry", "layer_placement:can-3", "can")
    assert code == 0, err
    content = json.loads((tmp_path / "can/entry.json").read_text())
    assert content["baseline"] == "native+dw" and len(content["trials"]) == 12
