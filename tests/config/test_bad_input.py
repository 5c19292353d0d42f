# ruff: noqa: E501  (tables of wrong input)
"""Whatever is wrong with a study, scale, plugin, data folder or flag gets one clear line.

Sound files are mutated (mutations.py), as trees and as text. Reading and planning what comes out
either succeeds or raises a CabenchError of one line that names file and line; nothing else.
"""

import json
import re
from pathlib import Path

import mutations
import pytest
from cli import cabench
from conftest import TINY_SCALE, TINY_STUDY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from specs import ROOT

from cabench.config.study import read_scale, read_study, scale_names
from cabench.errors import CabenchError
from cabench.planning import data as dataref
from cabench.planning.trials import manifest, plan
from cabench.registry import REGISTRIES

STUDY = (ROOT / "studies" / "layer_placement.yaml").read_text()
TUNE = "tune: {trials: 8, budget: 0.2, range: [0.1, 10], start: [1.0, 0.3], seed: 1000}\n"
SCALES = {  # under names of their own: those of the packaged ones are taken
    name: (ROOT / "cabench" / "config" / "scales" / f"{name}.yaml")
    .read_text()
    .replace(f"scale: {name}", f"scale: my-{name}")
    for name in scale_names()
}

JARGON = re.compile(
    r"pydantic|Input should|ordereddict|Commented|<class '|object at 0x|[Vv]alidation|literal\[|union"
    r"|NoneType|Traceback|None|Scalar|Error\b|<block|<stream"
)
SAID = 500  # characters


def examples(count):
    """The same examples at every run."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


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
    real, held = dataref.load_dataset, {}

    def load(name, **options):
        key = json.dumps([name, options], sort_keys=True)
        if key not in held:
            held[key] = real(name, **options)
        return held[key]

    monkeypatch.setattr(dataref, "load_dataset", load)


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


MATCHED = (
    TINY_STUDY
    + """
needs: [label]
backbones: [dit]
primary: kid
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


# ---- the whole command line --------------------------------------------------------------------


def refused(*words, planned="") -> str:
    """What is said, in one line, of words that are refused, nothing but `planned` being printed."""
    code, out, err = cabench(*words)
    assert code == 2 and out == planned and err.startswith("cabench: "), (code, out, err)
    assert err.endswith("\n") and len(err.splitlines()) == 1, err
    assert len(err) <= SAID + sum(len(str(w)) for w in words if len(str(w)) > 60), err
    if "--plugin" not in words:  # Python's own word for a fault of Python code
        assert not JARGON.search(re.sub(r"'[^']*'", "", err)), err
    return err.removeprefix("cabench: ").rstrip("\n")


DRY = ("run", "tiny.yaml", "--scale", "scale.yaml", "--dry-run")


@examples(40)
@given(text=mutations.trees(TINY_STUDY, 1) | mutations.texts(TINY_STUDY, 1))
def test_the_command_line_says_one_line_or_plans(tiny, text):
    put(tiny / "wrong.yaml", text)
    code, out, err = cabench("run", "wrong.yaml", *DRY[2:])
    assert code in (0, 2), err
    if code:
        assert out == "" and err.startswith("cabench: wrong.yaml:"), err
        assert_one_line(err.removeprefix("cabench: ").rstrip("\n"), Path("wrong.yaml"))
    else:
        assert err == "" and "estimate:" in out


MARKUP = r"[/bold] [red]x[/red] :boom: \[y] $\frac$ {z}"


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
    assert "nothing in [/no]:" in cabench("status", "--results", "[/no]")[1]


