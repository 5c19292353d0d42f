# ruff: noqa: E501  (a table of command lines)
"""Invalid options are refused in one line that begins with the option; markup is printed as it is."""

import json
from pathlib import Path

import mutations
import pytest
from cli import cabench
from conftest import TINY_SCALE, TINY_STUDY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invalid import DRY, message_of, put, refused

from cabench.config.study import read_scale, read_study

ARM = "{a: {methods: [can]}}"
# fmt: off
FLAGS = {  # words -> what the line begins with
    ("rnu", "tiny.yaml"): "unknown command ",
    ("run",): "STUDY",
    ("run", "a", "b"): "",
    (*DRY, "--sedes", "3"): "--sedes: ",
    (*DRY, "--seeds"): "",
    (*DRY, "--dry-run=1"): "",
    (*DRY, "--seeds", "x" * 999): "--seeds: ",
    (*DRY, "--seeds", "1001"): "--seeds: ",
    (*DRY, "--seeds", "-1"): "--seeds: ",
    (*DRY, "--jobs", "two"): "--jobs: ",
    (*DRY, "--jobs", "0"): "--jobs: ",
    (*DRY, "--jobs", "9" * 5000): "--jobs: ",
    (*DRY, "--device", "gpu"): "--device: ",
    (*DRY, "--device", "cpu:1"): "--device: ",
    (*DRY, "--device", "cuda:99"): "--device: ",
    (*DRY, "--executor", "lokal"): "--executor: ",
    (*DRY, "--executor", "local", "--jobs", "2"): "--jobs: ",
    (*DRY, "--executor", "local", "--ray-address", "auto"): "--ray-address: ",
    (*DRY, "--ray-address", "some where"): "--ray-address: ",
    (*DRY, "--results", "tiny.yaml"): "--results: ",
    (*DRY, "--cache", "tiny.yaml/x"): "--cache: ",
    ("status", "--results", "tiny.yaml"): "--results: ",
    ("macs", "--csv", "nowhere/x.csv"): "--csv: ",
    ("run", "tiny.yml", "--dry-run"): "no study file 'tiny.yml'",
    ("run", "."): "no study file '.'",
    ("run", "x" * 5000): "no study file 'xxx",
    ("run", "line\nbreak.yaml"): "no study file 'line break.yaml'",
    ("run", "tiny.yaml", "--scale", "quikc"): "--scale: ",
    ("run", "tiny.yaml", "--scale", "sca.yaml"): "--scale: ",
    ("run", "tiny.yaml", "--scale", "tiny.yaml"): "tiny.yaml:1: study: ",
    ("run", "scale.yaml", "--scale", "scale.yaml"): "scale.yaml:1: scale: ",
    (*DRY, "--arm", "{a: 1}"): "--arm: 'a': ",
    (*DRY, "--arm", "a"): "--arm:1: ",
    (*DRY, "--arm", "{a: {methods: [can]"): "--arm:1: not valid YAML: ",
    (*DRY, "--arm", "{a: {methods: [cna]}}"): "--arm: arms.a.methods.0: ",
    (*DRY, "--arm", "{a: {method: [can]}}"): "--arm:1: arms.a.method: ",
    (*DRY, "--arm", "{A b: {methods: []}}"): "--arm:1: arms.A b: ",
    (*DRY, "--arm", "{1: {methods: []}}"): "--arm:1: arms.1: ",
    (*DRY, "--arm", "{can-3: {methods: [can]}}"): "--arm: ",
    (*DRY, "--arm", ARM, "--arm", ARM): "--arm: ",
    (*DRY, "--arm", "{a: {methods: [{can: {sites: [hed]}}]}}"): "--arm: arms.a.methods.0.can.sites.0: ",
    (*DRY, "--plugin", "nowhere.py"): "--plugin: nowhere.py: ",
    (*DRY, "--plugin", "."): "--plugin: .: ",
}
# fmt: on


@pytest.mark.parametrize("words", FLAGS, ids=lambda words: " ".join(words)[:60].replace("\n", " "))
def test_invalid_flags(tiny, words):
    text = refused(*words)
    assert text.startswith(FLAGS[words]), text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("rnu", "tiny.yaml"), "'run'"),
        ((*DRY, "--sedes", "3"), "'--seeds'"),
        ((*DRY, "--device", "gpu"), "'cuda'"),
        ((*DRY, "--executor", "lokal"), "'local'"),
        (("run", "tiny.yml", "--dry-run"), "'tiny.yaml'"),
        (("run", "tiny.yaml", "--scale", "quikc"), "'quick'"),
        (("run", "tiny.yaml", "--scale", "sca.yaml"), "'scale.yaml'"),
        ((*DRY, "--arm", "{a: {methods: [cna]}}"), "'can'"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_one(tiny, words, hint):
    assert f"(did you mean {hint}?)" in refused(*words)


@settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(text=st.text(max_size=20) | mutations.texts(ARM, 2))
def test_any_text_as_an_arm(tiny, text):
    assert message_of(lambda: read_study(Path("tiny.yaml"), [text])) is None or (
        refused(*DRY, "--arm=" + text.replace("\0", "")).startswith("--arm")
    )


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(text=st.text(max_size=20) | mutations.texts("training.lr=1e-3", 2))
def test_any_text_as_a_setting(tiny, text):
    message = message_of(lambda: read_scale("scale.yaml", [text]))
    assert message is None or message.startswith("--set"), message


MARKUP = r"[/bold] [red]x[/red] :boom: \[y] $\frac$ {z}"


@pytest.mark.slow
def test_markup_is_printed_as_it_is_written(tiny):
    quoted = json.dumps(MARKUP)
    text = TINY_STUDY.replace("Does it run?", quoted).replace(
        "says: it is better", f"says: {quoted}"
    )
    text = text.replace("depthwise: static}", f"depthwise: static, about: {quoted}}}")
    put(tiny / "tiny.yaml", text.replace("id: C1", 'id: "[/id]"') + f"caveat: {quoted}\n")
    put(tiny / "scale.yaml", TINY_SCALE + f"about: {quoted}\n")
    (tiny / "studies").mkdir()
    put(tiny / "studies" / "[red]a.yaml", text)
    results = ("--results", "[/bold]")
    for words in (DRY, (*DRY[:-1], "--jobs", "1")):
        code, out, err = cabench(*words, *results)
        assert (code, err) == (0, "") and MARKUP in out, out + err
    assert out.count("[/bold] [red]x") >= 3 and "[/id]" in out and "  [/bold]/tiny" in out
    assert MARKUP in (tiny / "[/bold]" / "tiny.tiny" / "table.md").read_text()
    for words in (("status", *results), ("status", "--results", "[/no]"), ("list",)):
        code, out, err = cabench(*words)
        assert (code, err) == (0, ""), err
    assert f"  studies/[red]a.yaml  {MARKUP}" in out
    assert "no runs in [/no];" in cabench("status", "--results", "[/no]")[1]
