"""Learn the engines' few coefficients of speed from the measured cases: fitted/serving_time.json.

For all cases and once without each group. Coefficients are bounded to what is physically possible, start from one
common set and are drawn towards it, so that an engine with few cases stays close to the others.

    python scripts/fit_serving_time.py [--report]
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from sizeup.errors import UserError
from sizeup.evidence.cases import Case, shipped_cases
from sizeup.fitted.serving_time import (
    CLASS,
    CLASSES,
    COMMON,
    GLOBAL_NAMES,
    LIMITS,
    SPREAD,
    STARTS,
    TIME_NAMES,
    coefficients_of,
    engine_of,
    family_of,
)
from sizeup.physics.queueing import ClosedLoop, Requests
from sizeup.physics.serving_operators import Operator
from sizeup.physics.serving_time import LIMITS_JOIN
from sizeup.serving.case_row import readable
from sizeup.serving.latency_case import TASKS, Question, evaluate, question

OUT = Path(__file__).parents[1] / "src/sizeup/fitted/serving_time.json"
KINDS = ("products", "experts", "head", "decode attention", "prefill attention", "element-wise", "network")
COMMON_DRAW = 0.5
"""Strength of the pull of the common coefficients towards where the fit starts."""

CLASS_DRAW = 1.0
"""Strength of the pull of a class's coefficients towards the common ones, per unit of log."""

DRAW = 0.2
"""Strength of the pull of an engine's coefficients towards its class's, per unit of log. Both strengths were chosen for
all engines together, by leaving out one group at a time."""

QUANTITIES = ("ttft_ms", "tpot_ms", "output_tokens_per_second", "prefill_tokens_per_second")


