"""What a process of a trial takes."""

from specs import ROOT

from cabench.config.study import read_scale, read_study
from cabench.execution import processes
from cabench.planning.trials import plan

STUDY = ROOT / "studies" / "layer_placement.yaml"


def taken(*settings, device="cpu"):
    """Bytes beyond the libraries."""
    scale = read_scale("quick", settings)
    return processes.memory(plan(read_study(STUDY), scale, [0]), device) - processes.LIBRARIES


def test_memory_grows_with_the_networks_of_a_stack(monkeypatch):
    monkeypatch.setattr(processes.compiled, "compiler", lambda: "g++")
    one, four = taken("training.stack=1"), taken("training.stack=4")
    assert four == 4 * one > 0
    assert taken("training.compile=false") == one


def test_a_network_has_at_least_its_parameters_five_times_and_a_batch_more(monkeypatch):
    monkeypatch.setattr(processes.compiled, "compiler", lambda: "g++")
    planned = plan(read_study(STUDY), read_scale("quick"), [0])
    parameters = max(planned.models[arm].parameters.total for arm in planned.arms)
    small, large = taken("training.stack=1"), taken("training.stack=1", "training.batch=64")
    assert 20 * parameters < small < large


def test_on_a_gpu_the_networks_take_none_of_it():
    assert taken(device="cuda") == 0
