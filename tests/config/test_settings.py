"""`--set`: values of a scale that the command line replaces, and the name of what results."""

import json

import pytest
from cli import cabench
from conftest import TINY_SCALE
from invalid import DRY, put, refused

from cabench.config.settings import name_of
from cabench.config.study import read_scale, read_study
from cabench.planning.trials import manifest, plan
from cabench.report.methods_section import command
from cabench.runtime.validation import LONGEST_NAME


def planned(tiny, *settings, study="tiny.yaml"):
    return plan(read_study(tiny / study), read_scale("scale.yaml", settings), compiles=False)


def test_values_are_typed_by_the_schema(tiny):
    file = read_scale("scale.yaml", ["training.lr=1", "sampling.steps=20", "training.clip=null"])
    assert (file.scale.training.lr, type(file.scale.training.lr)) == (1.0, float)
    assert file.scale.sampling.steps == 20
    assert [(s.key, s.value, s.before) for s in file.settings] == [
        ("sampling.steps", 20, 3), ("training.clip", None, None), ("training.lr", 1.0, 0.002),
    ]  # fmt: skip
    again = read_scale("scale.yaml", ["training.clip=null", "sampling.steps=20", "training.lr=1.0"])
    assert again.scale == file.scale


def test_the_keys_are_those_of_a_file_with_these_values(tiny):
    text = TINY_SCALE.replace("lr: 2.0e-3", "lr: 1.0e-3").replace("n: 100", "n: 110")
    put(tiny / "other.yaml", text.replace("batch: 40", "batch: 40, sweep: {guidance: [2.0]}"))
    settings = ["training.lr=1e-3", "sampling.n=110", "sampling.sweep.guidance=[2.0]"]
    changed = planned(tiny, *settings)
    written = plan(read_study(tiny / "tiny.yaml"), read_scale("other.yaml"), compiles=False)
    assert [t.key for t in changed.trials] == [t.key for t in written.trials]
    assert [t.key for t in changed.trials] != [t.key for t in planned(tiny).trials]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (["training.lr=1e-3"], "tiny+training_lr-0_001"),
        (["training.lr=.001"], "tiny+training_lr-0_001"),
        (["sampling.steps=7", "training.lr=1e-5"], "tiny+sampling_steps-7+training_lr-1e-05"),
        (["training.compile=true"], "tiny+training_compile-true"),
        (["diffusion.prediction=v"], "tiny+diffusion_prediction-v"),
        ([], "tiny"),
    ],
)
def test_the_name_says_what_differs(tiny, settings, name):
    assert read_scale("scale.yaml", settings).scale.scale == name
    assert read_scale("scale.yaml", settings[::-1]).scale.scale == name


def test_names_of_other_characters_or_many_settings_end_in_a_hash(tiny):
    names = {
        read_scale("scale.yaml", [f"metrics={value}", "training.warmup=32"]).scale.scale
        for value in ("[kid]", "[kid, heldout_loss]", "[heldout_loss, kid]")
    }
    many = [f"training.{key}=96" for key in ("warmup", "ema_half_life", "snapshot_every")]
    names.add(long := read_scale("scale.yaml", many).scale.scale)
    assert len(names) == 4 and max(map(len, names)) <= LONGEST_NAME == len(long)
    for name in names:  # a name that a scale file may have
        put(tiny / "named.yaml", TINY_SCALE.replace("scale: tiny", f"scale: {name}"))
        assert read_scale("named.yaml").scale.scale == name
    assert name_of("tiny", ()) == "tiny"


WRONG = {  # setting -> the whole line, or its beginning
    "training.lr=abc": "--set training.lr: expected a number, got 'abc'",
    "training.lr='0.1'": "--set training.lr: expected a number, got '0.1'",
    "training.lr=": "--set training.lr: expected a number, got null",
    "training.lr=0": "--set training.lr: expected a number greater than 0, got 0",
    "sampling.steps=2.5": "--set sampling.steps: expected a whole number, got 2.5",
    "trainig.lr=1": "--set trainig.lr: unknown key (did you mean 'training'?); allowed: scale, ",
    "training.lrr=1": "--set training.lrr: unknown key (did you mean 'lr'?); allowed: images, ",
    "lr=1": "--set lr: unknown key; allowed: ",
    "training.lr.x=1": "--set training.lr.x: 'training.lr' has no keys",
    "data.1.patch=2": "--set data.1.patch: expected an index from 0 to 0, got '1'",
    "data.first.patch=2": "--set data.first.patch: expected an index from 0 to 0, got 'first'",
    "data.0.options.size=8": "--set data.0.options.size: unknown key",
    "training={lr: 1}": "--set training: expected a value, got a mapping: set its keys",
    "training.betas=[0.9]": "--set training.betas.1: this item is missing",
    "clip.template=a {}": "--set clip.path: this key is missing",
    "heldout.bins=50": "--set heldout.bins: bins: expected at most 40 (images), got 50",
    "diffusion.schedule=cosine": "--set diffusion.schedule: schedule: expected linear with ",
    "sampling.sampler=ddim": "--set sampling.sampler: expected dpmpp_2m or unipc with ",
    "metrics=[kid, kdi]": "--set metrics.1: unknown metric 'kdi' (did you mean 'kid",
    "training.lengths=[999]": "--set training.lengths: expected rising numbers of images ",
    "sampling.n=5000": "--set sampling.n: ",
    "backbones.uvit.patch=2": "--set backbones.uvit.preset: this key is missing",
    "training.lr": "--set: expected KEY=VALUE, such as training.lr=1e-3, got 'training.lr'",
    "=3": "--set: expected KEY=VALUE, such as training.lr=1e-3, got '=3'",
    ".=3": "--set ''.'': unknown key",
    "training..lr=3": "--set training.''.lr: unknown key",
    "training.lr=[": "--set training.lr: not valid YAML: ",
    "training.lr=!!float 3": "--set training.lr: not valid YAML: ",
    "training.lr=.inf": "--set training.lr: expected a finite number, got inf",
    "scale=mine": "--set scale: cannot be set: the name follows from the settings",
    "extends=quick": "--set extends: cannot be set: write a scale file that extends another",
    "seeds=5": "--set seeds: cannot be set: use --seeds",
}


