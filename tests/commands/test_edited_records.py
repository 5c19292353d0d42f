"""Records with one value changed and a valid checksum: as a stranger could send them.

Whatever the value is, no command ends with a traceback or prints an escape code.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from cli import cabench

from cabench.runtime.sealed import seal

pytestmark = pytest.mark.slow

COMMANDS = {
    "status": ("status",),
    "compare": ("compare", "tiny:native+dw", "tiny:can-3"),
    "entry": ("entry", "tiny:can-3", "entry"),
    "tex": ("report", "tiny", "--format", "tex", "--out", "reports"),
    "log": ("log", "tiny", "tensorboard", "events"),
    "site": ("site", "site"),
    "pdf": ("report", "tiny", "--out", "reports"),
}
QUICK = ("status", "compare", "entry", "tex")
FIXED = ("checksum", "spec", "format", "key")  # a record with another spec is another trial's
ODD = [
    *(None, True, -1, 0, 1e308, 10**30, "x", "=1+1", "a\nb", "x" * 3000),
    *("[red]x[/red]", "<b>x</b>", "\x1b[31m", "#pagebreak() $x$", "\\input{x}"),
    *([], {}, [[1]], {"a": 1}),
]


@pytest.fixture
def records(undisturbed, tmp_path, monkeypatch):
    """The records of a finished run, in the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(undisturbed.root, "run")
    monkeypatch.chdir("run")
    paths = sorted((tmp_path / "run/results/records").glob("*.json"))
    return [path for path in paths if path.suffixes == [".json"]]


@pytest.mark.parametrize(
    ("seed", "count", "names"),
    [(0, 3, QUICK), (1, 1, ("log", "site")), pytest.param(2, 60, COMMANDS, marks=pytest.mark.full)],
)
def test_a_sealed_record_with_an_odd_value_gives_no_traceback(records, seed, count, names):
    rng = random.Random(seed)
    check(names, "none", codes={0})
    for _ in range(count):
        path = rng.choice(records)
        intact = path.read_text()
        content, edit = edited(json.loads(intact), rng)
        path.write_text(json.dumps(seal(content)))
        check(names, edit, codes={0, 1, 2})
        path.write_text(intact)


def check(names, edit, codes):
    """Runs the commands on the records as they are; `edit` is named where one fails."""
    for name in names:
        shutil.rmtree("entry", ignore_errors=True)
        code, out, err = cabench(*COMMANDS[name])
        assert code in codes, (name, edit, err)
        assert "Traceback" not in err and "\x1b" not in out + err, (name, edit, out + err)


def edited(record: dict[str, Any], rng: random.Random) -> tuple[dict[str, Any], str]:
    """A copy of a record with one value replaced, and which."""
    record = copy.deepcopy(record)
    places = [place for place in places_in(record) if place and place[0] not in FIXED]
    *above, last = place = rng.choice(places)
    value = rng.choice(ODD)
    parent: Any = record
    for key in above:
        parent = parent[key]
    parent[last] = value
    return record, f"{'.'.join(map(str, place))}: {value!r:.80}"


def places_in(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all values; of lists the first three items."""
    yield at
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places_in(part, (*at, key))
    elif isinstance(value, list):
        for number, part in enumerate(value[:3]):
            yield from places_in(part, (*at, number))
