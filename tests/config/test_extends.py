"""`extends` in a scale file: what it becomes, and the file and line of every error."""

from pathlib import Path

import pytest
import yaml
from conftest import TINY_SCALE
from invalid import SCALES, assert_at, assert_one_line, edited, error_of, put

from cabench.config.extends import merged_over
from cabench.config.files import scale_path
from cabench.config.study import read_scale, read_study
from cabench.planning.trials import plan


def keys(scale):
    return [
        t.key for t in plan(read_study(Path("tiny.yaml")), read_scale(scale), compiles=False).trials
    ]


def test_mappings_merge_and_other_values_replace():
    base = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": 3}
    assert merged_over({"a": {"c": {"d": [3]}}}, base) == {"a": {"b": 1, "c": {"d": [3]}}, "e": 3}
    assert merged_over({"a": None, "e": {"f": 1}}, base) == {"a": None, "e": {"f": 1}}
    assert base == {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": 3}


CHANGES = """
scale: mine
extends: smoke
training: {lr: 1.0e-3, lengths: [2048]}
sampling: {n: 100, sweep: {guidance: [1.5]}}
metrics: [kid, heldout_loss]
seeds: 3
"""
WRITTEN_OUT = """
scale: mine
data:
  - {streams: [label], source: digits}
  - streams: [label, measures]
    source: fashion16-measured
    patch: 4
    metrics: [kid_levels, kid, condition_accuracy, condition_error, heldout_loss]
  - streams: [label, edges]
    source: fashion16-edges
    patch: 4
    metrics: [kid_levels, kid, condition_accuracy, map_agreement, heldout_loss]
backbones:
  dit: {preset: micro, patch: 2}
  uvit: {preset: micro, patch: 2}
  cat: {preset: micro, patch: 2}
training:
  images: 4096
  lengths: [2048]
  batch: 64
  lr: 1.0e-3
  warmup: 512
  ema_half_life: 500
  snapshot_every: 2048
diffusion: {prediction: flow, schedule: linear}
sampling: {steps: 8, n: 100, sweep: {guidance: [1.5], seeds: 1}}
metrics: [kid, heldout_loss]
heldout: {images: 256, bins: 8}
seeds: 3
"""


def test_the_keys_are_those_of_the_file_written_out(tiny):
    put(tiny / "mine.yaml", CHANGES)
    put(tiny / "full.yaml", WRITTEN_OUT)
    written = read_scale("full.yaml").scale
    assert read_scale("mine.yaml").scale == written.model_copy(update={"extends": "smoke"})
    assert keys("mine.yaml") == keys("full.yaml") != keys("smoke")


def test_a_file_extends_a_file_beside_it_which_extends_another(tiny):
    (tiny / "sub").mkdir()
    put(tiny / "mine.yaml", "scale: mine\nextends: sub/base.yaml\nseeds: 5\n")
    put(tiny / "sub" / "base.yaml", "extends: ../scale.yaml\nabout: a base\nsampling: {steps: 7}\n")
    scale = read_scale("mine.yaml").scale
    assert (scale.scale, scale.seeds, scale.sampling.steps, scale.sampling.n) == ("mine", 5, 7, 100)
    assert scale.about == ""  # what the base says about itself


@pytest.mark.parametrize("case", sorted(set(SCALES) - {"dot", "packaged name", "boolean"}))
def test_an_error_is_where_the_value_is_written(tiny, case):
    """In the base, however many files extend it."""
    put(tiny / "base.yaml", edited(TINY_SCALE.lstrip(), SCALES[case]))
    put(tiny / "middle.yaml", "extends: base.yaml\ntraining: {clip: 1.0}\nsampling: {batch: 50}\n")
    put(tiny / "mine.yaml", "scale: mine\nextends: middle.yaml\nseeds: 5\n")
    error = error_of(lambda: plan(read_study(tiny / "tiny.yaml"), read_scale("mine.yaml")))
    assert_at(error, "base.yaml", SCALES[case].line, SCALES[case].key)


OWN = {  # text of the extending file -> line and key of the error
    "training: {lr: abc}": (3, "training.lr"),
    "training: {lrr: 1}": (3, "training.lrr"),
    "trainig: {lr: 1}": (3, "trainig"),
    "training: null": (3, "training"),
    "training:\n  batch: 32\n  lengths: [16]": (5, "training.lengths"),
    "diffusion: {schedule: cosine}": (3, "diffusion"),  # beside prediction flow of the base
    "data: [{streams: [label]}]": (3, "data.0.source"),
    "data:\n  - {streams: [label], source: digit}": (4, "data.0.source"),
    "heldout: {bins: 50}": (3, "heldout"),
    "metrics: [kdi]": (3, "metrics.0"),
}


@pytest.mark.parametrize("text", OWN)
def test_errors_in_the_extending_file(tiny, text):
    put(tiny / "mine.yaml", f"scale: mine\nextends: scale.yaml\n{text}\n")
    error = error_of(lambda: plan(read_study(tiny / "tiny.yaml"), read_scale("mine.yaml")))
    assert_at(error, "mine.yaml", *OWN[text])


def test_a_file_has_a_name_of_its_own(tiny):
    put(tiny / "mine.yaml", "extends: smoke\n")
    error = error_of(lambda: read_scale("mine.yaml"))
    assert_at(error, "mine.yaml", 1, "scale")


EXTENDS = {  # value -> what is said
    "quikc": "(did you mean 'quick'?)",
    "base.yaml": "no scale file 'base.yaml' (did you mean 'scale.yaml'?)",
    ".": "unknown scale '.'",
    "3": "expected the name of a scale or a YAML file, got 3",
    "[quick]": "got a list of 1",
    "mine.yaml": "a file extends itself: mine.yaml -> mine.yaml",
    "./mine.yaml": "a file extends itself: mine.yaml -> mine.yaml",
}


@pytest.mark.parametrize("value", EXTENDS)
def test_what_cannot_be_extended(tiny, value):
    put(tiny / "mine.yaml", f"scale: mine\n\nextends: {value}\n")
    error = error_of(lambda: read_scale("mine.yaml"))
    assert_at(error, "mine.yaml", 3, "extends")
    assert EXTENDS[value] in str(error)


def test_a_longer_cycle_is_refused_where_it_closes(tiny):
    put(tiny / "a.yaml", "scale: a\nextends: b.yaml\n")
    put(tiny / "b.yaml", "extends: c.yaml\n")
    put(tiny / "c.yaml", "seeds: 3\nextends: b.yaml\n")
    error = error_of(lambda: read_scale("a.yaml"))
    assert_at(error, "c.yaml", 2, "extends")
    assert "a.yaml -> b.yaml -> c.yaml -> b.yaml" in str(error)


def test_a_base_that_is_no_scale(tiny):
    put(tiny / "mine.yaml", "scale: mine\nextends: tiny.yaml\n")
    assert_at(error_of(lambda: read_scale("mine.yaml")), "tiny.yaml", 1, "study")


def test_aliases_of_themselves_end(tiny):
    text = "scale: mine\nextends: base.yaml\ntraining: &a {b: *a}\n"
    put(tiny / "mine.yaml", text)
    put(tiny / "base.yaml", text.replace("extends: base.yaml", ""))
    assert_one_line(str(error_of(lambda: read_scale("mine.yaml"))), Path("mine.yaml"))


@pytest.mark.parametrize("name", ["quick", "smoke"])
def test_a_shipped_scale_extended_by_a_name_is_the_same(tiny, name):
    put(tiny / "mine.yaml", f"scale: mine\nextends: {name}\n")
    written = yaml.safe_load(scale_path(name).read_text())
    again = read_scale("mine.yaml").scale.model_dump(exclude_unset=True, mode="json")
    named = {"scale": "mine", "extends": name}
    assert again == {k: v for k, v in written.items() if k != "about"} | named