ARM = "{a: {methods: [can]}}"
FLAGS = {
    ("rnu", "tiny.yaml"): r"unknown command 'rnu' \(did you mean 'run'\?\); commands: run, ",
    ("run",): r"STUDY is missing; see cabench run --help",
    ("run", "a", "b"): r"unexpected extra argument.*b",
    (*DRY, "--sedes", "3"): r"--sedes: no such option \(did you mean '--seeds'\?\)",
    (*DRY, "--seeds"): r"'--seeds' requires an argument",
    (*DRY, "--dry-run=1"): r"'--dry-run' does not take a value",
    (*DRY, "--seeds", "x" * 999): r"--seeds: expected .*, got 'xxx.*\.\.\.'",
    (*DRY, "--seeds", "1001"): r"--seeds: expected 1 to 1000 seeds, got '1001'",
    (*DRY, "--seeds", "-1"): r"--seeds: expected .*, got '-1'",
    (*DRY, "--jobs", "two"): r"--jobs: expected an integer from 1 to .*, got 'two'",
    (*DRY, "--jobs", "0"): r"--jobs: expected .*, got '0'",
    (*DRY, "--jobs", "9" * 5000): r"--jobs: expected .*, got '999",
    (
        *DRY,
        "--device",
        "gpu",
    ): r"--device: .*got 'gpu' \(did you mean 'cpu'\?\)",
    (*DRY, "--device", "cpu:1"): r"--device: .*got 'cpu:1'",
    (*DRY, "--device", "cuda:99"): r"--device: 'cuda:99' ",
    (
        *DRY,
        "--executor",
        "lokal",
    ): r"--executor: expected .*, got 'lokal' \(did you mean 'local'\?\)",
    (*DRY, "--executor", "local", "--jobs", "2"): r"--jobs: the local executor runs one",
    (
        *DRY,
        "--executor",
        "local",
        "--ray-address",
        "auto",
    ): r"--ray-address: the local executor",
    (
        *DRY,
        "--ray-address",
        "some where",
    ): r"--ray-address: expected HOST:PORT, .*, got 'some where'",
    (*DRY, "--results", "tiny.yaml"): r"--results: expected a directory, but 'tiny.yaml' is a file",
    (*DRY, "--cache", "tiny.yaml/x"): r"--cache: expected a directory, but 'tiny.yaml' is a file",
    (
        "status",
        "--results",
        "tiny.yaml",
    ): r"--results: expected a directory, but 'tiny.yaml' is a file",
    (
        "macs",
        "--csv",
        "nowhere/x.csv",
    ): r"--csv: the parent directory of 'nowhere/x.csv' does not exist",
    (
        "run",
        "tiny.yml",
        "--dry-run",
    ): r"no study file 'tiny.yml' \(did you mean 'tiny.yaml'\?\); here",
    ("run", "."): r"no study file '\.': it is a folder; its files: scale.yaml, tiny.yaml",
    ("run", "x" * 5000): r"no study file 'xxx",
    ("run", "line\nbreak.yaml"): r"no study file 'line break.yaml'",
    (
        "run",
        "tiny.yaml",
        "--scale",
        "quikc",
    ): r"--scale: unknown scale 'quikc' \(did you mean 'quick'",
    (
        "run",
        "tiny.yaml",
        "--scale",
        "sca.yaml",
    ): r"--scale: no scale file 'sca.yaml' .*'scale.yaml'",
    (
        "run",
        "tiny.yaml",
        "--scale",
        "tiny.yaml",
    ): r"tiny.yaml:1: study: unknown key; allowed: scale",
    (
        "run",
        "scale.yaml",
        "--scale",
        "scale.yaml",
    ): r"scale.yaml:1: scale: unknown key.*; allowed: study",
    (*DRY, "--arm", "{a: 1}"): r"--arm: 'a': write NAME: {methods: .*; found 1",
    (*DRY, "--arm", "a"): r"--arm:1: an arm: should be a mapping of keys to values; found 'a'",
    (*DRY, "--arm", "{a: {methods: [can]"): r"--arm:1: not valid YAML: a bracket",
    (
        *DRY,
        "--arm",
        "{a: {methods: [cna]}}",
    ): r"--arm: arms.a.methods.0: unknown method 'cna' \(did",
    (
        *DRY,
        "--arm",
        "{a: {method: [can]}}",
    ): r"--arm:1: arms.a.method: unknown key \(did you mean 'met",
    (
        *DRY,
        "--arm",
        "{A b: {methods: []}}",
    ): r"--arm:1: arms.A b: a name has 1 to 60 of .*; found 'A b'",
    (
        *DRY,
        "--arm",
        "{1: {methods: []}}",
    ): r"--arm:1: arms.1: a key is text: put it in quotes; found 1",
    (*DRY, "--arm", "{can-3: {methods: [can]}}"): r"--arm: the study has an arm 'can-3' already",
    (*DRY, "--arm", ARM, "--arm", ARM): r"--arm: the study has an arm 'a' already",
    (
        *DRY,
        "--arm",
        "{a: {methods: [{can: {sites: [hed]}}]}}",
    ): r"--arm: arms.a.methods.0.can.sites.0: .*"
    r"found 'hed' \(did you mean 'head'\?\)",
    (*DRY, "--plugin", "nowhere.py"): r"--plugin: nowhere.py: .*No such file",
    (*DRY, "--plugin", "."): r"--plugin: \.: not a file",
}