class Block:
    """Cases of one group, engine family, task and kind of load, flat: one evaluation is a few array operations."""

    def __init__(self, family: str, cases: Sequence[Case], questions: Sequence[Question]) -> None:
        self.family, self.cases, self.questions = family, list(cases), list(questions)
        self.names = list(questions[0].steps)
        rows: list[tuple[float, ...]] = []
        steps: list[tuple[float, ...]] = []
        for asked in questions:
            for name in self.names:
                step = asked.steps[name]
                rows += [self._row(operator, len(steps)) for operator in step.operators]
                work, shape = asked.work, step.shape
                steps.append((work.layers, work.kernels, shape.decodes, shape.chunk, asked.division.pp))
        columns = np.array(rows, dtype=float).T
        self.compute, self.memory, self.floor, self.sharpness, self.count = columns[:5]
        self.kind, self.step = (columns[i].astype(int) for i in (5, 6))
        self.most_compute, self.most_memory = 1 / columns[7], 1 / columns[8]
        self.streamed = columns[9]
        self.most_memory[self.kind == KINDS.index("network")] = np.inf
        self.layers, self.kernels, self.decodes, self.chunk, self.pp = np.array(steps, dtype=float).T
        self.asked = self._columns(questions)
        self.targets = {quantity: self._targets(quantity) for quantity in QUANTITIES}

    @property
    def group(self) -> str:
        """Who measured."""
        return self.cases[0].group

    def _targets(self, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the places, logarithms and weights of what was measured of one quantity."""
        found = [(i, v, c) for i, c in enumerate(self.cases) for q, v in measured_of(c) if q == quantity]
        # each group and kind of number counts with the square root of its size
        each = len(found) ** -0.25 * (0.6 if quantity == "ttft_ms" else 1.0) if found else 0.0
        weights = [each * (1.0 if case.row["quality"] == "A" else 0.4) for _, _, case in found]
        return np.array([i for i, _, _ in found], dtype=int), np.log([v for _, v, _ in found]), np.array(weights)

    @staticmethod
    def _row(operator: Operator, step: int) -> tuple[float, ...]:
        return (
            float(operator.compute_seconds), float(operator.memory_seconds), operator.floor_seconds, operator.sharpness,
            operator.count, KINDS.index(operator.kind), step, operator.compute_share, operator.memory_share,
            float(operator.streamed_bytes),
        )  # fmt: skip

    @staticmethod
    def _columns(questions: Sequence[Question]) -> Question:
        def column(get: Any) -> np.ndarray:
            return np.array([float(get(asked)) for asked in questions])

        requests = Requests(prompt=column(lambda a: a.requests.prompt), output=column(lambda a: a.requests.output))
        loop = None
        if questions[0].loop is not None:
            loop = ClosedLoop(**{f.name: column(lambda a, n=f.name: getattr(a.loop, n)) for f in fields(ClosedLoop)})
        limit = column(lambda a: a.scheduler.limit)
        return replace(
            questions[0], scheduler=replace(questions[0].scheduler, limit=limit), requests=requests, loop=loop,
            batch=column(lambda a: a.batch), replicas=column(lambda a: a.replicas),
            prefill_steps=column(lambda a: a.prefill_steps),
        )  # fmt: skip

    def evaluate(self, of: Mapping[str, float], load: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Return every quantity of every question under one set of coefficients."""
        shares = np.full(len(KINDS), of["bandwidth"])
        shares[KINDS.index("decode attention")], shares[KINDS.index("network")] = of["attention"], of["network"]
        slower = np.ones(len(KINDS))
        slower[KINDS.index("prefill attention")] = of["attention"]
        p = self.sharpness
        fast = np.minimum(of["compute"] * slower[self.kind], self.most_compute)
        share = np.minimum(shares[self.kind], self.most_memory)
        q, asked = LIMITS_JOIN, self.streamed / of["stream_bytes_per_second"]
        memory = ((self.memory / share) ** q + asked**q) ** (1 / q)
        joined = ((self.compute / fast) ** p + memory**p) ** (1 / p)
        device = np.bincount(self.step, self.count * (of["floor"] * self.floor + joined), len(self.layers))
        busy = np.maximum(device + self.layers * of["layer_seconds"], self.kernels * of["launch_seconds"])
        busy += of["step_seconds"] + of["sequence_seconds"] * self.decodes / self.pp + of["token_seconds"] * self.chunk
        table = busy.reshape(len(self.questions), len(self.names))
        return evaluate(self.asked, dict(zip(self.names, table.T, strict=False)), of["request_seconds"], load)

    def errors(self, of: Mapping[str, float], load: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Return log(predicted / measured) of every target by quantity."""
        answers = self.evaluate(of, load)
        return {
            quantity: np.log(np.maximum(answers[quantity][places], 1e-12)) - values
            for quantity, (places, values, _) in self.targets.items()
            if len(places)
        }


Tables = dict[str, dict[str, float]]


def families(blocks: Sequence[Block]) -> list[str]:
    """Return the engine families that have cases."""
    return sorted({block.family for block in blocks})


def residuals(blocks: Sequence[Block], tables: Tables, load: Mapping[str, float]) -> np.ndarray:
    """Return the weighted errors of all targets."""
    found = [np.zeros(0)]
    for block in blocks:
        errors = block.errors(coefficients_of(tables, block.family)[1], load)
        found += [3 * error * block.targets[quantity][2] for quantity, error in errors.items()]
    return np.concatenate(found)


def outcomes(blocks: Sequence[Block], tables: Tables, load: Mapping[str, float]) -> list[tuple[Case, str, float]]:
    """Return (case, quantity, log of predicted over measured) of every target."""
    found = []
    for block in blocks:
        for quantity, errors in block.errors(coefficients_of(tables, block.family)[1], load).items():
            places = block.targets[quantity][0]
            found += [(block.cases[i], quantity, float(e)) for i, e in zip(places, errors, strict=True)]
    return found


def _bounds(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    limits = [LIMITS[name] for name in names]
    return np.log([low for low, _ in limits]), np.log([high for _, high in limits])


def _solve(function: Callable[[np.ndarray], np.ndarray], start: np.ndarray, bounds: Any) -> np.ndarray:
    inside = np.clip(start, bounds[0] + 1e-6, bounds[1] - 1e-6)
    found = least_squares(
        function, inside, bounds=bounds, loss="soft_l1", f_scale=0.3, x_scale=0.5, diff_step=1e-3, max_nfev=25
    )
    return np.asarray(found.x)


def fit(blocks: Sequence[Block], only: Collection[str] | None = None) -> tuple[Tables, dict[str, float]]:
    """Return coefficients and those of the load: common ones first, each class's drawn to them, each engine's to its
    class's. ``only`` names the families to learn (all by default)."""
    load, prior = dict(GLOBAL_NAMES), dict(COMMON)
    tables: Tables = {"any": _fit_table(blocks, prior, prior, load, COMMON_DRAW)}
    for kind in CLASSES:
        kin = [block for block in blocks if CLASS[engine_of(block.family)] == kind]
        drawn = {**tables["any"], **STARTS.get(kind, {})}
        tables[kind] = _fit_table(kin, drawn, drawn, load, CLASS_DRAW) if kin else drawn
    for _ in range(2):
        for family in sorted(only if only is not None else families(blocks)):
            _, drawn = coefficients_of({k: v for k, v in tables.items() if k != family}, family)
            own = [block for block in blocks if block.family == family]
            if own:
                tables[family] = _fit_table(own, tables.get(family, drawn), drawn, load, DRAW, family)
        load = _fit_load(blocks, tables, load)
    return tables, load


def _fit_table(
    blocks: Sequence[Block], begin: Mapping[str, float], drawn: Mapping[str, float], load: Mapping[str, float],
    draw: float, name: str = "any",
) -> dict[str, float]:  # fmt: skip
    """Return one set of coefficients that fits all blocks, drawn towards another; ``name`` is whose it is."""
    names = list(TIME_NAMES)
    spread = np.array([SPREAD.get(n, 1.0) for n in names])
    prior = np.log([drawn[n] for n in names])

    def off(vector: np.ndarray) -> np.ndarray:
        of = {name: dict(zip(names, np.exp(vector).tolist(), strict=True))}
        return np.concatenate([residuals(blocks, of, load), draw * (vector - prior) / spread])

    found = _solve(off, np.log([begin[n] for n in names]), _bounds(names))
    return dict(zip(names, np.exp(found).tolist(), strict=True))


def _fit_load(blocks: Sequence[Block], tables: Tables, load: Mapping[str, float]) -> dict[str, float]:
    """Return how loads were offered, given the coefficients of the engines."""
    names = list(load)
    loops = [block for block in blocks if block.asked.loop is not None]

    def off(vector: np.ndarray) -> np.ndarray:
        found = residuals(loops, tables, dict(zip(names, vector, strict=True)))
        return np.concatenate([found, COMMON_DRAW * (vector - np.array(list(GLOBAL_NAMES.values())))])

    most = [1.0 if name != "overlap" else 2.0 for name in names]
    found = least_squares(
        off, np.minimum(list(load.values()), most), bounds=(0, most), max_nfev=10, loss="soft_l1", f_scale=0.3,
        diff_step=1e-2,
    )  # fmt: skip
    return dict(zip(names, found.x.tolist(), strict=True))


def as_record(tables: Tables, load: Mapping[str, float]) -> dict[str, Any]:
    """Return the coefficients rounded to four digits."""

    def rounded(values: Mapping[str, float]) -> dict[str, float]:
        return {name: float(f"{value:.4g}") for name, value in values.items()}

    return {"engines": {name: rounded(found) for name, found in tables.items()}, "load": rounded(load)}


def report(found: Sequence[tuple[Case, str, float]], title: str) -> None:
    """Print errors by task, quantity, group and engine."""
    by: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for case, quantity, log_error in found:
        if case.row["quality"] == "A":
            engine = f"{case.row['engine']} {case.row['engine_version']}".strip()
            for key in ((case.group, engine), (case.group, ""), ("all", "")):
                by[(case.row["task"], quantity, *key)].append(math.exp(log_error))
    for task, quantity, group, engine in sorted(by):
        ratios = np.array(by[task, quantity, group, engine])
        off = np.abs(ratios - 1)
        print(
            f"{title:8} {task:12} {quantity[:14]:14} {group:16} {engine:22} {len(ratios):4}  "
            f"median {np.median(off):6.1%}  p90 {np.quantile(off, 0.9):6.1%}  bias {np.median(ratios) - 1:+6.1%}"
        )


def load_blocks() -> list[Block]:
    """Return the measured cases of speed in blocks."""
    grouped: dict[tuple[str, str, str, bool, bool], tuple[list[Case], list[Question]]]
    grouped = defaultdict(lambda: ([], []))
    for raw in shipped_cases("serving"):
        case, _ = readable(raw)
        if case.row["task"] not in TASKS or not measured_of(case):
            continue
        try:
            asked = question(case)
        except UserError as error:
            print(case.case_id, error, file=sys.stderr)
            continue
        family = family_of(asked.engine, asked.version)
        cases, questions = grouped[case.group, family, asked.task, asked.scheduler.mixes, asked.fixed_lengths]
        cases.append(case)
        questions.append(asked)
    return [Block(key[1], cases, questions) for key, (cases, questions) in grouped.items()]


def measured_of(case: Case) -> list[tuple[str, float]]:
    """Return the speeds that a case measured."""
    return [(m.quantity, m.value) for m in case.measured() if m.quantity in QUANTITIES and m.value > 0]


def main() -> None:
    """Fit with and without each group, print the errors, write the coefficients."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="only with all groups, write nothing")
    quick = parser.parse_args().quick
    blocks = load_blocks()
    cases = [case for block in blocks for case in block.cases]
    groups = sorted({case.group for case in cases})
    tables, load = fit(blocks)
    report(outcomes(blocks, tables, load), "all")
    if quick:
        print(json.dumps(as_record(tables, load)))
        return
    record: dict[str, Any] = {
        "made": datetime.date.today().isoformat(), "by": "scripts/fit_serving_time.py", "cases": len(cases),
        "groups": {group: sum(case.group == group for case in cases) for group in groups},
        "all": as_record(tables, load), "without": {},
    }  # fmt: skip
    outside: list[tuple[Case, str, float]] = []
    for group in groups:
        without = fit([block for block in blocks if block.group != group])
        record["without"][group] = as_record(*without)
        outside += outcomes([block for block in blocks if block.group == group], *without)
    report(outside, "without")
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
