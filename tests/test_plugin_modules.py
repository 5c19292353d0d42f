"""Modules beside a plugin that it imports: they are loaded from the sources that are hashed."""

import pickle
import sys

import pytest

from cabench.errors import CabenchError
from cabench.plugins import load_plugins, read_plugins
from cabench.registry import METRICS, plugin_of

PLUGIN = """
from cabench.registry import METRICS
from my_helper import DIRECTION


@METRICS.register("my_metric")
class MyMetric:
    version = 1
    needs = "samples"
    label = "mine"
    higher_is_better = DIRECTION
    min_samples = 1

    @staticmethod
    def compute(generated, reference, images, labels, scorer):
        import my_other  # imported when it is called

        return my_other.VALUE
"""


@pytest.fixture
def plugin(tmp_path):
    (tmp_path / "my_metric.py").write_text(PLUGIN)
    (tmp_path / "my_helper.py").write_text("import my_other\n\nDIRECTION = my_other.VALUE > 0\n")
    (tmp_path / "my_other.py").write_text("VALUE = 1.5\n")
    yield tmp_path / "my_metric.py"
    load_plugins(())


def test_modules_beside_it_are_loaded_from_what_was_read(plugin):
    (read,) = read_plugins([plugin])
    assert set(read.beside) == {"my_helper", "my_other"}
    sent = pickle.loads(pickle.dumps(read))  # as a worker receives it
    for path in plugin.parent.iterdir():
        path.unlink()
    load_plugins([sent])
    entry = METRICS.get("my_metric")
    assert entry.higher_is_better is True and entry.compute(*[None] * 5) == 1.5
    assert plugin_of(entry) == read.sha256
    load_plugins(())
    assert "my_helper" not in sys.modules and "my_metric" not in METRICS


def test_a_change_of_a_module_beside_it_is_another_plugin(plugin):
    (before,) = read_plugins([plugin])
    load_plugins([before])
    (plugin.parent / "my_other.py").write_text("VALUE = -1.5\n")
    (after,) = read_plugins([plugin])
    assert after.sha256 != before.sha256
    load_plugins([after])
    assert METRICS.get("my_metric").higher_is_better is False


def test_installed_modules_are_not_replaced(plugin):
    (plugin.parent / "json.py").write_text("raise SystemExit\n")
    plugin.write_text("import json\n" + PLUGIN)
    (read,) = read_plugins([plugin])
    assert "json" not in read.beside
    load_plugins([read])


def test_a_fault_in_a_module_beside_it_has_its_place(plugin):
    (plugin.parent / "my_other.py").write_text("VALUE = 1\n\nundefined\n")
    with pytest.raises(CabenchError, match=r"my_other\.py:3: NameError"):
        load_plugins(read_plugins([plugin]))
    (plugin.parent / "my_other.py").write_text("VALUE = = 1\n")
    with pytest.raises(CabenchError, match=r"my_other\.py:1: not valid Python"):
        load_plugins(read_plugins([plugin]))


def test_two_modules_of_one_name_are_refused(plugin, tmp_path):
    folder = tmp_path / "second"
    folder.mkdir()
    (folder / "idea.py").write_text("import my_other\n")
    (folder / "my_other.py").write_text("VALUE = 2\n")
    with pytest.raises(CabenchError, match="two modules of one name"):
        read_plugins([plugin, folder / "idea.py"])