@pytest.mark.parametrize("words", FLAGS, ids=lambda words: " ".join(words)[:60].replace("\n", " "))
def test_wrong_flags(tiny, words):
    said = refused(*words)
    assert re.search(FLAGS[words], said), said


@examples(60)
@given(text=st.text(max_size=20) | mutations.texts(ARM, 2))
def test_any_text_as_an_arm(tiny, text):
    assert complaint(lambda: read_study(Path("tiny.yaml"), [text])) is None or (
        refused(*DRY, "--arm=" + text.replace("\0", "")).startswith("--arm")
    )


TUNES = {
    "range: [2, 1]": r"tune: range: 2 to 1 holds no rates",
    "range: [1, 1]": r"tune: range: 1 to 1 holds no rates",
    "range: [0, 1]": r"tune.range.0: should be greater than or equal to 0.000001; found 0",
    "range: [.1, .inf]": r"tune.range.1: should be a finite number; found inf",
    "range: [.1]": r"tune.range.1: this item is missing",
    "range: [.1, 1, 2]": r"tune.range: list should have at most 2 items; found a list of 3",
    "range: .1": r"tune.range: should be a list; found 0.1",
    "range: [a, b]": r"tune.range.0: should be a number; found 'a'",
    "range: [.1, 10], start: [100]": r"tune: start: 100 lies outside the range 0.1 to 10",
    "range: [.1, 10], start: []": r"tune.start: list should have at least 1 item; found an empty",
    "range: [.1, 10], start: [1, 2, 3]": r"tune: start: 3 points are more than 2 trials",
    "range: [.1, 10], seed: true": r"tune.seed: should be a whole number; found true",
    "range: [.1, 10], sed: 1": r"tune.sed: unknown key \(did you mean 'seed'\?\)",
}


@pytest.mark.parametrize("part", TUNES)
def test_wrong_searches(tiny, part):
    put(tiny / "tuned.yaml", TINY_STUDY.lstrip() + f"tune: {{trials: 2, budget: 0.5, {part}}}\n")
    said = refused("run", "tuned.yaml", *DRY[2:])
    assert re.match(r"tuned\.yaml:10: " + TUNES[part], said), said


def test_a_search_on_a_seed_of_the_trials(tiny):
    put(
        tiny / "tuned.yaml",
        TINY_STUDY.lstrip() + "tune: {trials: 2, budget: 1, range: [1, 2], seed: 1}\n",
    )
    said = refused("run", "tuned.yaml", *DRY[2:])
    assert said.startswith("tuned.yaml:10: tune.seed: expected a seed that no trial uses, got 1"), (
        said
    )


# ---- plugins -----------------------------------------------------------------------------------

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
    source, wanted = PLUGINS[case]
    before = [r.names() for r in REGISTRIES]
    put(tiny / "mine.py", source)
    said = refused(*DRY, "--plugin", "mine.py")
    assert re.match("mine.py" + wanted, said), said
    assert [r.names() for r in REGISTRIES] == before  # nothing of it is left


def test_plugins_that_are_no_python_files(tiny):
    (tiny / "mine.py").write_bytes(b"# caf\xe9\n")
    assert refused(*DRY, "--plugin", "mine.py") == "--plugin: mine.py: not a Python file in UTF-8"
    (tiny / "mine.py").write_bytes(b"x = 1\0\n")
    assert re.match(r"mine.py:1: .*null bytes", refused(*DRY, "--plugin", "mine.py"))
    put(tiny / "mine.py", "\ufeff" + METRIC)  # as some editors write it
    (tiny / "other").mkdir()
    put(tiny / "other" / "mine.py", METRIC)
    said = refused(*DRY, "--plugin", "mine.py", "--plugin", "other/mine.py")
    assert re.match(r"--plugin: other/mine.py: has the same file name as mine.py", said)
    (tiny / "other" / "mine.py").rename(tiny / "yours.py")
    said = refused(*DRY, "--plugin", "mine.py", "--plugin", "yours.py")
    assert said == "yours.py:2: metric 'mine' is already registered by mine.py"
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
    "sites = classmethod(lambda c, o, s: 1 / 0)": r"can't build the model: ZeroDivisionError: .*mine.py:10",
    "sites = classmethod(lambda c, o, s: ('heda',))": r"unknown dit site 'heda' .did you mean 'head'",
    "hooks = ('nrom',)": r"unknown dit hook 'nrom' \(did you mean 'norm'",
    "def __init__(self): pass": r"can't build the model: TypeError: ",
    "pass": r"its forward pass fails: TypeError: method 'faulty' has no forward pass",
}


