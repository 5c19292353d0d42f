"""Trained networks from Python: loaded, sampled, and refused with one line."""

import dataclasses
import shlex

import numpy as np
import pytest
import torch
from cli import cabench as command
from PIL import Image
from test_docs import problem

import cabench
from cabench.commands.sample import column_names
from cabench.errors import CabenchError
from cabench.records.store import Store


@pytest.fixture(autouse=True)
def at_the_run(undisturbed, monkeypatch):
    """The finished tiny study; nothing in it may be written."""
    monkeypatch.chdir(undisturbed.root)


@pytest.fixture
def model(at_the_run):
    return cabench.load_model("tiny", "can-3", seed=1)


def test_the_saved_samples_are_drawn_again_to_the_bit(model):
    images, labels = cabench.samples("tiny", "can-3", seed=1)
    assert images.shape == (100, 1, 8, 8) and images.dtype == torch.uint8
    assert torch.bincount(labels).min() >= 9  # each of the ten classes, in its share
    assert torch.equal(cabench.sample(model, labels), images)
    assert not torch.equal(cabench.sample(model, labels.flip(0)), images)
    other = cabench.load_model("tiny", "can-3", seed=0)
    assert not torch.equal(cabench.sample(other, labels, seed=1), images)


def test_every_option_of_sampling_changes_the_images(model):
    usual = cabench.sample(model, ["3", 7], n=2)
    assert torch.equal(usual, cabench.sample(model, torch.tensor([3, 3, 7, 7])))
    assert cabench.sample(model).shape[0] == 10  # a label each
    for options in ({"guidance": 3.0}, {"steps": 5}, {"sampler": "unipc"}, {"seed": 9}):
        assert not torch.equal(cabench.sample(model, ["3", 7], n=2, **options), usual)


def test_the_checkpoint_of_every_record_is_in_the_cache(undisturbed):
    store = Store(undisturbed.root / "results", undisturbed.root / ".cabench")
    for key in undisturbed.outcome:
        record = store.sound(key)
        assert store.checkpoint(record.spec).is_file()
        assert record.checkpoint.split("/")[1] == record.spec.train_key
        assert "checkpoint" not in record.dump()  # which would change its hash
    frame = cabench.load("tiny")
    assert {path.split("/")[1] for path in frame["checkpoint"]} == {
        store.record(key).spec.train_key for key in undisturbed.outcome
    }


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"label": "33"}, "label: expected one of 0, 1, 2, .* got 33"),
        ({"label": []}, "label: expected a class or several, got none"),
        ({"conditions": {"lable": 1}}, "did you mean 'label'"),
        ({"label": 1, "conditions": {"label": 2}}, "label: given twice"),
        ({"n": 0}, "n: expected an integer of at least 1, got 0"),
        ({"guidance": "2"}, "guidance: expected a number, got '2'"),
        ({"sampler": "unipcc"}, "did you mean 'unipc'"),
        ({"sampler": "ddim"}, "with prediction flow"),
        ({"steps": 5000}, "no grid of 5000"),
        ({"seed": -1}, "seed: expected an integer of at least 0, got -1"),
        ({"seed": "1"}, "seed: expected an integer of at least 0, got '1'"),
    ],
)
def test_what_cannot_be_sampled_is_one_line(model, options, text):
    with pytest.raises(CabenchError, match=text):
        cabench.sample(model, **options)


def test_an_unknown_trial_is_one_line():
    for arm, seed, text in (
        ("can-4", 0, "did you mean 'can-3'"),
        ("can-3", 7, "no seed 7; its seeds: 0, 1"),
    ):
        with pytest.raises(CabenchError, match=text):
            cabench.load_model("tiny", arm, seed)
    with pytest.raises(CabenchError, match="guidance: expected 1, got 3"):
        cabench.samples("tiny", "can-3", guidance=3)


def test_a_missing_checkpoint_names_a_command_that_parses_and_would_train_it(tmp_path):
    with pytest.raises(CabenchError, match="its checkpoint is not in") as error:
        cabench.load_model("tiny", "can-3", 1, cache=tmp_path)
    line = str(error.value).partition("train it with: ")[2]
    assert problem(line) is None
    words = shlex.split(line)
    assert words[words.index("--seeds") + 1] == "1,"
    assert words[words.index("--cache") + 1] == str(tmp_path)
    assert words[words.index("--results") + 1] == "retrained"  # `results` has its record
    code, _, err = command("sample", "tiny:can-3", "--seeds", "1", "--cache", tmp_path)
    assert code == 2 and err == f"cabench: {error.value}\n"


@pytest.mark.full
def test_the_named_command_trains_the_missing_checkpoint(tiny):
    cabench.run_study("tiny.yaml", scale="scale.yaml", seeds=1, executor="local", quiet=True)
    with pytest.raises(CabenchError) as error:
        cabench.load_model("tiny", "can-3", cache="other")
    line = str(error.value).partition("train it with: cabench ")[2]
    assert command(*shlex.split(line), "--executor", "local").code == 0
    assert cabench.load_model("tiny", "can-3", cache="other").name == "tiny.tiny:can-3, seed 0"


def test_the_command_writes_a_grid_and_arrays(model, tmp_path):
    png, npz = tmp_path / "grid.png", tmp_path / "samples.npz"
    done = command(
        *("sample", "tiny:can-3", "--labels", "3,7", "-n", 2, "--seeds", "0,1"),
        *("--guidance", "1,2", "--output", png, "--npz", npz),
    )
    assert done.code == 0, done.err
    assert "16 samples of tiny:can-3" in done.out and str(npz) in done.out
    arrays = np.load(npz)
    assert arrays["columns"].tolist() == ["3", "3", "7", "7"]
    for guidance in (1, 2):
        expected = cabench.sample(model, ["3", "7"], 2, guidance=guidance).numpy()
        assert np.array_equal(arrays[f"seed 1/guidance {guidance}"], expected)
    pixels = np.asarray(Image.open(png))
    first = cabench.sample(model, "3", 1).numpy()[0, 0]  # the seed 1's, somewhere on the page
    zoomed = first.repeat(7, axis=0).repeat(7, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels[:, :, 0], zoomed.shape)
    assert (windows == zoomed).all(axis=(2, 3)).any()


def test_columns_of_classes_without_names_are_their_numbers(model):
    unnamed = dataclasses.replace(model, classes={})
    assert column_names(unnamed, ["3", "7"], 2) == ["3", "7"]
    assert column_names(unnamed, None, 3) == ["0", "1", "2"]
    named = dataclasses.replace(model, classes={"label": ["a", "b"]})
    assert column_names(named, ["1", "a"], 2) == ["b", "a"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tiny"], "expected [DIRECTORY/]STUDY[.SCALE]:ARM"),
        (["tiny:can-3", "--guidance", "1,x"], "--guidance: expected one or several"),
        (["tiny:can-3", "--labels", "cat"], "label: expected one of"),
    ],
)
def test_what_the_command_refuses_is_one_line(words, text):
    code, _, err = command("sample", *words)
    assert code == 2 and text in err and len(err.splitlines()) == 1