@pytest.mark.parametrize("setting", WRONG)
def test_wrong_settings_get_one_line(tiny, setting):
    assert refused(*DRY, "--set", setting).startswith(WRONG[setting])


def test_a_key_is_set_once(tiny):
    twice = refused(*DRY, "--set", "training.lr=1", "--set", "training.lr=2")
    assert twice == "--set training.lr: is given twice"


def test_an_error_of_the_file_is_not_blamed_on_a_setting(tiny):
    put(tiny / "scale.yaml", TINY_SCALE.lstrip().replace("bins: 4", "bins: 50"))
    assert refused(*DRY, "--set", "heldout.repeats=2").startswith("scale.yaml:10: heldout: ")


SOURCES = TINY_SCALE.replace(
    "source: digits}",
    "source: digits, sampling: {n: 120}, patch: 2}\n  - {streams: [x], source: y}",
)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("sampling.n=80", "the data source has a value of its own; set data.0.sampling.n"),
        ("backbones.dit.patch=8", "the data source has a value of its own; set data.0.patch"),
        ("data.1.patch=2", "the study takes its data from data.0"),
        ("backbones.cat.patch=2", "the run's backbone is 'dit'"),
    ],
)
def test_a_setting_without_effect_is_refused(tiny, setting, said):
    text = SOURCES.replace("backbones:", "backbones:\n  cat: {preset: micro, patch: 4}")
    put(tiny / "scale.yaml", text)
    assert refused(*DRY, "--set", setting) == f"--set {setting.split('=')[0]}: {said}"
    assert planned(tiny, "data.0.sampling.n=110").trials[0].spec.sample.n == 110


def test_the_manifest_and_the_command_have_the_settings(tiny):
    settings = ("training.lr=1e-5", "metrics=[kid, heldout_loss]")
    document = manifest(planned(tiny, *settings), scale_file="scale.yaml")
    assert [s.model_dump() for s in document.settings] == [
        {
            "key": "metrics",
            "value": ["kid", "heldout_loss"],
            "before": ["kid", "condition_accuracy", "heldout_loss"],
        },
        {"key": "training.lr", "value": 1e-5, "before": 0.002},
    ]
    texts = [s.text for s in document.settings]
    assert read_scale("scale.yaml", texts).scale == read_scale("scale.yaml", settings).scale
    assert "--set training.lr=1e-05" in command(document)
    assert "settings" not in manifest(planned(tiny)).dump()


def test_the_dry_run_names_the_scale_and_the_settings(tiny):
    code, out, err = cabench(*DRY, "--set", "training.lr=1e-3")
    assert (code, err) == (0, "")
    assert out.startswith("tiny at scale tiny+training_lr-0_001: Does it run?")
    said = "Settings that differ from scale scale.yaml (--set): training.lr 0.001 (there 0.002)."
    assert said in out


@pytest.mark.slow
def test_a_run_with_settings_has_results_of_its_own(tiny):
    words = ("run", "tiny.yaml", "--scale", "scale.yaml", "--seeds", "1", "--executor", "local")
    code, out, err = cabench(*words, "--set", "training.lr=1e-3", "--set", "training.images=96")
    assert (code, err) == (0, "")
    assert "Settings that differ from scale scale.yaml (--set): training.images 96 (there" in out
    (folder,) = (tiny / "results").glob("tiny.*")
    assert folder.name == "tiny.tiny+training_images-96+training_lr-0_001"
    settings = json.loads((folder / "manifest.json").read_text())["settings"]
    assert [s["key"] for s in settings] == ["training.images", "training.lr"]
    assert "training.images 96 (there 192)" in (folder / "table.md").read_text()
    assert cabench("score", "tiny", "--metrics", "kid")[0] == 0
