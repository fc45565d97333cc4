"""Which class a published checkpoint is of: ``architectures`` names it, and it may be none that writes text."""

from __future__ import annotations

from collections.abc import Iterable

from sizeup.llm.config import Config


def published_class(config: Config) -> str:
    """Return the first class that the configuration names, or nothing."""
    named = config.get("architectures")
    return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""


def published_task(config: Config, tasks: Iterable[str], *, default: str) -> str:
    """Return which of ``tasks`` (endings of class names) the configuration's class is for, else ``default``."""
    name = published_class(config)
    return next((task for task in tasks if name.endswith(task)), default)


def label_count(config: Config) -> int:
    """Return the classes that a classifier distinguishes: two unless the configuration lists them."""
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, dict) and labels else config.integer("num_labels", default=2)
