"""Mutated studies and scales are read and planned, or refused in one line that names file and line.

Valid files are mutated (mutations.py), as trees and as text. Reading and planning the result either
succeeds or raises a CabenchError; nothing else.
"""

import json
from pathlib import Path

import mutations
import pytest
from cli import cabench
from conftest import TINY_SCALE, TINY_STUDY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invalid import DRY, assert_one_line, message_of, put
from specs import ROOT

from cabench.config.study import read_scale, read_study, scale_names
from cabench.planning import data as planning_data
from cabench.planning.trials import manifest, plan

pytestmark = pytest.mark.slow

STUDY = (ROOT / "studies" / "layer_placement.yaml").read_text()
TUNE = "tune: {trials: 8, budget: 0.2, range: [0.1, 10], start: [1.0, 0.3], seed: 1000}\n"
SCALES = {  # under new names: those of the packaged scales are taken
    name: (ROOT / "cabench" / "config" / "scales" / f"{name}.yaml")
    .read_text()
    .replace(f"scale: {name}", f"scale: my-{name}")
    for name in scale_names()
}


def examples(count):
    """The same examples at every run."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("wrong")


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """Load each data set once: mutations change the plan, not the images."""
    real, loaded = planning_data.load_dataset, {}

    def load(name, **options):
        key = json.dumps([name, options], sort_keys=True)
        if key not in loaded:
            loaded[key] = real(name, **options)
        return loaded[key]

    monkeypatch.setattr(planning_data, "load_dataset", load)


@examples(300)
@given(text=mutations.trees(STUDY + TUNE))
def test_a_study_with_mutated_values(folder, text):
    path = put(folder / "study.yaml", text)
    if message := message_of(lambda: read_study(path)):
        assert_one_line(message, path)


@examples(300)
@given(text=mutations.texts(STUDY + TUNE))
def test_a_study_with_mutated_characters(folder, text):
    path = put(folder / "study.yaml", text)
    if message := message_of(lambda: read_study(path)):
        assert_one_line(message, path)


@pytest.mark.parametrize("name", SCALES)
@examples(50)
@given(data=st.data())
def test_a_scale_with_mutated_values(folder, name, data):
    path = put(folder / "scale.yaml", data.draw(mutations.trees(SCALES[name])))
    if message := message_of(lambda: read_scale(str(path))):
        assert_one_line(message, path)


@pytest.mark.parametrize("name", SCALES)
@examples(40)
@given(data=st.data())
def test_a_scale_with_mutated_characters(folder, name, data):
    path = put(folder / "scale.yaml", data.draw(mutations.texts(SCALES[name])))
    if message := message_of(lambda: read_scale(str(path))):
        assert_one_line(message, path)


MATCHED = (
    TINY_STUDY
    + """
needs: [label]
backbones: [dit]
embedder: shared
"""
    + TUNE
)
MATCHED = MATCHED.replace(
    "claims:",
    """\
  matched:
    methods: [native, {can: {sites: [depthwise], source: label, generator: bottleneck}}]
    match: {params_of: native+dw, by: ffn_hidden}
    about: smaller
  gated: {methods: [{can: {sites: [head], source: [label, timestep], rank: 3,
                           generator: bottleneck, shared: false, bias: true}}],
          gate: static, init_salt: other}
claims:""",
)


def planned(path: Path, scale: Path) -> None:
    """Everything that a run does before it trains: plan, keys, manifest."""
    planned_run = plan(read_study(path), read_scale(str(scale)), all_arms=True)
    json.dumps([[t.key for t in planned_run.trials], manifest(planned_run).dump()], allow_nan=False)


def valid(folder: Path) -> tuple[Path, Path]:
    text = MATCHED.replace(", generator: bottleneck}", ", generator: bottleneck, rank: 2}")
    return put(folder / "study.yaml", text), put(folder / "scale.yaml", TINY_SCALE)


def test_the_originals_are_valid(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    planned(*valid(folder))
    for name, text in SCALES.items():
        assert read_scale(str(put(folder / "scale.yaml", text))).scale.scale == f"my-{name}"


@examples(150)
@given(data=st.data())
def test_planning_a_mutated_study(folder, data):
    path, scale = valid(folder)
    put(path, data.draw(mutations.trees(path.read_text(), 1)))
    if message := message_of(lambda: planned(path, scale)):
        assert_one_line(message, path, scale)


@examples(150)
@given(data=st.data())
def test_planning_with_a_mutated_scale(folder, data):
    path, scale = valid(folder)
    put(scale, data.draw(mutations.trees(scale.read_text(), 1)))
    if message := message_of(lambda: planned(path, scale)):
        assert_one_line(message, path, scale)


GRID = TINY_STUDY.lstrip().replace(
    "claims:",
    """\
  swept: {methods: [{can: {generator: mlp}}, film],
          grid: {can.rank: [2, 3], film.norms: [all, ffn], embedder: [raw]}}
  placed: {methods: [native], depthwise: static, grid: {backbone.depthwise_at: [before]}}
claims:""",
)
EXTENDING = """\
scale: mine
extends: base.yaml
training: {lr: 1.0e-3, lengths: [96]}
backbones: {dit: {patch: 2}}
sampling: {sweep: {guidance: [2.0]}}
metrics: [kid, heldout_loss]
"""


@examples(150)
@given(text=mutations.trees(GRID, 1) | mutations.texts(GRID, 1))
def test_planning_a_mutated_grid(folder, text):
    path, scale = put(folder / "study.yaml", text), put(folder / "scale.yaml", TINY_SCALE)
    if message := message_of(lambda: planned(path, scale)):
        assert_one_line(message, path, scale)


@examples(150)
@given(text=mutations.trees(EXTENDING, 1) | mutations.texts(EXTENDING, 1))
def test_planning_with_a_mutated_file_that_extends_another(folder, text):
    path, scale = put(folder / "study.yaml", TINY_STUDY), put(folder / "mine.yaml", text)
    base = put(folder / "base.yaml", TINY_SCALE)
    if message := message_of(lambda: planned(path, scale)):
        assert_one_line(message, path, scale, base)


@examples(40)
@given(text=mutations.trees(TINY_STUDY, 1) | mutations.texts(TINY_STUDY, 1))
def test_the_command_line_prints_one_line_or_plans(tiny, text):
    put(tiny / "wrong.yaml", text)
    code, out, err = cabench("run", "wrong.yaml", *DRY[2:])
    assert code in (0, 2), err
    if code:
        assert out == "" and err.startswith("cabench: wrong.yaml:"), err
        assert_one_line(err.removeprefix("cabench: ").rstrip("\n"), Path("wrong.yaml"))
    else:
        assert err == "" and "estimate:" in out
