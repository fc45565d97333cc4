"""Plain-text layout: aligned tables, bars, wrapped remarks. Styles only support what the words already say.

Strings carry ANSI styles; ``click.echo`` strips them when the output is not a terminal.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

WIDTH = 80
UNVERIFIED = "?"
"""Marks a figure that rests on no source that was read."""


_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_BOLD, _DIM, _RED, _GREEN, _CYAN = 1, 2, 31, 32, 36


def _styled(text: str, *codes: int) -> str:
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m"


def plain(text: str) -> str:
    """Return ``text`` without its styles.

    >>> plain(strong("fits"))
    'fits'
    """
    return _STYLE.sub("", text)


def strong(text: str) -> str:
    """Return text for a heading or a verdict."""
    return _styled(text, _BOLD)


def dim(text: str) -> str:
    """Return text that may be skipped: remarks, sources, units."""
    return _styled(text, _DIM)


def good(text: str) -> str:
    """Return text of a positive verdict."""
    return _styled(text, _GREEN, _BOLD)


def bad(text: str) -> str:
    """Return text of a negative verdict."""
    return _styled(text, _RED, _BOLD)


def number(text: str) -> str:
    """Return a figure that the eye should find first."""
    return _styled(text, _CYAN, _BOLD)


def visible(text: str) -> int:
    """Return the width of ``text`` on the screen, styles left out."""
    return len(plain(text))


def pad(text: str, width: int, align: str = "<") -> str:
    """Return ``text`` padded to ``width`` visible characters."""
    gap = max(0, width - visible(text))
    return " " * gap + text if align == ">" else text + " " * gap


def table(
    rows: Sequence[Sequence[str]],
    *,
    head: Sequence[str] = (),
    align: str = "",
    indent: int = 2,
    gap: int = 2,
    shorten: Sequence[int] = (),
) -> list[str]:
    """Return the lines of a table; ``align`` holds ``<`` or ``>`` for each column (left by default).

    Columns move together where the table would be wider than the screen, then the plain words of the columns
    ``shorten`` lose their ends, the first column first.

    >>> table([["a", "1"], ["bb", "22"]], align="<>")
    ['  a    1', '  bb  22']
    >>> table([["word " * 20, "1"]], align="<>", shorten=[0])[0].endswith("word ...  1")
    True
    """
    for column in shorten:
        head, *rows = _shortened([head, *rows], column, room=WIDTH - indent - (len(align) - 1))
    shown = [[dim(cell) for cell in head], *rows] if head else [*rows]
    if not shown:
        return []
    columns = max(len(row) for row in shown)
    align = align.ljust(columns, "<")
    widths = [max((visible(row[i]) for row in shown if i < len(row)), default=0) for i in range(columns)]
    if indent + sum(widths) + gap * (columns - 1) > WIDTH:
        gap = 1
    lines = []
    for row in shown:
        cells = [pad(cell, widths[i], align[i]) for i, cell in enumerate(row)]
        lines.append((" " * indent + (" " * gap).join(cells)).rstrip())
    return lines


LEAST_WORDS = 18
"""Columns of a table are not cut below this width."""


def _shortened(rows: Sequence[Sequence[str]], column: int, *, room: int) -> list[Sequence[str]]:
    """Return rows whose cells of one column are cut at words, so that all columns together take ``room``."""
    widths = [max(visible(row[i]) for row in rows if i < len(row)) for i in range(max(len(row) for row in rows))]
    if sum(widths) <= room:
        return list(rows)
    width = max(LEAST_WORDS, widths[column] - (sum(widths) - room))
    return [
        [textwrap.shorten(cell, width, placeholder=" ...") if i == column else cell for i, cell in enumerate(row)]
        for row in rows
    ]


def cut(line: str, *, width: int = WIDTH) -> str:
    """Return a line without the last words that the screen has no room for; a line that fits stays as it is.

    >>> cut("one, two, three", width=13)
    'one, two, ...'
    """
    if visible(line) <= width:
        return line
    while visible(line) > width - len(" ...") and " " in line:
        line = line.rpartition(" ")[0]
    return f"{line} ..."


def bar(share: float, *, width: int = 20) -> str:
    """Return a bar of ``width`` cells, filled by ``share`` (0 to 1).

    >>> bar(0.5, width=4)
    '##..'
    """
    filled = round(max(0.0, min(1.0, share)) * width)
    return "#" * filled + "." * (width - filled)


def remark(text: str, *, indent: int = 2, width: int = WIDTH, mark: str = "- ") -> list[str]:
    """Return a remark wrapped to the screen."""
    return [dim(line) for line in wrap(mark + text, indent=indent, hang=len(mark), width=width)]


def wrap(text: str, *, indent: int = 2, hang: int = 0, width: int = WIDTH) -> list[str]:
    """Return ``text`` wrapped to the screen at its spaces, later lines indented by ``hang`` more; styles take no room.

    >>> wrap("one two three", indent=0, hang=2, width=8)
    ['one two', '  three']
    """
    lines: list[str] = []
    line, start = " " * indent, True
    for word in text.split(" "):
        if not start and visible(line) + 1 + visible(word) > width:
            lines.append(line.rstrip())
            line, start = " " * (indent + hang), True
        line += word if start else f" {word}"
        start = False
    return [*lines, line.rstrip()]


def _broken(command: str, room: int) -> list[str]:
    """Return a command in lines of at most ``room``, broken before options, as a shell reads it.

    >>> _broken("sizeup some-model --gpu h100 --context 32k", 32)
    ['sizeup some-model --gpu h100 \\\\', '--context 32k']
    """
    pieces = re.split(r" (?=--)", command)
    lines = [pieces[0]]
    for piece in pieces[1:]:
        if len(f"{lines[-1]} {piece}") > (room if piece is pieces[-1] else room - 2):
            lines[-1] += " \\"
            lines.append(piece)
        else:
            lines[-1] += f" {piece}"
    return lines


def offers(commands: Sequence[str], *, label: str = "ask next:") -> list[str]:
    """Return commands to try next, as many on a line as fit; a longer one goes on after a backslash."""
    lines: list[str] = []
    margin = " " * (len(label) + 2)
    line = f"{label}  "
    for command in commands:
        first, *rest = _broken(command, WIDTH - len(margin))
        if line.strip() not in ("", label) and visible(line) + visible(first) > WIDTH:
            lines.append(line.rstrip())
            line = margin
        line += first
        for piece in rest:
            lines.append(line)
            line = f"{margin}  {piece}"
        line += "    "
    return [dim(text) for text in (*lines, line.rstrip())]
