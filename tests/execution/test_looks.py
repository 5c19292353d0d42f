"""Runs that add seeds until claims are resolved: real trials of a tiny study."""

import contextlib
import json
import shutil

import pytest
from cli import cabench
from runs import outcome
from specs import ROOT

from cabench.errors import CabenchError
from cabench.evidence.frame import tidy
from cabench.evidence.results import Results
from cabench.evidence.verdicts import judge
from cabench.execution import looks
from cabench.execution.run import Options, prepare
from cabench.records.runs import find_run
from cabench.records.schema import Manifest

SCALE = """
scale: tiny
data:
  - {streams: [label], source: digits}
backbones:
  dit: {preset: micro, patch: 4}
training: {images: 192, batch: 32, lr: 2.0e-3, warmup: 64, ema_half_life: 64, snapshot_every: 96}
diffusion: {prediction: flow}
sampling: {steps: 2, n: 10, batch: 10}
metrics: [heldout_loss]
heldout: {images: 40, bins: 4}
seeds: 2
"""
# C1 is decided on the first four seeds: without conditions the loss is .015 higher, with a spread
# of .002. C2 compares two draws of initial values.
STUDY = """
study: tiny
question: Which arm has the lower loss?
primary: heldout_loss
baseline: native+dw
sequential: {step: 2, most: 6, futility: 0.99}
arms:
  native+dw: {methods: [native], depthwise: static}
  salted: {methods: [native], depthwise: static, init_salt: a}
  bare: {methods: [], depthwise: static}
  unclaimed: {methods: [], depthwise: static, init_salt: b}
claims:
  - id: C1
    says: conditions help
    better: native+dw
    than: bare
    metric: heldout_loss
    test: superiority
  - id: C2
    says: initial values matter
    better: salted
    than: native+dw
    metric: heldout_loss
    test: superiority
"""
EXAMPLE = ROOT / "examples" / "gated_kernels.py"
METRIC = """
from cabench.registry import METRICS

@METRICS.register("brightness")
class Brightness:
    version, needs, higher_is_better, label, min_samples = 1, "samples", False, "b@{n}", 1

    @staticmethod
    def compute(generated, reference, images, labels, scorer):
        return images.mean()
"""
UNTIL = ("run", "tiny.yaml", "--scale", "scale.yaml", "--executor", "local", "--until-resolved")


def run(root, *words):
    """Runs a command in `root`, in this process."""
    with contextlib.chdir(root):
        return cabench(*words)


def write(root):
    (root / "tiny.yaml").write_text(STUDY)
    (root / "scale.yaml").write_text(SCALE)
    return root


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    """The study run to its end in one go."""
    root = write(tmp_path_factory.mktemp("resolved"))
    return root, run(root, *UNTIL)


def manifest(root, name="tiny.tiny"):
    return json.loads((root / "results" / name / "manifest.json").read_text())


def seeds(root, name="tiny.tiny"):
    by_arm = {}
    for trial in manifest(root, name)["trials"]:
        by_arm.setdefault(trial["arm"], []).append(trial["seed"])
    return by_arm


def test_seeds_go_to_the_arms_of_open_claims(resolved):
    root, done = resolved
    assert done.code == 0, done.out + done.err
    assert seeds(root) == {
        "native+dw": [0, 1, 2, 3, 4, 5],
        "salted": [0, 1, 2, 3, 4, 5],
        "bare": [0, 1, 2, 3],
        "unclaimed": [0, 1],
    }
    assert manifest(root)["design"] == {
        "sequential": True,
        "until_resolved": True,
        "first": [0, 1],
        "earlier": [],
        "left_out": [],
        "g": 9.0,
        "step": 2,
        "most": 6,
        "futility": 0.99,
    }
    assert "claims: 2; g = 9; the smallest difference that decides the first of them" in done.out
    assert "C1 supported on 4 seeds (10 trials of its arms" in done.out
    assert "C2 stopped for futility on 6 seeds: with this mean and spread, more" in done.out
    assert "confidence sequence" in " ".join(done.out.split()) and "Student" not in done.out
    looks, closing = done.out.split("Written:")
    assert looks.count("C1: ") == 2  # a decided claim is not printed again
    assert "baseline" in looks[looks.index("look 1") : looks.index("look 2")]  # the interim table
    assert "  C1: supported on 4 seeds\n" in closing and "the same command" not in closing
    assert closing.endswith("Next:\n  cabench report tiny.tiny\n")