@pytest.mark.parametrize("body", FAULTS)
def test_methods_that_fail_when_they_are_built(tiny, body):
    put(tiny / "mine.py", FAULTY % body)
    planned = "tiny at scale tiny: Does it run?\n" if body == "pass" else ""
    words = ("--plugin", "mine.py", "--arm", "{x: {methods: [faulty]}}")
    said = refused(*DRY, *words, planned=planned)
    assert said.startswith("--arm: arms.x") and re.search(FAULTS[body], said), said


# ---- data --------------------------------------------------------------------------------------


def paint(path: Path, count: int) -> None:
    path.mkdir(parents=True)
    for i in range(count):
        Image.new("L", (8, 8), i).save(path / f"{i}.png")


@pytest.fixture
def pictures(tiny):
    for label in ("cats", "dogs"):
        paint(tiny / "pictures" / label, 60)
    paint(tiny / "one" / "cats", 60)
    paint(tiny / "few" / "cats", 1)
    paint(tiny / "few" / "dogs", 1)
    paint(tiny / "halves" / "train" / "cats", 30)
    paint(tiny / "halves" / "test" / "dogs", 30)
    for name in ("empty", "hollow/cats", "hollow/dogs"):
        (tiny / name).mkdir(parents=True)
    for label in ("cats", "dogs"):
        paint(tiny / "broken" / label, 60)
    (tiny / "broken" / "dogs" / "7.png").write_bytes(b"not a picture")
    return tiny


FOLDERS = {
    "path: nowhere, size: 8": r"data.0: folder: expected nowhere/<class>.*no such folder",
    "path: empty, size: 8": r"data.0: folder: .*no subfolder",
    "path: hollow, size: 8": r"data.0: folder: .*hollow/cats",
    "path: tiny.yaml, size: 8": r"data.0: folder: .*tiny.yaml/<class>/.*a file",
    "path: one, size: 8": r"data.0: 'label' has one class, cats; a condition needs two",
    "path: few, size: 8": r"data.0: folder: too few images in few",
    "path: halves, size: 8": r"data.0: folder: .*halves/",
    "path: broken, size: 8": r"data.0: folder: broken/dogs/7.png",
    f"path: {'x' * 300}, size: 8": r"data.0: folder: .* xxx.*File name too long",
    "path: pictures, size: 0": r"data.0.options.size: should be greater than or equal to 1; found 0",
    "path: pictures, size: 1.0e+9": r"data.0.options.size: should be a whole number; found 1000000000",
    "path: pictures, size: 1000000000": r"data.0.options.size: should be less than or equal to 4096",
    "path: pictures, size: big": r"data.0.options.size: should be a whole number; found 'big'",
    "path: pictures, size: 8, channels: 2": r"data.0.options.channels: should be 1 or 3; found 2",
    "path: pictures, size: 8, flip: no": r"data.0.options.flip: should be true or false; found 'no'",
    "path: [pictures], size: 8": r"data.0.options.path: should be text; found a list of 1",
    "path: pictures": r"data.0.options.size: this key is missing",
    "path: pictures, sise: 8": r"data.0.options.sise: unknown key \(did you mean 'size'\?\); allowed:",
    "path: pictures, size: 8, channels: 1": r"sampling.n: split 'report': 100 samples need",
}


@pytest.mark.parametrize("options", FOLDERS, ids=lambda o: o[:40])
def test_wrong_data_folders(pictures, options):
    text = TINY_SCALE.replace("source: digits", f"source: folder, options: {{{options}}}")
    put(pictures / "scale.yaml", text)
    said = refused(*DRY)
    line = 9 if "sampling" in FOLDERS[options] else 4
    assert re.match(rf"scale\.yaml:{line}: " + FOLDERS[options], said), said


def test_absent_data_that_the_scale_describes_wrongly(tiny):
    absent = "source: folder, options: {path: nowhere, size: 8}, shape: [1, 8, 8], classes: "
    for classes, wanted in {
        "{lable: 10}": r"scale.yaml:4: data.0.classes: it says nothing of label",
        "{label: 1}": r"scale.yaml:4: data.0.classes.label: should be greater than or equal to 2",
    }.items():
        put(tiny / "scale.yaml", TINY_SCALE.replace("source: digits", absent + classes))
        said = refused(*DRY)
        assert re.match(wanted, said), said
