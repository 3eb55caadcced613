"""How `--help` and the listings of `keepsight ls` look: names in a column, what they mean beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any

import typer

__all__ = ["HelpContext", "definition_lines", "summary", "with_whole_help"]


def definition_lines(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """(name, meaning) as lines of at most `width` columns, words kept whole.

    A meaning goes on below itself; a name wider than two fifths of `width` has a line of its own.
    """
    rows = list(rows)
    column = min(max((len(name) for name, _ in rows), default=0), 2 * width // 5) + 2
    for name, meaning in rows:
        head = name.ljust(column)
        if not meaning or len(name) > column - 2:
            yield name
            head = " " * column
        yield from wrap(
            meaning,
            width,
            initial_indent=head,
            subsequent_indent=" " * column,
            break_long_words=False,
            break_on_hyphens=False,
        )


def summary(doc: str | None) -> str:
    """The first paragraph of a docstring on one line."""
    return " ".join((doc or "").partition("\n\n")[0].split())


class _HelpFormatter(typer.Context.formatter_class):  # type: ignore[misc, valid-type]
    def write_dl(self, rows: Iterable[tuple[str, str]], *_: int, **__: int) -> None:
        for line in definition_lines(rows, self.width - self.current_indent):
            self.write(f"{'':>{self.current_indent}}{line}\n")


class HelpContext(typer.Context):
    """Makes a command write its help here."""

    formatter_class = _HelpFormatter


def with_whole_help(command: Any) -> Any:
    """`command`, a command or group of click's, with help that is written here and cuts no summary short."""
    command.context_class = HelpContext
    command.short_help = summary(command.help)
    for each in getattr(command, "commands", {}).values():
        with_whole_help(each)
    return command