def test_the_same_command_trains_nothing_and_says_the_same(resolved, tmp_path):
    root, done = resolved
    again = tmp_path / "again"
    shutil.copytree(root, again)
    before = outcome(again / "results")
    second = run(again, *UNTIL)
    assert second.code == 0 and "trials to run" not in second.out
    assert outcome(again / "results") == before
    first_looks = [text[text.index("look 1") :].splitlines()[:3] for text in (done.out, second.out)]
    assert first_looks[0] == first_looks[1]
    assert seeds(again) == seeds(root)


def test_a_run_that_was_stopped_goes_on(resolved, tmp_path):
    """After the first look alone, and after losing a record of the second."""
    root, _ = resolved
    write(tmp_path)
    first = run(tmp_path, *UNTIL, "--max-seeds", "2")
    assert "C1 open on 2 seeds" in first.out and set(map(len, seeds(tmp_path).values())) == {2}
    records = tmp_path / "results" / "records"
    shutil.copytree(root / "results" / "records", records, dirs_exist_ok=True)
    lost = next(t["key"] for t in manifest(root)["trials"] if t["seed"] == 3)
    for path in records.glob(f"{lost}*"):
        path.unlink()
    second = run(tmp_path, *UNTIL)
    assert "1 trial to run" in second.out
    assert outcome(tmp_path / "results") == outcome(root / "results")
    assert seeds(tmp_path) == seeds(root)


@pytest.mark.full
def test_a_look_beyond_the_budget_does_not_begin(tmp_path):
    done = run(write(tmp_path), *UNTIL, "--budget", "1s")
    assert done.code == 0
    assert "look 2 has 6 trials, about " in done.out and "exceed the budget" in done.out
    assert set(map(len, seeds(tmp_path).values())) == {2}
    assert manifest(tmp_path)["design"]["sequential"]


def test_an_added_arm_costs_its_own_trials_where_the_control_has_its_seeds(resolved, tmp_path):
    root, _ = resolved
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    arm = "{mine: {methods: [], depthwise: static, init_salt: c}}"
    done = run(tmp_path, *UNTIL, "--arm", arm)
    new = set(outcome(tmp_path / "results")) - set(outcome(root / "results"))
    assert done.code == 0 and len(new) == len(seeds(tmp_path)["mine"])
    assert {arm: of_arm for arm, of_arm in seeds(tmp_path).items() if arm != "mine"} == seeds(root)
    assert "A1 " in done.out


def test_try_compares_a_plugin_with_the_control_and_the_best_arm(tmp_path):
    words = ("--study", "tiny.yaml", "--scale", "scale.yaml", "--executor", "local")
    done = run(write(tmp_path), "try", EXAMPLE, *words, "--json")
    assert done.code == 0, done.err
    (one,) = json.loads(done.out)
    assert one["arm"] == "native+dw+gated_kernels" and one["failed"] == 0
    assert one["best_arm"] in {"native+dw", "salted"}  # the others have no conditions
    assert {one["best_arm"], "native+dw"} == set(one["against"])
    assert 1 < one["macs_ratio"] < 1.5 and "look 1" in done.err
    planned = seeds(tmp_path, "tiny-try-gated_kernels.tiny")
    assert one["seeds"] == len(planned.pop(one["arm"])) == len(planned.pop("native+dw"))
    assert set(map(len, planned.values())) == {2}  # claims of the study add no seeds
    again = run(tmp_path, "try", EXAMPLE, *words)
    assert again.code == 0 and "to run" not in again.out
    assert f"native+dw+gated_kernels: {one['verdict']}" in again.out
    assert not (tmp_path / "results" / "tiny.tiny").exists()  # the study's own run is untouched


