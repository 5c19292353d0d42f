"""`run_study`: results in return, exceptions instead of exit codes."""

import shutil

import pytest

import cabench
from cabench.errors import CabenchError, ConfigError
from cabench.runtime.files import read_json


@pytest.fixture
def finished(undisturbed, tmp_path, monkeypatch):
    """A copy of the finished tiny study; the working directory of the test."""
    root = tmp_path / "copy"
    shutil.copytree(undisturbed.root, root)
    (root / "studies").mkdir()
    (root / "tiny.yaml").rename(root / "studies/tiny.yaml")
    monkeypatch.chdir(root)
    return root


def test_a_finished_study_is_read_by_its_name_and_nothing_is_printed(finished, capfd):
    results = cabench.run_study("tiny", scale="scale.yaml", quiet=True)
    assert capfd.readouterr().out == ""
    assert results.frame.equals(cabench.load("tiny"))
    assert results.seeds == [0, 1] and results.failures == []
    assert "can-3" in str(results) and "supported" not in repr(results)


def test_a_further_arm_and_a_single_seed_are_run(finished, capfd):
    arms = {"native+lora": {"methods": ["native", {"lora": {"rank": 2}}], "depthwise": "static"}}
    results = cabench.run_study(
        "tiny", scale="scale.yaml", seeds=[1], arms=arms, executor="local", max_seeds=None
    )
    assert "1 trial to run, 2 done already" in capfd.readouterr().out
    assert results.arms == ["native+dw", "can-3", "native+lora"] and results.seeds == [1]
    assert (results.frame["status"] == "complete").all()
    assert read_json(finished / "results/tiny.tiny/manifest.json")["seeds"] == [1]
    assert cabench.load_model(results, "native+lora", seed=1).device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"study": "tinny"}, CabenchError, "unknown study 'tinny'"),
        ({"scale": "smokey"}, CabenchError, "did you mean 'smoke'"),
        ({"seeds": 0}, CabenchError, "expected 1 to"),
        ({"arms": {"x": {"methods": ["cna"]}}}, ConfigError, "did you mean 'can'"),
        ({"settings": {"training.rate": 1e-3}}, CabenchError, "training"),
        ({"budget": 60}, CabenchError, "with until_resolved only"),
        ({"data_options": {"size": 8}}, CabenchError, "with data only"),
        ({"executor": "rya"}, CabenchError, "did you mean 'ray'"),
        ({"plugins": ["gone.py"]}, CabenchError, "gone.py"),
    ],
)
def test_a_mistake_is_an_exception_of_one_line(finished, options, kind, text):
    options = {"study": "tiny", "scale": "scale.yaml"} | options
    with pytest.raises(kind, match=text) as error:
        cabench.run_study(**options)
    assert len(str(error.value).splitlines()) == 1


def test_a_cost_study_is_refused(finished):
    (finished / "studies/cost.yaml").write_text("kind: cost\n")
    with pytest.raises(CabenchError, match="of kind 'cost' trains nothing"):
        cabench.run_study("cost")


def test_a_failed_trial_warns_and_is_in_the_results(finished):
    arms = {"broken": {"methods": ["native"], "depthwise": "static"}}
    settings = {"training.lr": 1e30}  # the loss is soon not finite
    with pytest.warns(UserWarning, match="failed: "):
        results = cabench.run_study(
            "tiny", scale="scale.yaml", seeds=[0], arms=arms, settings=settings, executor="local",
            quiet=True,
        )  # fmt: skip
    assert results.failures and set(results.frame["status"]) == {"failed"}
