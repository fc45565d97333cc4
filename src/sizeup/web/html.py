"""A little HTML: elements as functions, every text escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

VOID = frozenset({"br", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | Iterable[Child] | None"


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Return an element; ``class_`` is class, ``data_why`` data-why; True is a bare attribute, None and False none.

    >>> tag("a", "1 < 2", href="?a&b", data_why=3, hidden=True, title=None)
    '<a href="?a&amp;b" data-why="3" hidden>1 &lt; 2</a>'
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{join(children)}</{name}>")


def _attribute(key: str, value: str | int | float | bool | None) -> str:
    name = key.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{escape(str(value))}"'


def join(children: Child) -> Markup:
    """Return the children one after the other, texts escaped.

    >>> join(["a & b", tag("br"), None, ["c"]])
    'a &amp; b<br>c'
    """
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(children))
    return Markup("".join(join(child) for child in children))