@pytest.mark.full
def test_try_compares_with_another_arm_too(tmp_path):
    words = ("--study", "tiny.yaml", "--scale", "scale.yaml", "--executor", "local", "--json")
    done = run(write(tmp_path), "try", EXAMPLE, *words, "--against", "bare")
    (one,) = json.loads(done.out)
    assert list(one["against"])[:2] == ["bare", "native+dw"] and one["failed"] == 0


def test_try_refuses_a_plugin_without_a_method(tmp_path):
    (tmp_path / "metric.py").write_text(METRIC)
    done = run(write(tmp_path), "try", "metric.py", "--study", "tiny.yaml", "--scale", "scale.yaml")
    assert done.code == 2 and "metric.py: registers no method" in done.err


def test_a_dry_run_says_that_it_plans_the_first_look(tmp_path):
    done = run(write(tmp_path), *UNTIL, "--dry-run")
    assert done.code == 0 and "8 trials: seeds 0, 1" in done.out
    assert "this is the first look; arms of open claims get further seeds, at most 6" in done.out
    assert not (tmp_path / "results").exists()


# ---- designs ------------------------------------------------------------------------------------


@pytest.fixture
def design_after(tmp_path, monkeypatch):
    """The design of the last of several runs, given by their --seeds; nothing is trained."""
    monkeypatch.chdir(write(tmp_path))

    def after(*given, study=None):
        for text in given:
            options = Options(scale="scale.yaml", executor="local", seeds=text)
            prepared = prepare(study or tmp_path / "tiny.yaml", options)
            prepared.manifest_path.parent.mkdir(parents=True, exist_ok=True)
            prepared.manifest_path.write_text(json.dumps(prepared.manifest.dump()))
        return Manifest.model_validate(prepared.manifest)

    return after


@pytest.mark.parametrize(
    ("given", "sequential", "earlier", "left_out"),
    [
        (["2"], False, [], []),
        (["2", "2"], False, [], []),  # the same seeds again
        (["2", "4"], True, [0, 1], []),
        (["2", "4", "4"], True, [0, 1], []),
        (["4", "2"], True, [0, 1, 2, 3], []),  # a sequential test holds up to any seed
        (["4", "0,2"], True, [0, 1, 2, 3], [1]),  # but not for a choice of seeds
        (["4", "0,1,7"], True, [0, 1, 2, 3], [2, 3]),
        (["2", "7,8"], False, [0, 1], []),  # all new
        (["2", "4", "7,8", "4"], True, [0, 1, 2, 3, 7, 8], []),  # earlier looks are remembered
    ],
)
def test_the_design_follows_from_the_seeds_that_were_seen(
    design_after, given, sequential, earlier, left_out
):
    design = design_after(*given).design
    assert design.sequential is sequential
    assert (list(design.earlier), list(design.left_out)) == (earlier, left_out)


def test_seeds_are_analysed_in_the_order_in_which_they_were_seen(design_after):
    assert design_after("3,1", "4").seeds == (3, 1, 0, 2)


def test_further_seeds_are_those_that_were_seen_first(design_after, tmp_path):
    design_after("7,9", "4")
    options = Options(scale="scale.yaml", executor="local", until_resolved=True)
    first = prepare(tmp_path / "tiny.yaml", options)
    assert first.plan.seeds == [7, 9] and not first.manifest.design.left_out
    assert looks._next_seeds(first, 1) == [0, 1] and looks._next_seeds(first, 2) == [2, 3]
    second = prepare(tmp_path / "tiny.yaml", options, {"bare": [0, 1], "native+dw": [0, 1]})
    assert second.manifest.seeds == (7, 9, 0, 1) and not second.manifest.design.left_out


def test_a_claim_on_a_choice_of_seeds_is_not_tested(design_after):
    manifest = design_after("4", "0,2,3")
    frame = tidy(manifest, {})
    reasons = {verdict.reason for verdict in judge(manifest, frame, {})}
    assert reasons == {"seeds 1 of an earlier run are left out"}


def test_a_run_with_another_training_is_no_earlier_look(design_after, tmp_path):
    design_after("2")
    scale = (tmp_path / "scale.yaml").read_text().replace("images: 192", "images: 224")
    (tmp_path / "scale.yaml").write_text(scale)
    assert not design_after("4").design.sequential


