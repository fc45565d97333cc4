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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from sizeup.errors import UserError
from sizeup.evidence.cases import Case, shipped_cases
from sizeup.fitted.serving_time import (
    COMMON,
    GLOBAL_NAMES,
    LIMITS,
    SPREAD,
    STARTS,
    TIME_NAMES,
    coefficients_of,
    family_of,
)
from sizeup.physics.queueing import ClosedLoop, Requests
from sizeup.physics.serving_time import Operator
from sizeup.serving.latency_case import TASKS, Question, evaluate, question

OUT = Path(__file__).parents[1] / "src/sizeup/fitted/serving_time.json"
KINDS = ("products", "experts", "head", "decode attention", "prefill attention", "element-wise", "network")
COMMON_DRAW = 0.5
"""Strength of the pull of the common coefficients towards where the fit starts."""

DRAW = 0.5
"""Strength of the pull of an engine's coefficients towards the common ones, per unit of log."""
QUANTITIES = ("ttft_ms", "tpot_ms", "output_tokens_per_second", "prefill_tokens_per_second")


class Batch:
    """Questions of one task (and one kind of scheduler), flat, so that one evaluation is a few array operations."""

    def __init__(self, cases: Sequence[Case], questions: Sequence[Question]) -> None:
        self.cases, self.questions = list(cases), list(questions)
        first = questions[0]
        self.names = list(first.steps)
        rows: list[tuple[float, ...]] = []
        steps: list[tuple[float, ...]] = []
        for number, asked in enumerate(questions):
            for name in self.names:
                step = asked.steps[name]
                rows += [self._row(operator, len(steps), number) for operator in step.operators]
                work, shape = asked.work, step.shape
                steps.append((number, work.layers, work.kernels, shape.decodes, shape.chunk, asked.division.pp))
        columns, table = np.array(rows, dtype=float).T, np.array(steps, dtype=float).T
        self.compute, self.memory, self.floor, self.sharpness, self.count = columns[:5]
        self.kind, self.step, self.case = (columns[i].astype(int) for i in (5, 6, 7))
        self.most_compute, self.most_memory = 1 / columns[8], 1 / columns[9]
        self.most_memory[self.kind == KINDS.index("network")] = np.inf
        self.of_case = table[0].astype(int)
        self.layers, self.kernels, self.decodes, self.chunk, self.pp = table[1:]
        self.asked = self._columns(questions)

    @staticmethod
    def _row(operator: Operator, step: int, case: int) -> tuple[float, ...]:
        return (
            float(operator.compute_seconds), float(operator.memory_seconds), operator.floor_seconds, operator.sharpness,
            operator.count, KINDS.index(operator.kind), step, case, operator.compute_share, operator.memory_share,
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

    def evaluate(self, values: Mapping[str, np.ndarray], load: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Return every quantity of every question; ``values`` are coefficients by question."""
        by = {name: value[self.case] for name, value in values.items()}
        share = np.where(self.kind == 3, by["attention"], np.where(self.kind == 6, by["network"], by["bandwidth"]))
        p = self.sharpness
        slower = np.where(self.kind == 4, by["attention"], 1.0)
        fast, share = np.minimum(by["compute"] * slower, self.most_compute), np.minimum(share, self.most_memory)
        joined = ((self.compute / fast) ** p + (self.memory / share) ** p) ** (1 / p)
        device = np.bincount(self.step, self.count * (by["floor"] * self.floor + joined), len(self.of_case))
        of = {name: value[self.of_case] for name, value in values.items()}
        busy = np.maximum(device + self.layers * of["layer_seconds"], self.kernels * of["launch_seconds"])
        busy += of["step_seconds"] + of["sequence_seconds"] * self.decodes / self.pp + of["token_seconds"] * self.chunk
        table = busy.reshape(len(self.questions), len(self.names))
        return evaluate(self.asked, dict(zip(self.names, table.T, strict=False)), values["request_seconds"], load)


Tables = dict[str, dict[str, float]]


class Problem:
    """Residuals of the cases that pass ``keep``, as a function of coefficients."""

    def __init__(self, batches: Sequence[Batch], keep: Callable[[Case], bool]) -> None:
        self.batches = batches
        sizes: dict[tuple[str, str, str, str], int] = defaultdict(int)
        for batch in batches:
            for case in filter(keep, batch.cases):
                for quantity, _ in measured_of(case):
                    sizes[self._key(case, quantity)] += 1
        self.targets = [
            [
                (i, quantity, math.log(value), self._weight(case, quantity, sizes))
                for i, case in enumerate(batch.cases)
                if keep(case)
                for quantity, value in measured_of(case)
            ]
            for batch in batches
        ]

    @staticmethod
    def _key(case: Case, quantity: str) -> tuple[str, str, str, str]:
        return case.group, family_of(case.row["engine"], case.row["engine_version"]), case.row["task"], quantity

    def _weight(self, case: Case, quantity: str, sizes: Mapping[tuple[str, str, str, str], int]) -> float:
        # each group and kind of number counts with the square root of its size
        weight = sizes[self._key(case, quantity)] ** -0.25
        return weight * (0.4 if case.row["quality"] != "A" else 1.0) * (0.6 if quantity == "ttft_ms" else 1.0)

    def restricted(self, family: str) -> Problem:
        """Return the same problem with the cases of one engine family only."""
        same = [
            [
                t
                for t in targets
                if family_of(b.cases[t[0]].row["engine"], b.cases[t[0]].row["engine_version"]) == family
            ]
            for b, targets in zip(self.batches, self.targets, strict=False)
        ]
        part = object.__new__(Problem)
        part.batches = [b for b, targets in zip(self.batches, same, strict=False) if targets]
        part.targets = [targets for targets in same if targets]
        return part

    def families(self) -> list[str]:
        """Return the engine families that have cases."""
        return sorted(
            {
                family_of(b.cases[t[0]].row["engine"], b.cases[t[0]].row["engine_version"])
                for b, targets in zip(self.batches, self.targets, strict=False)
                for t in targets
            }
        )

    def errors(self, tables: Tables, load: Mapping[str, float]) -> list[tuple[Case, str, float, float]]:
        """Return (case, quantity, log of predicted over measured, weight) of every target."""
        found = []
        for batch, targets in zip(self.batches, self.targets, strict=False):
            if not targets:
                continue
            of = [coefficients_of(tables, family_of(q.engine, q.version))[1] for q in batch.questions]
            values = {name: np.array([table[name] for table in of]) for name in TIME_NAMES}
            answers = batch.evaluate(values, load)
            found += [
                (batch.cases[i], quantity, math.log(max(answers[quantity][i], 1e-12)) - log_value, weight)
                for i, quantity, log_value, weight in targets
            ]
        return found

    def residuals(self, tables: Tables, load: Mapping[str, float]) -> np.ndarray:
        return np.array([3 * error * weight for _, _, error, weight in self.errors(tables, load)])


def _bounds(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    limits = [LIMITS[name] for name in names]
    return np.log([low for low, _ in limits]), np.log([high for _, high in limits])


def _solve(function: Callable[[np.ndarray], np.ndarray], start: np.ndarray, bounds: Any) -> np.ndarray:
    inside = np.clip(start, bounds[0] + 1e-6, bounds[1] - 1e-6)
    found = least_squares(
        function, inside, bounds=bounds, loss="soft_l1", f_scale=0.3, x_scale=0.5, diff_step=1e-3, max_nfev=15
    )
    return np.asarray(found.x)


def fit(problem: Problem) -> tuple[Tables, dict[str, float]]:
    """Return coefficients by engine family and those of the load: common ones first, then each engine's own."""
    names, start = list(TIME_NAMES), np.log([COMMON[name] for name in TIME_NAMES])
    spread = np.array([SPREAD.get(name, 1.0) for name in names])
    prior = np.log([COMMON[name] for name in names])

    def table(vector: np.ndarray) -> dict[str, float]:
        return dict(zip(names, np.exp(vector).tolist(), strict=False))

    load = dict(GLOBAL_NAMES)
    common = _solve(
        lambda v: np.concatenate([problem.residuals({"any": table(v)}, load), COMMON_DRAW * (v - prior) / spread]),
        start,
        _bounds(names),
    )
    tables: Tables = {"any": table(common)}
    for _ in range(2):
        for family in problem.families():
            special = STARTS.get(family, {})
            drawn = np.array([math.log(special.get(n, math.exp(c))) for n, c in zip(names, common, strict=False)])
            begin = np.log([tables[family][n] for n in names]) if family in tables else drawn
            tables[family] = table(_fit_family(problem.restricted(family), begin, drawn, table, load, spread))
        load = _fit_load(problem, tables, load)
    return tables, load


def _fit_family(
    part: Problem, begin: np.ndarray, drawn: np.ndarray, table: Callable[[np.ndarray], dict[str, float]],
    load: Mapping[str, float], spread: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the logarithms of one family's coefficients."""

    def residuals(vector: np.ndarray) -> np.ndarray:
        return np.concatenate([part.residuals({"any": table(vector)}, load), DRAW * (vector - drawn) / spread])

    return _solve(residuals, begin, _bounds(list(TIME_NAMES)))


def _fit_load(problem: Problem, tables: Tables, load: Mapping[str, float]) -> dict[str, float]:
    """Return how loads were offered, given the coefficients of the engines."""
    names = list(load)

    def residuals(vector: np.ndarray) -> np.ndarray:
        off = problem.residuals(tables, dict(zip(names, vector, strict=True)))
        return np.concatenate([off, COMMON_DRAW * (vector - np.array(list(GLOBAL_NAMES.values())))])

    most = [1.0 if name != "overlap" else 2.0 for name in names]
    found = least_squares(
        residuals, np.minimum(list(load.values()), most), bounds=(0, most), max_nfev=10, loss="soft_l1", f_scale=0.3,
        diff_step=1e-2,
    )  # fmt: skip
    return dict(zip(names, found.x.tolist(), strict=True))


def as_record(tables: Tables, load: Mapping[str, float]) -> dict[str, Any]:
    """Return the coefficients rounded to four digits."""

    def rounded(values: Mapping[str, float]) -> dict[str, float]:
        return {name: float(f"{value:.4g}") for name, value in values.items()}

    return {"engines": {name: rounded(found) for name, found in tables.items()}, "load": rounded(load)}


def report(errors: Sequence[tuple[Case, str, float, float]], title: str) -> None:
    """Print errors by task, quantity, group and engine."""
    by: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for case, quantity, log_error, _ in errors:
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


def load_batches() -> list[Batch]:
    """Return the measured cases of speed by task and scheduler."""
    grouped: dict[tuple[str, bool, bool], tuple[list[Case], list[Question]]] = defaultdict(lambda: ([], []))
    for case in shipped_cases("serving"):
        if case.row["task"] not in TASKS or not measured_of(case):
            continue
        try:
            asked = question(case)
        except UserError as error:
            print(case.case_id, error, file=sys.stderr)
            continue
        cases, questions = grouped[asked.task, asked.scheduler.mixes, asked.fixed_lengths]
        cases.append(case)
        questions.append(asked)
    return [Batch(cases, questions) for cases, questions in grouped.values()]


def measured_of(case: Case) -> list[tuple[str, float]]:
    """Return the speeds that a case measured."""
    return [(m.quantity, m.value) for m in case.measured() if m.quantity in QUANTITIES and m.value > 0]


def main() -> None:
    """Fit with and without each group, print the errors, write the coefficients."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="only with all groups, write nothing")
    quick = parser.parse_args().quick
    batches = load_batches()
    cases = [case for batch in batches for case in batch.cases]
    groups = sorted({case.group for case in cases})
    everything = Problem(batches, lambda case: True)
    tables, load = fit(everything)
    report(everything.errors(tables, load), "all")
    print(json.dumps(as_record(tables, load)))
    if quick:
        return
    record: dict[str, Any] = {
        "made": datetime.date.today().isoformat(), "by": "scripts/fit_serving_time.py", "cases": len(cases),
        "groups": {group: sum(case.group == group for case in cases) for group in groups},
        "all": as_record(tables, load), "without": {},
    }  # fmt: skip
    outside: list[tuple[Case, str, float, float]] = []
    for group in groups:
        without = fit(Problem(batches, lambda case, group=group: case.group != group))
        record["without"][group] = as_record(*without)
        outside += Problem(batches, lambda case, group=group: case.group == group).errors(*without)
    report(outside, "without")
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
