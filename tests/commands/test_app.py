"""The commands from end to end, on real (small) training."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli import cabench
from runs import outcome
from specs import ROOT, write

from cabench.cost import published
from cabench.execution.run import Options, prepare
from cabench.runtime.console import CLOSED_PIPE
from cabench.runtime.files import write_json

STUDY = ("run", "tiny.yaml", "--scale", "scale.yaml", "--jobs", "1")


def records(root: Path) -> dict[str, dict]:
    return {
        p.stem: json.loads(p.read_text())
        for p in (root / "results/records").glob("*.json")
        if "." not in p.stem
    }


@pytest.mark.slow
def test_a_study_from_file_to_figures(tiny):
    code, text, _ = cabench(*STUDY)
    assert code == 0, text
    all_records = records(tiny)
    assert len(all_records) == 4 and {r["status"] for r in all_records.values()} == {"complete"}
    for record in all_records.values():
        assert set(record) == {
            "key",
            "status",
            "error",
            "spec",
            "metrics",
            "protocol",
            "cost",
            "timing",
            "diagnostics",
            "environment",
            "files",
            "checksum",
        }
        assert {"kid", "condition_accuracy", "heldout_loss", "train_loss"} <= set(record["metrics"])
        assert all(isinstance(v, float) for v in record["metrics"].values())
        assert record["cost"]["macs"]["counter"] == "fvcore"
        assert len(json.dumps(record)) < 20_000
        curve = tiny / "results" / "records" / f"{record['key']}.curves.json"
        followed = json.loads(curve.read_text())["weights"]
        sites = record["diagnostics"]["weights"]
        aware = any(m["kind"] == "can" for m in record["spec"]["train"]["model"]["methods"])
        assert set(sites) == ({"depthwise", "patch_embed", "attn_out"} if aware else set())
        if aware:
            assert followed["images"] == [96, 192]
            for site, entry in sites.items():
                assert entry == {m: v[-1] for m, v in followed["sites"][site].items()}
        assert str(tiny) not in json.dumps(record)
    folder = tiny / "results" / "tiny.tiny"
    figures = ("forest.png", "curves.png", "samples.png", "weights.png", "weight_curves.png")
    for name in ("manifest.json", "table.csv", "table.md", *figures):
        assert (folder / name).stat().st_size > 0
    assert "native+dw" in text and "can-3" in text and "real vs real" in text

    # the same command again trains nothing and prints the same table
    before = {p: p.stat().st_mtime_ns for p in (tiny / "results").rglob("*") if p.is_file()}
    again, text2, _ = cabench(*STUDY)
    assert again == 0 and "trials to run" not in text2
    assert text2.split("arm", 1)[1] == text.split("can-3, seed 1", 1)[1].split("arm", 1)[1]
    after = {p: p.stat().st_mtime_ns for p in (tiny / "results").rglob("*") if p.is_file()}
    assert {p for p in before if before[p] != after[p]} <= {folder / "manifest.json"}

    # an added seed and an added arm run alone
    code, text, _ = cabench(*STUDY, "--seeds", "3")
    assert code == 0 and "2 trials to run, 4 done" in text
    code, text, _ = cabench(*STUDY, "--all-arms")
    assert code == 0 and "2 trials to run, 4 done" in text

    # a new metric re-scores saved samples: nothing is trained or drawn again
    cached = {p: p.stat().st_mtime_ns for p in (tiny / ".cabench").rglob("*.safetensors")}
    write(
        tiny / "scale.yaml",
        (tiny / "scale.yaml")
        .read_text()
        .replace("[kid, condition_accuracy, heldout_loss]", "[kid, heldout_loss]"),
    )
    code, text, _ = cabench(*STUDY)
    assert code == 0 and "4 trials to run" in text
    assert cached == {p: p.stat().st_mtime_ns for p in (tiny / ".cabench").rglob("*.safetensors")}

    code, text, _ = cabench("status")
    assert code == 0 and "tiny" in text and "same" in text


@pytest.mark.slow
def test_two_workers_give_the_same_bits_as_one_process(tiny, undisturbed):
    assert cabench(*STUDY[:-1], "2")[0] == 0
    assert outcome(tiny / "results") == undisturbed.outcome


@pytest.mark.slow
def test_the_reference_stands_in_for_trials_when_asked(tiny, undisturbed):
    shutil.copytree(undisturbed.root / "results", tiny / "results/reference")
    code, text, _ = cabench(*STUDY, "--use-reference")
    assert code == 0 and "trials to run" not in text and "can-3" in text
    assert (tiny / "results/tiny.tiny/samples.png").exists() and records(tiny) == {}
    assert "4     4       0        0" in cabench("status")[1]


@pytest.mark.slow
def test_an_interrupted_study_goes_on(tiny, monkeypatch):
    from cabench.execution import trial

    real, calls = trial.measure, []

    def stop_at_third(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(trial, "measure", stop_at_third)
    code, _, err = cabench(*STUDY)
    assert code == 130 and "re-run the command to resume" in err and len(records(tiny)) == 2
    code, text, _ = cabench(*STUDY)
    assert code == 0 and "2 trials to run, 2 done already" in text


@pytest.mark.slow
def test_a_failing_arm_is_a_record_and_the_others_go_on(tiny):
    write(tiny / "hot.yaml", (tiny / "scale.yaml").read_text().replace("lr: 2.0e-3", "lr: 1.0e+30"))
    code, text, _ = cabench("run", "tiny.yaml", "--scale", "hot.yaml", "--jobs", "1")
    assert code == 1 and "Diverged" in text
    assert {r["status"] for r in records(tiny).values()} == {"failed"}
    code, text, _ = cabench("run", "tiny.yaml", "--scale", "hot.yaml", "--jobs", "1")
    assert code == 1 and "trials to run" not in text  # it is finished, and said so
    code, text, _ = cabench("status")
    assert "failed: can-3, seed 0: Diverged" in text


@pytest.mark.slow
def test_a_number_that_is_not_finite_fails_its_trial_only(tiny, monkeypatch):
    from cabench.registry import METRICS

    kid = METRICS.get("kid")
    real, calls = kid.compute, []

    def second_is_nan(*args):
        calls.append(1)
        return float("nan") if len(calls) == 2 else real(*args)

    monkeypatch.setattr(kid, "compute", second_is_nan)
    code, text, _ = cabench(*STUDY)
    states = sorted(r["status"] for r in records(tiny).values())
    assert code == 1 and states == ["complete"] * 3 + ["failed"], text


@pytest.mark.full
@pytest.mark.parametrize(
    ("executor", "more"), [("local", ()), ("ray", ()), ("local", ("--seeds", "2"))]
)
def test_a_closed_pipe_does_not_hold_up_the_workers(tiny, executor, more):
    """`cabench run ... | head -1`: the reader goes away, the trials go on to the end.

    With --seeds it goes before the first trial starts, at the line on the seeds.
    """
    read_one_line("run", "tiny.yaml", "--scale", "scale.yaml", "--executor", executor, *more)
    assert len(records(tiny)) == 4 and (tiny / "results/tiny.tiny/table.csv").exists()


@pytest.mark.full
def test_a_closed_pipe_does_not_hold_up_try(tiny):
    words = ("--study", "tiny.yaml", "--scale", "scale.yaml", "--minutes", "0")
    read_one_line("try", ROOT / "examples/gated_kernels.py", *words, "--executor", "local")
    assert len(records(tiny)) == 6
    assert (tiny / "results/tiny-try-gated_kernels.tiny/manifest.json").exists()


@pytest.mark.full
def test_a_closed_pipe_does_not_hold_up_a_ladder(tiny):
    longer = (tiny / "scale.yaml").read_text().replace("tiny", "longer").replace("192", "384")
    write(tiny / "longer.yaml", longer)
    words = ("--rungs", "scale.yaml,longer.yaml", "--executor", "local")
    read_one_line("ladder", "tiny.yaml", *words, "--seeds", "2")
    assert len(records(tiny)) == 8 and (tiny / "results/ladder.tiny/ladder.png").exists()


def read_one_line(*words):
    """`cabench WORDS | head -1`: it says nothing and ends as if it had been read."""
    call = [sys.executable, "-m", "cabench", *map(str, words)]
    driver = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    driver.stdout.readline()
    driver.stdout.close()
    assert driver.stderr.read() == ""
    assert driver.wait(timeout=120) == CLOSED_PIPE


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("results", ()),
        ("other", ("--cache", "other/cache")),
        ("results/records", ()),
        (".cabench/training", ()),
    ],
)
def test_a_link_to_nothing_is_no_directory(tiny, link, words):
    (tiny / link).parent.mkdir(exist_ok=True)
    (tiny / link).symlink_to("nowhere")
    code, _, err = cabench(*STUDY, *words)
    said = f"expected a directory, but '{link}' is a link to 'nowhere', which does not exist"
    assert code == 2 and said in err and err.count("\n") == 1, err


def test_dry_run_prints_cost_and_runs_nothing(tiny):
    code, text, _ = cabench(*STUDY, "--dry-run")
    assert code == 0 and "estimate:" in text and "can-3" in text
    assert not (tiny / "results").exists()


ABSENT = """
  - streams: [label]
    source: folder
    options: {path: nowhere, size: 8, channels: 1}
    shape: [1, 8, 8]
    classes: {label: 10}