def test_a_sequential_run_stays_so(resolved, tmp_path, monkeypatch):
    root, _ = resolved
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    again = prepare(tmp_path / "tiny.yaml", Options(scale="scale.yaml", executor="local"))
    assert again.manifest.design.sequential and not again.manifest.design.until_resolved


# ---- mistakes -----------------------------------------------------------------------------------


def test_a_study_without_claims_has_nothing_to_resolve(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path))
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY[: STUDY.index("claims:")])
    options = Options(scale="scale.yaml", executor="local", until_resolved=True)
    with pytest.raises(CabenchError, match="no claim that seeds could decide; use --seeds"):
        looks.run_until_resolved(path, prepare(path, options))
    assert not (tmp_path / "results").exists()


def test_the_first_look_must_fit_into_the_most_seeds(tmp_path):
    done = run(write(tmp_path), *UNTIL, "--seeds", "8")
    assert done.code == 2 and "expected at least the 8 seeds of the first look" in done.err
    assert not (tmp_path / "results").exists()


@pytest.mark.full
def test_one_seed_is_too_few_but_not_the_end(tmp_path):
    done = run(write(tmp_path), *UNTIL, "--seeds", "1", "--max-seeds", "3")
    assert "C1: not tested yet: needs 2 seeds" in done.out
    assert len(seeds(tmp_path)["bare"]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "30m"), "--max-seeds, --budget: expected with --until-resolved only"),
        (("--max-seeds", "5"), "--max-seeds, --budget: expected with --until-resolved only"),
        (("--until-resolved", "--budget", "30"), "expected a time such as 90s, 30m or 2h"),
        (("--until-resolved", "--budget", "0m"), "expected a time such as 90s, 30m or 2h"),
        (("--until-resolved", "--max-seeds", "0"), "expected an integer"),
    ],
)
def test_wrong_options_get_a_line(tmp_path, words, said):
    done = run(write(tmp_path), "run", "tiny.yaml", "--scale", "scale.yaml", *words)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


# ---- failures, time -----------------------------------------------------------------------------

FAILING = """
from pathlib import Path

from cabench.models.conditioning.base import Method, VectorOptions
from cabench.registry import METHODS


@METHODS.register("failing")
class Failing(Method):
    Options = VectorOptions

    @classmethod
    def sites(cls, options, offered):
        return ()

    def forward(self, embedded):
        if self.training:
            with Path("attempts").open("a") as file:
                file.write("x")
        raise RuntimeError("this method fails")
"""


@pytest.mark.full
def test_failed_trials_are_retried_once_per_command(resolved, tmp_path):
    root, _ = resolved
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "failing.py").write_text(FAILING)
    arm = "{failing: {methods: [native, failing], depthwise: static}}"
    words = (*UNTIL, "--plugin", "failing.py", "--arm", arm)
    attempts = []
    for retry in ((), (), ("--retry-failed",)):
        done = run(tmp_path, *words, *retry)
        assert done.code == 1 and "A1 not tested: arm 'failing' failed" in done.out, done.err
        attempts.append(len((tmp_path / "attempts").read_text()))
    assert attempts[0] == attempts[1] and attempts[2] == 2 * attempts[0]


def test_expected_time_is_that_of_the_arms_so_far(resolved, monkeypatch):
    root, _ = resolved
    monkeypatch.chdir(root)
    path, options = root / "tiny.yaml", Options(scale="scale.yaml", executor="local")
    done = Results.of(find_run(root / "results", "tiny", "tiny"))
    new = prepare(path, options, {"native+dw": [90, 91], "bare": [90]})
    assert len(new.remaining.trials) == 3

    def mean(arm):
        times = [record.timing["trial_s"] for record in done.complete(arm)]
        return sum(times) / len(times)

    expected = looks.expected_seconds(new, done)
    assert expected == pytest.approx(2 * mean("native+dw") + mean("bare"))
    assert looks.expected_seconds(prepare(path, options), done) == 0
