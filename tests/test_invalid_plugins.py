# ruff: noqa: E501  (a table of plugins)
"""Invalid plugins are refused in one line that names the file and line."""

import re

import pytest
from invalid import DRY, put, refused

from cabench.registry import REGISTRIES

USES = "from cabench.registry import METHODS, METRICS, DATASETS\n"
BASE = USES + "from cabench.models.conditioning.base import Method, MethodOptions\n"
METRIC = USES + (
    "@METRICS.register('mine')\nclass Mine:\n    version = 1\n    needs = 'samples'\n"
    "    higher_is_better = True\n    label = 'mine'\n    min_samples = 1\n"
    "    compute = staticmethod(lambda *a: 0.0)\n"
)
PLUGINS = {
    "syntax": ("x = 1\ndef f(:\n", r":2: not valid Python: invalid syntax"),
    "tabs": ("if 1:\n\tx = 1\n        y = 1\n", r":3: not valid Python: "),
    "import": ("import os\nimport nowhere_to_be\n", r":2: ModuleNotFoundError: No module named"),
    "name": ("\n\nMETHODS.register('x')\n", r":3: NameError: name 'METHODS' is not defined"),
    "raises": ("raise ValueError('a\\nb\\x1b[31m')\n", r":1: ValueError: a b\\x1b\[31m$"),
    "no message": ("assert False\n", r":1: AssertionError$"),
    "odd message": (
        "class E(Exception):\n    def __str__(self): raise self\nraise E\n",
        r":3: .*E: ",
    ),
    "exit": ("import sys\nsys.exit('bye')\n", r":2: SystemExit: bye"),
    "nothing": ("x = 1\n", r": registers nothing; expected @METHODS"),
    "empty": ("", r": registers nothing"),
    "not called": (
        BASE + "@METHODS.register\nclass A(Method): pass\n",
        r":3: method name: expected .*got",
    ),
    "taken": (
        BASE + "\n@METHODS.register('can')\nclass A(Method): pass\n",
        r":4: method 'can' is already registered by cabench.models.conditioning.can",
    ),
    "name of it": (
        BASE + "@METHODS.register('a b')\nclass A(Method): pass\n",
        r":3: method name: expected .*, got 'a b'",
    ),
    "no method": (
        BASE + "\n@METHODS.register('a')\nclass A: pass\n",
        r":5: method 'a': expected a subclass of Method",
    ),
    "function": (
        BASE + "@METHODS.register('a')\ndef f(): pass\n",
        r":4: method 'a': expected a subclass of Method",
    ),
    "a number": (BASE + "METHODS.register('a')(5)\n", r":3: method 'a' is not a class or function"),
    "ours": (
        BASE + "METHODS.register('mine')(METHODS.get('can'))\n",
        r":3: method 'mine' is already registered as 'can'",
    ),
    "options": (
        BASE + "@METHODS.register('a')\nclass A(Method):\n    Options = dict\n",
        r":4: method 'a': Options: expected",
    ),
    "version": (
        BASE + "@METHODS.register('a')\nclass A(Method):\n    version = 'one'\n",
        r":4: method 'a': version: expected .*, got 'one'",
    ),
    "metric": (
        USES + "@METRICS.register('m')\nclass M:\n    version = 1\n",
        r":3: metric 'm': missing needs, higher_is_better, label, compute",
    ),
    "needs": (
        METRIC.replace("'samples'", "'smaples'"),
        r":3: metric 'mine': needs: expected",
    ),
    "label": (METRIC.replace("'mine'\n", "'{m}'\n"), r":3: metric 'mine': label: expected"),
    "arguments": (
        USES + "@DATASETS.register('d')\ndef d(path: Nowhere): pass\n",
        r":3: data set 'd': .*: NameError: name 'Nowhere'",
    ),
    "data set": (
        USES + "DATASETS.register('d')(3)\n",
        r":2: data set 'd' is not a class or function",
    ),
}


@pytest.mark.parametrize("case", PLUGINS)
def test_wrong_plugins(tiny, case):
    source, pattern = PLUGINS[case]
    before = [r.names() for r in REGISTRIES]
    put(tiny / "mine.py", source)
    text = refused(*DRY, "--plugin", "mine.py")
    assert re.match("mine.py" + pattern, text), text
    assert [r.names() for r in REGISTRIES] == before  # nothing of it is left


def test_plugins_that_are_no_python_files(tiny):
    (tiny / "mine.py").write_bytes(b"# caf\xe9\n")
    assert refused(*DRY, "--plugin", "mine.py") == "--plugin: mine.py: not a Python file in UTF-8"
    (tiny / "mine.py").write_bytes(b"x = 1\0\n")
    assert re.match(r"mine.py:1: .*null bytes", refused(*DRY, "--plugin", "mine.py"))
    put(tiny / "mine.py", "\ufeff" + METRIC)  # as some editors write it
    (tiny / "other").mkdir()
    put(tiny / "other" / "mine.py", METRIC)
    text = refused(*DRY, "--plugin", "mine.py", "--plugin", "other/mine.py")
    assert re.match(r"--plugin: other/mine.py: has the same file name as mine.py", text)
    (tiny / "other" / "mine.py").rename(tiny / "yours.py")
    text = refused(*DRY, "--plugin", "mine.py", "--plugin", "yours.py")
    assert text == "yours.py:2: metric 'mine' is already registered by mine.py"
    REGISTRIES[-1].forget("cabench_plugin_mine")


FAULTY = (
    BASE
    + """
class Options(MethodOptions):
    size: int = 1

@METHODS.register("faulty")
class Faulty(Method):
    Options = Options
    %s
"""
)
FAULTS = {
    "sites = classmethod(lambda c, o, s: 1 / 0)": r"cannot build the model: ZeroDivisionError: .*mine.py:10",
    "sites = classmethod(lambda c, o, s: ('heda',))": r"unknown dit site 'heda' .did you mean 'head'",
    "hooks = ('nrom',)": r"unknown dit hook 'nrom' \(did you mean 'norm'",
    "def __init__(self): pass": r"cannot build the model: TypeError: ",
    "pass": r"its forward pass fails: TypeError: method 'faulty' has no forward pass",
}


@pytest.mark.parametrize("body", FAULTS)
def test_methods_that_fail_when_they_are_built(tiny, body):
    put(tiny / "mine.py", FAULTY % body)
    planned = "tiny at scale tiny: Does it run?\n" if body == "pass" else ""
    words = ("--plugin", "mine.py", "--arm", "{x: {methods: [faulty]}}")
    text = refused(*DRY, *words, planned=planned)
    assert text.startswith("--arm: arms.x") and re.search(FAULTS[body], text), text
