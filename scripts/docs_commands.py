"""Writes docs/command_line.md from the commands' own help: `python scripts/docs_commands.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer import Context
from typer.main import get_command

from cabench.commands.app import app

PAGE = Path(__file__).parents[1] / "docs" / "command_line.md"
HEAD = """# Command line

<!-- Generated from the commands: python scripts/docs_commands.py -->

Every command with its arguments and options, as `--help` prints them. What they are for, by task:
[commands](commands.md). `cabench --install-completion` lets the shell complete them."""
NOT_SHOWN = ("--help", "--install-completion", "--show-completion")


def commands(command: Any, name: str, parent: Context | None = None) -> Iterator[tuple[str, Any]]:
    """(name, context) of every command below `command`, in the order of `--help`."""
    context = Context(command, info_name=name, parent=parent)
    if not hasattr(command, "commands"):
        yield context.command_path, context
        return
    for each in command.list_commands(context):
        yield from commands(command.get_command(context, each), each, context)


def cell(text: str) -> str:
    """A cell of a table: no bar, no line break."""
    return " ".join(text.replace("|", "\\|").split())


def meaning(text: str) -> str:
    """A cell of plain text, whose brackets are no links."""
    return cell(text).replace("[", "\\[")


def section(name: str, context: Any) -> str:
    """A command's help, usage and options."""
    command = context.command
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    lines = [f"## {name}", "", (command.help or "").strip(), "", "```text", usage, "```", ""]
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    rows = [record for record in records if record and record[0] not in NOT_SHOWN]
    if rows:
        lines += ["| argument or option | meaning |", "|---|---|"]
        lines += [f"| `{cell(option)}` | {meaning(text)} |" for option, text in rows]
    return "\n".join(lines).strip()


def page() -> str:
    """The text of the page: a list of the commands, and a section for each."""
    entries = list(commands(get_command(app), "cabench"))
    rows = ["| command | what it does |", "|---|---|"]
    for name, context in entries:
        summary = (context.command.help or "").strip().split("\n\n")[0]
        rows.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {cell(summary)} |")
    return "\n\n".join([HEAD, "\n".join(rows), *(section(*entry) for entry in entries)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
