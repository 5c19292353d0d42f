"""Options of data sets on the command line: a value has the type of its option."""

from typing import Any, Literal

import pytest

from cabench.data.reading import checked, parse_options, parse_value
from cabench.errors import CabenchError

# fmt: off
VALUES = [  # text, type, value
    ("1e3", str, "1e3"),
    ("on", str, "on"),
    ("null", str, "null"),
    ("~/x: y", str, "~/x: y"),
    ("[a", str, "[a"),
    ("", str, ""),
    ("007", str, "007"),
    ("1e3", str | None, "1e3"),
    ("64", int, 64),
    ("0.25", float | None, 0.25),
    ("null", float | None, None),
    ("true", bool, True),
    ("yes", bool, "yes"),       # refused: not a truth value
    ("[8, 16]", int | tuple[int, int], [8, 16]),
    ("8", int | tuple[int, int], 8),
    ("crop", Literal["crop", "pad"], "crop"),
    ("1", Literal[1, 3], 1),
    ("a: b", int, "a: b"),      # refused: not a whole number
    ("1e3", Any, 1000.0),       # of a plugin that states no type
]
# fmt: on


@pytest.mark.parametrize(("text", "annotation", "value"), VALUES)
def test_the_type_of_the_option_decides(text, annotation, value):
    parsed = parse_value(text, annotation)
    assert parsed == value and isinstance(parsed, type(value))


def test_options_of_a_folder():
    texts = ["path=~/x: y=z", "size=[8, 16]", "flip=true", "background=#00ff00", "held_out=0.2"]
    options = parse_options("folder", texts)
    assert checked("folder", options) == {
        "path": "~/x: y=z",
        "size": (8, 16),
        "flip": True,
        "background": "#00ff00",
        "held_out": 0.2,
    }


@pytest.mark.parametrize(
    ("texts", "error"),
    [
        (["path"], "--option: expected KEY=VALUE, as in path=DIR, got 'path'"),
        (["=x"], "--option: expected KEY=VALUE, as in path=DIR, got '=x'"),
        (["path=a", "path=b"], "--option: 'path' is given twice"),
        (["path=caf\udce9"], "--option: path: expected text in UTF-8, got 'caf\\udce9'"),
        (["pth=a: b"], "data set 'folder': options.pth: unknown key (did you mean 'path'?)"),
        (["path=a", "size=1e3"], "data set 'folder': options.size: "),
        (["path=a", "size=8", "flip=on"], "options.flip: expected true or false, got 'on'"),
    ],
)
def test_invalid_options(texts, error):
    with pytest.raises(CabenchError) as caught:
        checked("folder", parse_options("folder", texts))
    assert error in str(caught.value)
