"""Text for terminals, files and pipes."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from cabench.runtime.console import PLAIN_WIDTH, plain_text, plain_width, print_to_fit


@pytest.mark.parametrize(
    ("columns", "width"), [("80", 80), ("", PLAIN_WIDTH), ("wide", PLAIN_WIDTH)]
)
def test_a_file_is_as_wide_as_the_environment_says(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    assert plain_width() == width
    seen = []
    print_to_fit(lambda columns: seen.append(columns) or ["text"], Console(file=io.StringIO()))
    assert seen == [width]


def test_a_given_width_comes_first():
    file = io.StringIO()
    print_to_fit(lambda columns: ["x" * columns], Console(file=file), width=30)
    assert file.getvalue() == "x" * 30 + "\n"


def test_a_terminal_gets_styles_and_a_file_none():
    parts = [Text("bold", style="bold"), "[not markup] :smile:"]
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=40, color_system="standard")
    print_to_fit(lambda _: parts, console)
    assert "\x1b[1m" in terminal.getvalue()
    assert plain_text(parts, 40) == "bold\n[not markup] :smile:\n"


def test_an_encoding_without_arrows_gets_ascii():
    assert plain_text(["2 ± 1 ↓ ↑ ─ é"], 40, "ascii") == "2 +- 1 (low) (high) - ?\n"
