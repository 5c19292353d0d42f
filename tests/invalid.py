# ruff: noqa: E501  (tables of edits)
"""Invalid studies and scales with the place of their error, and checks of what is printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cli import cabench

from cabench.errors import CabenchError, ConfigError, key_path

JARGON = re.compile(
    r"pydantic|Input should|ordereddict|Commented|<class '|object at 0x|[Vv]alidation|literal\[|union"
    r"|NoneType|Traceback|None|Scalar|Error\b|<block|<stream"
)
LONGEST = 500  # characters of a message

DRY = ("run", "tiny.yaml", "--scale", "scale.yaml", "--dry-run")


class Invalid(NamedTuple):
    """An edit of a valid file, and where its error is."""

    old: str
    new: str
    line: int
    key: str


# fmt: off
STUDIES = {  # edits of conftest.TINY_STUDY
    "unknown key": Invalid("baseline: native+dw", "basline: native+dw", 3, "basline"),
    "missing key": Invalid("question: Does it run?\n", "", 1, "question"),
    "baseline": Invalid("baseline: native+dw", "baseline: nativ+dw", 3, "baseline"),
    "method": Invalid("[native], depth", "[nativ], depth", 5, "arms.native+dw.methods.0"),
    "option": Invalid("{sites: all}", "{site: all}", 7, "arms.can-all.methods.0.can.site"),
    "site": Invalid("patch_embed, attn_out", "patch_embd, attn_out", 6, "arms.can-3.methods.0.can.sites.1"),
    "site of another backbone": Invalid("patch_embed, attn_out", "skip, attn_out", 6, "arms.can-3.methods.0"),
    "source": Invalid("{sites: all}", "{sites: all, source: text}", 7, "arms.can-all.methods.0.can.source"),
    "two modulators": Invalid("[native], depth", "[native, adaln_zero], depth", 5, "arms.native+dw.methods.1"),
    "claim's arm": Invalid("than: native+dw", "than: native", 9, "claims.0.than"),
    "claim's metric": Invalid("metric: kid", "metric: fid", 9, "claims.0.metric"),
    "claim's test": Invalid("superiority", "superior", 9, "claims.0.test"),
    "needs": Invalid("baseline:", "needs: [text]\nbaseline:", 3, "needs"),
    "no rank": Invalid("{sites: all}", "{generator: bottleneck}", 7, "arms.can-all"),
    "no site": Invalid("{sites: all}", "{sites: []}", 7, "arms.can-all.methods.0.can.sites"),
    "rank of a linear": Invalid("{sites: all}", "{rank: 3}", 7, "arms.can-all.methods.0.can"),
    "no free size": Invalid(
        "{methods: [native], depthwise: static}",
        "{methods: [native], match: {params_of: can-all, by: rank}}",
        5, "arms.native+dw.match.by",
    ),
    "compared with itself": Invalid("than: native+dw", "than: can-3", 9, "claims.0.than"),
    "lower bound": Invalid("depthwise: static}", "depthwise: static, bound: true}", 9, "claims.0.than"),
    "reserved id": Invalid("{id: C1", "{id: A12", 9, "claims.0.id"),
    "open bracket": Invalid("arms:", "arms: [", 6, ""),
    "duplicate key": Invalid("baseline: native+dw", "baseline: native+dw\nbaseline: can-3", 4, ""),
    "list": Invalid("study: tiny", "- study", 2, ""),
    "dot": Invalid("study: tiny", "study: ti.ny", 1, "study"),
    "arm's name": Invalid("can-all:", "../../evil:", 7, "arms.../../evil"),
    "no stream": Invalid("baseline:", "needs: []\nbaseline:", 3, "needs"),
    "a stream twice": Invalid("baseline:", "needs: [label, label]\nbaseline:", 3, "needs.1"),
    "backbone": Invalid("baseline:", "backbones: [vit]\nbaseline:", 3, "backbones.0"),
}
SCALES = {  # edits of conftest.TINY_SCALE
    "infinite": Invalid("lr: 2.0e-3", "lr: .inf", 6, "training.lr"),
    "bins": Invalid("{images: 40, bins: 4}", "{images: 40, bins: 50}", 10, "heldout"),
    "steps": Invalid("steps: 3", "steps: 1001", 8, "sampling.steps"),
    "a length past the end": Invalid("batch: 32", "lengths: [96, 192], batch: 32", 6, "training.lengths"),
    "a length below a batch": Invalid("batch: 32", "lengths: [16], batch: 32", 6, "training.lengths"),
    "dot": Invalid("scale: tiny", "scale: ti.ny", 1, "scale"),
    "packaged name": Invalid("scale: tiny", "scale: quick", 1, "scale"),
    "too many samples": Invalid("n: 100", "n: 5000", 8, "sampling.n"),
    "too few samples": Invalid("n: 100", "n: 10", 8, "sampling.n"),
    "unknown metric": Invalid("[kid,", "[kdi,", 9, "metrics.0"),
    "option": Invalid("source: digits", "source: digits, options: {size: 8}", 3, "data.0.options.size"),
    "boolean": Invalid(
        "source: digits", "source: folder, options: {path: x, size: 8, flip: no}",
        3, "data.0.options.flip",
    ),
    "sampler": Invalid("steps: 3", "sampler: ddim, steps: 3", 8, "sampling.sampler"),
    "steps without a grid": Invalid("steps: 3", "steps: 999", 8, "sampling.steps"),
    "sampler of cosine": Invalid(
        "diffusion: {prediction: flow}\nsampling: {steps: 3",
        "diffusion: {prediction: eps, schedule: cosine}\nsampling: {sampler: unipc, steps: 3",
        8, "sampling.sampler"
    ),
    "guidance of a conditional network": Invalid(
        "64, snapshot_every: 96}\ndiffusion: {prediction: flow}\nsampling: {steps: 3",
        "64, snapshot_every: 96, label_dropout: 0}\ndiffusion: {prediction: flow}\nsampling: {guidance: 2.0, steps: 3",
        8, "sampling.guidance",
    ),
    "sweep of a conditional network": Invalid(
        "64, snapshot_every: 96}\ndiffusion: {prediction: flow}\nsampling: {steps: 3",
        "64, snapshot_every: 96, label_dropout: 0}\ndiffusion: {prediction: flow}\nsampling: {sweep: {guidance: [1, 2]}, steps: 3",
        8, "sampling.sweep.guidance.1",
    ),
    "patch": Invalid("patch: 4", "patch: 3", 5, "backbones.dit.patch"),
    "preset": Invalid("preset: micro", "preset: mikro", 5, "backbones.dit.preset"),
}
# fmt: on


def edited(text: str, case: Invalid) -> str:
    assert case.old in text
    return text.replace(case.old, case.new)


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "replace"))
    return path


def error_of(call: Callable[[], object]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        call()
    return caught.value


def assert_at(error: ConfigError, path: Path | str, line: int | None, key: str) -> None:
    """The error and its one line name this place."""
    assert (str(error.path), error.line, key_path(error.where)) == (str(path), line, key), error
    place = str(path) if line is None else f"{path}:{line}"
    assert str(error).startswith(f"{place}: {key}: " if key else f"{place}: ")
    assert "\n" not in str(error)


def message_of(call: Callable[[], object]) -> str | None:
    """The text of the CabenchError that the call raises, if any; other errors pass through."""
    try:
        call()
    except CabenchError as error:
        return str(error)
    return None


def assert_one_line(text: str, *files: Path) -> None:
    """One short line in plain words that begins with one of the files and a line that it has."""
    assert len(text.splitlines()) == 1 and text.isprintable(), text
    assert len(text) <= LONGEST + sum(len(str(path)) for path in files), text
    words = text
    for path in files:
        words = words.replace(str(path), "")
    words = re.sub(r"""'[^']*'|"[^"]*\"""", "", words)  # a quoted value may be anything
    assert not JARGON.search(words), text
    for path in files:
        if place := re.match(re.escape(str(path)) + r":(\d+): \S", text):
            assert 1 <= int(place[1]) <= path.read_text("utf-8").count("\n") + 1, text
            return
    raise AssertionError(f"no file and line: {text}")


# ---- the command line ---------------------------------------------------------------------------


def refused(*words: Any, planned: str = "") -> str:
    """The one line on standard error; standard output is `planned`, the exit code 2."""
    code, out, err = cabench(*words)
    assert code == 2 and out == planned and err.startswith("cabench: "), (code, out, err)
    assert err.endswith("\n") and len(err.splitlines()) == 1, err
    assert len(err) <= LONGEST + sum(len(str(w)) for w in words if len(str(w)) > 60), err
    if "--plugin" not in words:  # names of Python's exceptions are fine for Python code
        assert not JARGON.search(re.sub(r"'[^']*'", "", err)), err
    return err.removeprefix("cabench: ").rstrip("\n")
