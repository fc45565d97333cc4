"""The stand-in for NumPy in the browser: each function as NumPy has it, and whole searches with the same result."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sizeup.web.stand_in import NAMES, stand_in

FIRST, SECOND = [3.0, 0.0, -2.5, 8.0, 1e12], [2.0, 5.0, -2.0, 0.5, 3.0]
WHOLE, TRUTHS = [7, 0, 3, 12, 5], [True, False, True, True, False]

CASES: dict[str, Callable[[Any], Any]] = {
    "arithmetic": lambda m: m.array(FIRST) * 2 + 1 - m.array(SECOND) / 4,
    "from the right": lambda m: 2 - 3 / m.array(SECOND) + 2 ** m.array(SECOND),
    "floor": lambda m: m.array(WHOLE) // 2 + m.array(WHOLE) % 5,
    "below zero": lambda m: -m.array(WHOLE) // 4 + -m.array(WHOLE) % 4,
    "power": lambda m: m.array(WHOLE) ** 0.5,
    "compare": lambda m: (m.array(FIRST) < m.array(SECOND)) | (m.array(FIRST) >= 8) & ~(m.array(FIRST) == 0),
    "minimum": lambda m: m.minimum(m.array(FIRST), 1.5),
    "maximum": lambda m: m.maximum(2, m.array(WHOLE)),
    "where": lambda m: m.where(m.array(TRUTHS), m.array(FIRST), -1),
    "logarithm": lambda m: m.log(m.exp(m.array(SECOND))),
    "sqrt": lambda m: m.sqrt(abs(m.array(FIRST))),
    "clip": lambda m: m.clip(m.array(FIRST), 0, 5),
    "mask": lambda m: m.array(FIRST)[m.array(TRUTHS)],
    "places": lambda m: m.array(FIRST)[m.array([4, 0])],
    "slice": lambda m: m.array(FIRST)[1:3],
    "flatnonzero": lambda m: m.flatnonzero(m.array(WHOLE)),
    "argsort": lambda m: m.argsort(m.array([2, 1, 2, 1]), kind="stable"),
    "argmin": lambda m: m.argmin(m.array(FIRST)) + 10 * m.argmax(m.array(FIRST)),
    "concatenate": lambda m: m.concatenate([m.array(WHOLE), m.array(WHOLE)[:0], m.array(WHOLE)]),
    "repeat": lambda m: m.repeat(m.arange(3), [2, 0, 1]),
    "diff": lambda m: m.diff(m.array(WHOLE), prepend=-1),
    "split": lambda m: m.concatenate(m.split(m.array(WHOLE), m.array([2, 4]))[1:]),
    "cumsum": lambda m: m.cumsum(m.array(WHOLE)),
    "unique": lambda m: m.unique(m.array([3, 1, 3])),
    "interp": lambda m: m.interp(m.array([0.0, 1.5, 9.0]), [1, 2, 4], [10, 20, 0]),
    "full": lambda m: m.full(3, math.inf) + m.zeros(3) + m.ones(3),
    "table": lambda m: m.array([(1, 2), (3, 4)]).reshape(-1, 2)[:, 1],
    "rows repeated": lambda m: m.array([(1, 2), (3, 4)]).reshape(-1, 2).repeat(m.array([2, 1]), axis=0)[:, 0],
    "broadcast": lambda m: m.concatenate(m.broadcast_arrays(2, m.array(WHOLE))),
    "extremes": lambda m: m.max(m.array(FIRST)) - m.min(m.array(FIRST)) + m.sum(m.array(WHOLE)),
    "partition": lambda m: m.partition(m.array(FIRST), 2)[2],
    "geomspace": lambda m: m.geomspace(1, 1000, 7),
    "meshgrid": lambda m: m.meshgrid(m.array([1, 2]), m.array([3, 4, 5]), indexing="ij")[1].ravel(),
    "running maximum": lambda m: m.maximum.accumulate(m.array(FIRST)),
    "no rows": lambda m: m.array([], dtype=m.int64).reshape(-1, 2)[:, 1],
    "whole": lambda m: m.array(FIRST).astype(int) + m.ones_like(m.array(WHOLE)),
    "isfinite": lambda m: m.isfinite(m.array([1.0, math.inf])),
    "sums": lambda m: [m.array(WHOLE).sum(), m.array(WHOLE).max(), m.array(TRUTHS).any(), m.array(TRUTHS).all()],
}


@pytest.mark.parametrize("name", CASES)
def test_it_does_as_numpy_does(name: str) -> None:
    with np.errstate(all="ignore"):
        wanted = CASES[name](np)
    found = CASES[name](stand_in())
    assert list(np.atleast_1d(np.asarray(list(found) if hasattr(found, "__len__") else found))) == pytest.approx(
        list(np.atleast_1d(wanted)), nan_ok=True
    )


def test_setting_elements() -> None:
    for module in (np, stand_in()):
        column = module.zeros(5)
        column[module.array([True, False, False, False, True])] = 7
        column[module.array([1, 2])] = module.array([3.0, 4.0])
        column[3:4] = 9.0
        column[module.array([0, 0])] = module.array([1.0, 2.0])  # the last one stays
        assert list(column) == [2, 3, 4, 9, 7]


def test_columns_of_different_lengths_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="together"):
        NAMES["array"]([1, 2]) + NAMES["array"]([1, 2, 3])


QUESTIONS = [
    ("train", {"model": "qwen3-14b", "gpu": "h100", "gpus": "8", "tokens": "1T"}),
    ("train", {"model": "qwen3-30b-a3b", "gpu": "a100", "gpus": "8"}),
    ("train", {"model": "llama-3.1-8b", "gpu": "rtx-4090", "method": "qlora", "largest": "sequence"}),
    ("serve", {"model": "deepseek-v3", "gpu": "h200", "gpus": "8"}),
    ("serve", {"model": "llama-3.1-8b", "gpu": "h100", "rate": "4", "ttft": "400"}),
]
ASK = """
import json, sys
{install}
from sizeup.web.bridge import Bridge
replies = [Bridge().answer({{"job": job, "flags": flags}}) for job, flags in json.loads(sys.argv[1])]
print(json.dumps([reply.get("error") or json.loads(reply["copies"]["JSON"]) for reply in replies]))
"""


def answers(install: str) -> list[Any]:
    code = ASK.format(install=install)
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(QUESTIONS)], capture_output=True, text=True, check=True
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def same(first: Any, second: Any, where: str = "") -> None:
    """Equal in every key and word, and in numbers up to rounding."""
    assert type(first) is type(second) or {type(first), type(second)} == {int, float}, where
    if isinstance(first, dict):
        assert list(first) == list(second), where
        for key in first:
            same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            same(*pair, f"{where}[{index}]")
    elif isinstance(first, float):
        assert second == pytest.approx(first, rel=1e-9), where
    else:
        assert first == second, where


def test_searches_find_the_same_with_numpy_and_without() -> None:
    without = answers("from sizeup.web.stand_in import install; install()")
    for with_numpy, alone, question in zip(answers(""), without, QUESTIONS, strict=True):
        assert isinstance(with_numpy, dict), with_numpy
        same(with_numpy, alone, str(question))
