"""`cabench new`: each skeleton is a plugin that passes its check and runs in a study."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from cli import cabench
from invalid import refused
from specs import ROOT, some
from test_docs import commands

from cabench.plugins import load_plugins, read_plugins

NAMES = {"method": "my_gain", "metric": "my_gap", "data": "my_shapes", "backbone": "my_net"}
ARM = ("--arm", "{native+dw+my_gain: {methods: [native, my_gain], depthwise: static}}")
DATA = ("--data", "my_shapes", "-o", "size=8", "-o", "images=2000")


@pytest.fixture(autouse=True)
def no_plugin_stays():
    yield
    load_plugins([])


def written(*kinds: str) -> list[str]:
    """Writes skeletons to the working directory; returns the options that load them."""
    for kind in kinds:
        code, out, err = cabench("new", kind, NAMES[kind])
        assert code == 0 and not err, err
        assert out.splitlines()[:2] == [f"written: {NAMES[kind]}.py", "Next:"]
    return [word for kind in kinds for word in ("--plugin", f"{NAMES[kind]}.py")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", some(NAMES, ("method", "data", "backbone")))
def test_each_skeleton_passes_its_check(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    written(kind)
    code, out, err = cabench("plugin", "check", f"{NAMES[kind]}.py")
    assert code == 0 and not err and "FAULT" not in out, out + err
    assert all(f"'{NAMES[kind]}': ok: " in line for line in out.splitlines())
    assert "not on" not in out and "NOT worse" not in out, out  # on all backbones; noise is worse


def test_the_metric_compares_class_by_class(tmp_path, monkeypatch):
    from cabench.data import load_dataset
    from cabench.metrics import SampleScorer
    from cabench.registry import METRICS

    monkeypatch.chdir(tmp_path)
    written("metric")
    load_plugins(read_plugins([tmp_path / "my_gap.py"]))
    data, metric = load_dataset("digits"), METRICS.get("my_gap")
    report = data.split("report")
    labels = report.streams["label"]
    scorer = SampleScorer(data, 110, tmp_path, metrics=["my_gap"])
    assert metric.compute({}, {}, report.images, labels, scorer) == 0
    mixed = report.images[::-1]  # the same mean over all classes, another for each
    assert metric.compute({}, {}, mixed, labels, scorer) > 1
    assert metric.compute({}, {}, report.images // 2, labels, scorer) > 10


def test_skeletons_have_the_style_of_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(*NAMES)
    for words in (["check"], ["format", "--check"]):
        call = [sys.executable, "-m", "ruff", *words, "--config", "pyproject.toml", tmp_path]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


REFUSED = {  # words after `cabench new` -> the error
    "methd mine": "KIND: unknown kind of plugin 'methd' (did you mean 'method'?)",
    "method my-gain": "NAME: expected a Python identifier",
    "method 2nd": "NAME: expected a Python identifier",
    "method größe": "NAME: expected a Python identifier",
    "method class": "NAME: expected a Python identifier",
    f"method {'x' * 61}": "NAME: expected a Python identifier",
    "method native": "NAME: 'native' has another meaning in a study",
    "method null": "NAME: 'null' has another meaning in a study",
    "method can": "NAME: there is a method 'can' already",
    "metric kid": "NAME: there is a metric 'kid' already",
    "data digits": "NAME: there is a data set 'digits' already",
    "backbone dit": "NAME: there is a backbone 'dit' already",
    "method mine --output taken.py": "taken.py: exists already",
    "method mine --output nowhere/mine.py": "--output: the parent directory of",
}


@pytest.mark.parametrize("words", REFUSED)
def test_names_and_files_that_cannot_be_used(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.py").write_text("mine")
    assert refused("new", *words.split()).startswith(REFUSED[words])
    assert [path.name for path in tmp_path.iterdir()] == ["taken.py"]
    assert (tmp_path / "taken.py").read_text() == "mine"


def test_a_file_of_another_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cabench("new", "method", "can_2", "--output", "my idea.py")
    assert code == 0 and "  cabench plugin check 'my idea.py'\n" in out
    assert "class Can2Method(Method)" in (tmp_path / "my idea.py").read_text()


@pytest.mark.slow
def test_skeletons_join_a_study_together(tiny):
    plugins = written("method", "data", "backbone")
    words = ("run", "tiny.yaml", "--scale", "scale.yaml", *plugins, *ARM, *DATA, "--dry-run")
    code, out, err = cabench(*words, "--backbone", "my_net")
    assert code == 0 and "native+dw+my_gain" in out and "data my_shapes, 1x8x8" in out, out + err
    size = "--backbone my_net: preset micro and patch 4, as scale 'tiny' has them for dit"
    assert size in err
    error = refused("run", "tiny.yaml", "--scale", "scale.yaml", "--backbone", "my_net")
    assert error.startswith("--backbone: unknown backbone of the study 'my_net'")  # no --plugin
    path = tiny / "my_net.py"
    path.write_text(path.read_text().replace('"micro"', '"mini"'))
    code, _, err = cabench(*words, "--backbone", "my_net")
    assert code == 2 and "backbones.my_net.preset: unknown preset 'micro'" in err, err


@pytest.mark.full
def test_the_commands_of_the_docs_run(tmp_path, monkeypatch):
    """Every command of the sections that start with `cabench new`, with one seed per study."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    sections = re.split(r"^## ", (ROOT / "docs/plugins.md").read_text("utf-8"), flags=re.M)
    count = 0
    for section in sections:
        (tmp_path / "page.md").write_text(section.split("\n[`examples/")[0], encoding="utf-8")
        for line in commands(tmp_path / "page.md"):
            line = line.split("  #")[0].rstrip()
            seeds = " --seeds 1 --executor local" if line.startswith("cabench run") else ""
            call = f"{sys.executable} -m {line}{seeds}"
            done = subprocess.run(call, shell=True, capture_output=True, text=True)
            assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])
            count += 1
    assert count == 14
    folders = {path.name for path in tmp_path.glob("results/*.smoke*")}
    assert {"layer_placement.smoke", "layer_placement-my_net.smoke"} <= folders
    scores = json.loads((tmp_path / "results/layer_placement.smoke/scores.json").read_text())
    assert all({"kid", "my_brightness"} == set(one) for one in scores["scores"].values())
    (shapes,) = tmp_path.glob("results/layer_placement.smoke-my_shapes-*/manifest.json")
    assert json.loads(shapes.read_text())["plugins"][0]["path"] == "my_shapes.py"


def test_list_and_audit_take_plugins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plugin = written("metric")
    assert "my_gap" in cabench("list", *plugin).out and "my_gap" not in cabench("list").out
    audit = ("audit", "digits", "--metrics", "my_gap", "--sets", "2")
    assert "unknown metric 'my_gap'" in refused(*audit)
    assert "--sets: expected at least 3" in refused(*audit, *plugin)
