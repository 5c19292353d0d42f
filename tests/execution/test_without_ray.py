"""A machine without Ray, such as a GPU box with PyTorch's image: trials run one at a time."""

import sys

import pytest
from specs import ROOT

from cabench.errors import CabenchError
from cabench.execution.run import Options, execute, prepare

STUDY = ROOT / "studies" / "layer_placement.yaml"


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)


def test_auto_is_the_local_executor(tmp_path):
    prepared = prepare(STUDY, Options(results=tmp_path, cache=tmp_path, scale="smoke"))
    assert len(prepared.remaining.trials) > 1
    assert (prepared.executor, prepared.jobs) == ("local", 1)


@pytest.mark.parametrize(
    "options", [{"executor": "ray"}, {"jobs": 2}, {"ray_address": "10.0.0.1:6379"}], ids=str
)
def test_what_needs_ray_says_so(options, tmp_path):
    with pytest.raises(CabenchError, match=r"need the library 'ray': pip install 'ray\[tune\]'"):
        prepare(STUDY, Options(results=tmp_path, cache=tmp_path, scale="smoke", **options))


def test_a_search_of_learning_rates_says_so(tmp_path):
    study = ROOT / "studies" / "size_ladder.yaml"
    prepared = prepare(study, Options(results=tmp_path, cache=tmp_path, scale="smoke"))
    with pytest.raises(CabenchError, match="searches of learning rates need the library 'ray'"):
        execute(prepared)
