"""The one error a user sees: what happened, what to do about it, and the nearest names."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: a bad name, file, key or layout.

    The command line prints it as ``error:`` and ``hint:`` and exits with 2; nothing is guessed.
    """

    def __init__(self, message: str, *, hint: str = "", nearest: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.nearest = tuple(nearest)
        self.hint = hint or (f"did you mean {', '.join(self.nearest)}?" if self.nearest else "")

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def nearest_names(name: str, names: Iterable[str], *, count: int = 3) -> tuple[str, ...]:
    """Return the known names that look most like ``name``, best first.

    >>> nearest_names("rtx4900", ["rtx-4090", "rtx-3090", "h100"], count=2)
    ('rtx-4090', 'rtx-3090')
    """
    import difflib

    def plain(text: str) -> str:
        return "".join(c for c in text.lower() if c.isalnum())

    by_plain: dict[str, str] = {}
    for known in names:
        by_plain.setdefault(plain(known), known)
    wanted = plain(name)
    close = difflib.get_close_matches(wanted, by_plain, n=count, cutoff=0.5)
    if len(close) < count:
        close += [k for k in by_plain if wanted and wanted in k and k not in close][: count - len(close)]
    return tuple(by_plain[k] for k in close)
