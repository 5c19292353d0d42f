"""`cabench compare` from arguments to text, on the committed run and edited copies of it."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli import cabench
from rich.console import Console
from rundir import REFERENCE, TRIALS, fail, reference, write_run
from scipy import stats
from specs import readme

from cabench.analysis.comparison_text import show
from cabench.commands.compare import Target, find_side, parse

WARNED = "WARNING: the scores are not comparable"


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """Ten arms and three seeds of the committed run, as a fixed design."""
    return write_run(tmp_path_factory.mktemp("core"), *reference())


@pytest.fixture
def compare(monkeypatch, core):
    def run(a, b, width=120, results=core):
        monkeypatch.setenv("COLUMNS", str(width))
        code, out, err = cabench("compare", a, b, "--results", results)
        assert code == 0, err
        return out

    return run


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(f"{name}  "))


# ---- two arms ----------------------------------------------------------------------------------


def kids(records, arm):
    """(3,) KID of an arm's trials."""
    return np.array([records[arm, seed]["metrics"]["kid"] for seed in range(3)])


def test_two_arms_as_the_readme_has_them(compare):
    arms = ("native+can-3", "native+dw")
    text = compare(*(f"layer_placement:{arm}" for arm in arms), results=REFERENCE)
    can, control = map(readme, arms)
    assert re.split(r"\s{2,}", row(text, "KID-lite0-8 @2000 ↓"))[1:5] == [
        can["KID-lite0-8@2000 ↓"],
        control["KID-lite0-8@2000 ↓"],
        can["difference to the control"].split(" better")[0],
        can["seeds"],
    ]
    assert re.split(r"\s{2,}", row(text, "MACs (M)"))[1:] == ["4.50", "3.58", "1.256"]
    assert WARNED not in text and "unadjusted" in text and "images/s is not compared" in text
    models = text[text.index("the models differ in") : text.index("KID")]
    assert "attn_out" in models and "adaln_zero" not in models


def test_scores_that_do_not_compare_have_no_p(compare, tmp_path):
    manifest, records = reference()
    for record in records.values():
        record["spec"]["sample"]["steps"] = 25
        record["spec"]["score"]["judge"] = "f" * 64
    write_run(tmp_path, manifest, records)
    text = compare("layer_placement:can-3", f"{tmp_path}/layer_placement:native+dw")
    line = " ".join(text.split())
    assert WARNED in line and "sample.steps (12 / 25); score.judge (044d96824e38 / ffffffff" in line
    assert "[95 %]" not in text and not re.search(r" p$", text, flags=re.M)
    can, control = (kids(records, arm) for arm in ("can-3", "native+dw"))
    assert row(text, "KID-lite0 @2000 ↓").split()[-2:] == [f"{np.mean(can - control):+.3f}", "3"]


def test_a_mean_over_other_seeds_says_so(compare, tmp_path):
    manifest, records = reference()
    fail(records["native+dw", 2])
    write_run(tmp_path, manifest, records)
    text = compare("layer_placement:can-3", f"{tmp_path}/layer_placement:native+dw", width=200)
    assert "2 of 3 trials complete" in " ".join(text.split())
    cells = re.split(r"\s{2,}", row(text, "KID-lite0 @2000 ↓"))
    assert cells[1].endswith("(n=3)") and "n=" not in cells[2] and cells[4] == "2"


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_lines_fit_and_no_number_is_lost(compare, width):
    pair = ("layer_placement:can-3", "layer_placement:native+dw")
    text = compare(*pair, width=width)
    assert max(map(len, text.splitlines())) <= width and "…" not in text
    assert sorted(set(re.findall(r"[-+]?\d*\.\d+", text))) == sorted(
        set(re.findall(r"[-+]?\d*\.\d+", compare(*pair, width=200)))
    )


def test_a_terminal_has_rules_and_colour_a_pipe_plain_columns(compare, monkeypatch):
    sides = [find_side(parse(f"layer_placement:{arm}", REFERENCE)) for arm in ("can-3", "native")]
    file = io.StringIO()
    show(*sides, Console(file=file, force_terminal=True, width=100, color_system="standard"))
    assert "\x1b[" in file.getvalue() and "─" in file.getvalue()
    piped = compare("layer_placement:can-3", "layer_placement:native")
    assert "\x1b" not in piped and "─" not in piped


def test_where_the_encoding_has_no_arrow(core):
    sides = [find_side(parse(f"layer_placement:{arm}", core)) for arm in ("can-3", "native")]
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show(*sides, Console(file=file), width=120)
    file.seek(0)
    text = file.read()
    can = kids(reference()[1], "can-3")
    half = stats.t.ppf(0.975, 2) * can.std(ddof=1) / 3**0.5
    assert f"{can.mean():.3f} +- {half:.3f}" in text and "KID-lite0 @2000 (low)" in text


# ---- two runs ----------------------------------------------------------------------------------


def test_a_reproduction_to_the_bit(compare):
    run = REFERENCE / "layer_placement.quick"
    text = compare(run, run, results=REFERENCE)
    line = f"{TRIALS} of {TRIALS} trials are the same; {TRIALS} have the same metrics to the bit"
    assert line in text and "MISMATCH" not in text and WARNED not in text
    cells = re.split(r"\s{2,}", row(text, "native+can-3"))
    shown = readme("native+can-3")
    kid, n = shown["KID-lite0-8@2000 ↓"], shown["seeds"]
    assert cells[1:4] == [f"{n} of {n}", kid, kid]