"""


def test_dry_run_without_the_data(tiny):
    digits = "\n  - {streams: [label], source: digits}"
    text = (tiny / "scale.yaml").read_text().replace(digits, ABSENT[:-1])
    write(tiny / "absent.yaml", text)
    command = ("run", "tiny.yaml", "--scale", "absent.yaml")
    code, text, _ = cabench(*command, "--dry-run")
    assert code == 0 and "data missing" in text and "nowhere" in text and "estimate:" in text
    code, out, err = cabench(*command)
    assert code == 2 and out == "" and err.count("\n") == 1 and "nowhere" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*STUDY, "--device", "hpu"), "got 'hpu'"),
        ((*STUDY, "--device", "gpu"), "(did you mean 'cuda'?)"),
        ((*STUDY, "--seeds", "9999999999"), "--seeds: expected"),
        (("run", "gone.yaml"), "no study file 'gone.yaml'"),
        (("run", "tiny.yaml", "--scale", "quik"), "did you mean 'quick'"),
        ((*STUDY, "--seeds", "zero"), "--seeds: expected"),
        ((*STUDY, "--seeds", "0"), "--seeds: expected"),
        ((*STUDY, "--seeds", "1,1"), "--seeds: expected"),
        ((*STUDY, "--device", "cuda:9"), "--device: 'cuda:9'"),
    ],
)
def test_a_users_mistake_gets_one_line(tiny, words, said):
    code, out, err = cabench(*words)
    assert code == 2 and out == "" and said in err and err.count("\n") == 1


@pytest.mark.slow
def test_list_and_macs(tiny, monkeypatch):
    models = [m for m in published.MODELS if m.preset in ("XL", "H", "B0", "L0") and m.patch != 4]
    models += [m for m in published.MODELS if m.preset == "L0"]
    monkeypatch.setattr(published, "MODELS", models)  # tests/cost/test_macs.py counts them all
    code, text, _ = cabench("list")
    assert code == 0 and all(w in text for w in ("adaln_zero", "can", "dit", "fashion16", "quick"))
    code, text, _ = cabench("macs", "--csv", "[b]macs.csv")
    assert code == 0 and "DiT-XL/2" in text and "118.6" in text and "written: [b]macs.csv" in text
    assert (tiny / "[b]macs.csv").read_text().count("\n") == 1 + len(models)


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from cabench.commands.app import app\n"
        "try: app(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "bad = {'torch', 'ray', 'pandas', 'matplotlib', 'numpy', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_status_imports_no_torch(tiny):
    prepared = prepare(tiny / "tiny.yaml", Options(scale="scale.yaml"))
    write_json(prepared.manifest_path, prepared.manifest.dump())
    script = (
        "import sys; from pathlib import Path; from cabench.commands.status import show_status\n"
        "show_status(Path('results')); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=tiny).returncode == 0
