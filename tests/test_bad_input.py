"""Whatever is wrong with a study, scale, plugin, data folder or flag gets one clear line.

Sound files are mutated (mutations.py), as trees and as text. Reading and planning what comes out
either succeeds or raises a CabenchError of one line that names file and line; nothing else.
"""

import contextlib
import io
import json
import re
import sys
from pathlib import Path

import mutations
import pytest
from conftest import TINY_SCALE, TINY_STUDY
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from specs import ROOT, write

from cabench import cli, resolve
from cabench.errors import CabenchError
from cabench.plan import manifest, plan
from cabench.registry import METHODS, REGISTRIES
from cabench.study import read_scale, read_study, scale_names

STUDY = (ROOT / "studies" / "layer_placement.yaml").read_text()
TUNE = "tune: {trials: 8, budget: 0.2, range: [0.1, 10], start: [1.0, 0.3], seed: 1000}\n"
SCALES = {  # under names of their own: those of the packaged ones are taken
    name: (ROOT / "cabench" / "scales" / f"{name}.yaml").read_text().replace(
        f"scale: {name}", f"scale: my-{name}"
    )
    for name in scale_names()
}  # fmt: skip

JARGON = re.compile(
    r"pydantic|Input should|ordereddict|Commented|<class|object at 0x|[Vv]alidation|literal\[|union"
    r"|NoneType|Traceback|None|Scalar|Error\b|<block|<stream"
)
SAID = 500  # characters


def examples(count):
    """The same examples at every run."""
    return settings(
        max_examples=count, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def complaint(call) -> str | None:
    """None where the call succeeds, else the text of its CabenchError; all else passes through."""
    try:
        call()
    except CabenchError as error:
        return str(error)
    return None


def assert_one_line(text: str, *files: Path) -> None:
    """One short line in our words that begins with a file and, inside it, a line that exists."""
    assert len(text.splitlines()) == 1 and text.isprintable(), text
    assert len(text) <= SAID + sum(len(str(path)) for path in files), text
    words = text
    for path in files:
        words = words.replace(str(path), "")
    words = re.sub(r"""'[^']*'|"[^"]*\"""", "", words)  # what was found may be anything
    assert not JARGON.search(words), text
    for path in files:
        if found := re.match(re.escape(str(path)) + r":(\d+): \S", text):
            assert 1 <= int(found[1]) <= path.read_text("utf-8").count("\n") + 1, text
            return
    raise AssertionError(f"no file and line: {text}")


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "replace"))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("wrong")


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """Each data set is loaded once: what is planned changes, pictures don't."""
    real, held = resolve.load_dataset, {}

    def load(name, **options):
        key = json.dumps([name, options], sort_keys=True)
        if key not in held:
            held[key] = real(name, **options)
        return held[key]

    monkeypatch.setattr(resolve, "load_dataset", load)


# ---- files, mutated ----------------------------------------------------------------------------


@examples(300)
@given(text=mutations.trees(STUDY + TUNE))
def test_a_study_with_wrong_parts(folder, text):
    path = put(folder / "study.yaml", text)
    if said := complaint(lambda: read_study(path)):
        assert_one_line(said, path)


@examples(300)
@given(text=mutations.texts(STUDY + TUNE))
def test_a_study_with_wrong_characters(folder, text):
    path = put(folder / "study.yaml", text)
    if said := complaint(lambda: read_study(path)):
        assert_one_line(said, path)


@pytest.mark.parametrize("name", SCALES)
@examples(50)
@given(data=st.data())
def test_a_scale_with_wrong_parts(folder, name, data):
    path = put(folder / "scale.yaml", data.draw(mutations.trees(SCALES[name])))
    if said := complaint(lambda: read_scale(str(path))):
        assert_one_line(said, path)


@pytest.mark.parametrize("name", SCALES)
@examples(40)
@given(data=st.data())
def test_a_scale_with_wrong_characters(folder, name, data):
    path = put(folder / "scale.yaml", data.draw(mutations.texts(SCALES[name])))
    if said := complaint(lambda: read_scale(str(path))):
        assert_one_line(said, path)


MATCHED = TINY_STUDY + """
needs: [label]
backbones: [dit]
primary: kid
embedder: normalised
""" + TUNE  # fmt: skip
MATCHED = MATCHED.replace("claims:", """\
  matched:
    methods: [native, {can: {sites: [depthwise], source: label, generator: bottleneck}}]
    match: {params_of: native+dw, by: ffn_hidden}
    about: smaller
  gated: {methods: [{can: {sites: [head], source: [label, timestep], rank: 3,
                           generator: bottleneck, shared: false, bias: true}}],
          gate: static, init_salt: other}
claims:""")


def planned(path: Path, scale: Path) -> None:
    """All that a run does before it trains: plan, keys, manifest."""
    made = plan(read_study(path), read_scale(str(scale)), all_arms=True)
    json.dumps([[t.key for t in made.trials], manifest(made)], allow_nan=False)


def sound(folder: Path) -> tuple[Path, Path]:
    text = MATCHED.replace(", generator: bottleneck}", ", generator: bottleneck, rank: 2}")
    return put(folder / "study.yaml", text), put(folder / "scale.yaml", TINY_SCALE)


def test_what_is_mutated_is_sound(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    planned(*sound(folder))
    for name, text in SCALES.items():
        assert read_scale(str(put(folder / "scale.yaml", text))).scale == f"my-{name}"


@examples(150)
@given(data=st.data())
def test_planning_a_wrong_study(folder, data):
    path, scale = sound(folder)
    put(path, data.draw(mutations.trees(path.read_text(), 1)))
    if said := complaint(lambda: planned(path, scale)):
        assert_one_line(said, path, scale)


@examples(150)
@given(data=st.data())
def test_planning_with_a_wrong_scale(folder, data):
    path, scale = sound(folder)
    put(scale, data.draw(mutations.trees(scale.read_text(), 1)))
    if said := complaint(lambda: planned(path, scale)):
        assert_one_line(said, path, scale)