def test_a_number_that_changed_under_its_key_is_called_out(compare, tmp_path):
    manifest, records = reference()
    changed = records["can-3", 1]["metrics"]["kid"]
    records["can-3", 1]["metrics"]["kid"] += 1e-9
    records["native", 0]["environment"]["processor"] = "another"  # explains nothing: it agrees
    text = compare("layer_placement", write_run(tmp_path, manifest, records) / "layer_placement")
    line = " ".join(text.split())
    assert "30 have" not in line and "29 have the same metrics to the bit, 30 the same spec" in line
    key = records["can-3", 1]["key"]
    assert f"MISMATCH: can-3, seed 1 ({key}), metrics: kid ({str(changed)[:4]}" in line
    assert "Environments of" not in line


def test_another_scale_is_compared_arm_by_arm_with_a_warning(compare, tmp_path):
    manifest, records = reference()
    manifest["scale"] = "longer"
    manifest["trials"] = [t for t in manifest["trials"] if t["seed"] < 2]
    for trial in manifest["trials"]:
        record = records[trial["arm"], trial["seed"]]
        trial["key"] = record["key"] = "x" + record["key"][1:]
        record["spec"]["images"] = 44800
        record["spec"]["train"]["model"]["backbone"]["depth"] = 6
    write_run(tmp_path, manifest, {p: r for p, r in records.items() if p[1] < 2})
    text = compare("layer_placement", f"{tmp_path}/layer_placement.longer")
    line = " ".join(text.split())
    assert WARNED in line and "images (90000 / 44800)" in line
    assert "Same arm, different model: backbone.depth (4 / 6): all arms." in line
    assert "The runs have no trial in common." in text
    assert re.split(r"\s{2,}", row(text, "can-3"))[1] == "0 of 3 and 2"


def test_runs_without_an_arm_in_common(compare, tmp_path):
    manifest, records = reference()
    for part in (manifest["trials"], manifest["arms"]):
        for entry in part:
            for word in ("arm", "name"):
                if word in entry:
                    entry[word] = f"other-{entry[word]}"
    text = compare("layer_placement", write_run(tmp_path, manifest, records) / "layer_placement")
    assert "30 of 30 trials are the same" in text  # a key knows no arm's name
    assert "Only in A: unconditional, native" in text and "Only in B: other-unc" in text


# ---- what the command line names ---------------------------------------------------------------

HERE = Path("results")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("layer_placement", (HERE, "layer_placement", None)),
        ("layer_placement.quick:native+dw", (HERE, "layer_placement.quick", "native+dw")),
        ("results/reference/s.quick:can-3", (Path("results/reference"), "s.quick", "can-3")),
        ("results/s.quick/", (HERE, "s.quick", None)),  # as the shell completes a folder
        ("results/s.quick/:a", (HERE, "s.quick", "a")),
        ("/s:a", (Path("/"), "s", "a")),
        ("a:b/s", (Path("a:b"), "s", None)),
        ("studies/s.yaml:a", (HERE, "studies/s.yaml", "a")),
    ],
)
def test_targets(text, target):
    assert parse(text, HERE) == Target(*target)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ("layer_placment:can-3", "layer_placement:native", "did you mean 'layer_placement'"),
        ("layer_placement:can3", "layer_placement:native", "did you mean 'can-3'"),
        ("layer_placement:can-3", "layer_placement", "give both an arm, or neither"),
        ("layer_placement", "layer_placement:can-3", "'layer_placement:can-3' names an arm"),
        ("layer_placement:", "layer_placement:", "expected [DIRECTORY/]STUDY[.SCALE][:ARM]"),
        ("layer_placement", "nowhere/layer_placement", "no runs in nowhere"),
        ("layer_placement", REFERENCE, f"{REFERENCE}/layer_placement.quick"),
        ("layer_placement.cpu", "layer_placement", "layer_placement.quick"),
    ],
)
def test_a_users_mistake_gets_one_line(a, b, message):
    code, out, err = cabench("compare", a, b, "--results", REFERENCE)
    assert code == 2 and message in err and err.count("\n") == 1 and not out


def test_a_study_file_that_changed_since_the_run_is_reported(compare, tmp_path):
    manifest, records = reference()
    (tmp_path / "study.yaml").write_text("study: layer_placement # edited\n")
    manifest["study_file"] = str(tmp_path / "study.yaml")
    path = write_run(tmp_path, manifest, records) / "layer_placement"
    text = " ".join(compare(path, path).split())
    assert text.count("the study file has changed since") == 2


def test_nothing_finished_is_an_error_that_says_why(tmp_path):
    manifest, records = reference()
    for seed in range(3):
        fail(records["can-3", seed], "Diverged: the loss became nan")
    write_run(tmp_path, manifest, records)
    there = f"{tmp_path}/layer_placement"
    code, _, err = cabench("compare", f"{there}:can-3", f"{there}:native")
    assert code == 2 and err.count("\n") == 1
    assert "none of 3 trials is complete; failed: can-3 (seeds 0, 1, 2): Diverged" in err
    write_run(tmp_path / "planned", manifest, {})
    code, _, err = cabench("compare", f"{tmp_path}/planned/layer_placement", there)
    assert code == 2 and "none of 30 trials is complete" in err and "failed" not in err


def test_comparing_needs_no_torch():
    script = (
        "import sys; from pathlib import Path; from cabench.commands.compare import compare\n"
        f"compare('layer_placement', 'layer_placement', Path({str(REFERENCE)!r}))\n"
        "sys.exit(bool({'torch', 'ray', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
