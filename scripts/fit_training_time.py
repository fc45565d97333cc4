"""Learn what only whole training runs teach about time: writes ``fitted/training_time.json``.

    python scripts/fit_training_time.py MEASURED_TRAINING.csv [--show]

Work and traffic at measured kernel efficiencies are computed once; a bounded robust least-squares fit of the logarithm
of the step time then finds the coefficients, on all groups and without each one. A group counts with the square root of
its size. Needs SciPy and NumPy (``pip install -e '.[fit]'``).
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from sizeup.errors import UserError
from sizeup.evidence.cases import Case, read_cases
from sizeup.machine import find_gpu
from sizeup.physics.training_time import Coefficients, Traffic, step_parts
from sizeup.training.case import case_step

OUTPUT = Path(__file__).parents[1] / "src/sizeup/fitted/training_time.json"

# start (what physics suggests, a weak prior belief), lower bound, upper bound
BOUNDS: dict[str, tuple[float, float, float]] = {
    "sustained": (0.9, 0.6, 1.0),
    "power": (0.33, 0.0, 1.0),
    "eight_bit": (1.5, 0.8, 2.2),
    "experts": (0.8, 0.4, 1.0),
    "attention": (0.9, 0.4, 1.2),
    "portable_attention": (0.65, 0.4, 1.0),
    "streaming_eager": (1.5, 0.5, 5.0),
    "streaming_fused": (0.8, 0.3, 3.0),
    "casts": (1.0, 0.0, 3.0),
    "host_seconds": (4.5e-5, 5e-6, 1e-4),
    "host_routed_seconds": (2e-3, 0.0, 5e-3),
    "host_modern": (0.7, 0.3, 1.0),
    "hidden_data": (0.8, 0.0, 1.0),
    "hidden_tensor": (0.5, 0.0, 1.0),
    "hidden_experts": (0.3, 0.0, 0.9),
    "contention": (0.1, 0.0, 0.5),
    "network": (0.8, 0.2, 1.3),
    "straggle": (0.01, 0.0, 0.04),
}


def stack(items: list[Any]) -> Any:
    """Return one object whose fields are columns of the items' fields."""
    first = items[0]
    names = list(getattr(first, "__slots__", ())) or list(vars(first))
    found = {}
    for name in names:
        values = [getattr(item, name) for item in items]
        found[name] = stack_traffic(values) if isinstance(values[0], Traffic) else np.array(values, dtype=float)
    return SimpleNamespace(**found)


def stack_traffic(values: list[Traffic]) -> Traffic:
    """Return traffic whose seconds are columns."""
    return Traffic(
        np.array([v.inside for v in values], dtype=float), np.array([v.between for v in values], dtype=float)
    )


class Table:
    """All measured cases with a time, as columns."""

    def __init__(self, cases: list[Case]) -> None:
        parts, self.cases = [], []
        for case in cases:
            if not case.row["step_seconds"]:
                continue
            try:
                parts.append(case_step(case))
                self.cases.append(case)
            except UserError as error:
                print(f"left out: {case.case_id}: {error}")
        works, plans, raws, traits, _ = zip(*parts, strict=True)
        self.work = SimpleNamespace(layers=np.array([w.layers for w in works]))
        self.plan = self._plans(list(plans))
        self.raw, self.traits = stack(list(raws)), stack(list(traits))
        self.measured = np.array([float(c.row["step_seconds"]) for c in self.cases])
        self.groups = np.array([c.group for c in self.cases])
        self.quality = np.array([c.row["quality"] for c in self.cases])

    @staticmethod
    def _plans(plans: list[Any]) -> Any:
        stacked = stack(plans)
        for name in ("tp", "pp", "vpp", "cp", "dp", "shards"):
            setattr(stacked, name, getattr(stacked, name).astype(int))
        return stacked

    def seen(self) -> dict[str, dict[str, list[str]]]:
        """Return the kinds of training and the generations of cards that each group timed."""
        found: dict[str, dict[str, set[str]]] = {}
        for case in self.cases:
            group = found.setdefault(case.group, {"kinds": set(), "architectures": set()})
            group["kinds"].add(case.row["kind"])
            group["architectures"].add(find_gpu(case.row["gpu"]).architecture)
        return {name: {k: sorted(v) for k, v in values.items()} for name, values in sorted(found.items())}

    def parts(self, coefficients: Any) -> Any:
        """Return the predicted parts of every case."""
        plan = self.plan
        a2a = step_parts(self.raw, self.work, with_flag(plan, True), traits=self.traits, coefficients=coefficients)
        ring = step_parts(self.raw, self.work, with_flag(plan, False), traits=self.traits, coefficients=coefficients)
        names = ring.__slots__
        flag = plan.cp_all_to_all > 0
        return SimpleNamespace(**{n: np.where(flag, getattr(a2a, n), getattr(ring, n)) for n in names})

    def seconds(self, coefficients: Any) -> Any:
        """Return the predicted steps [s]."""
        return sum(vars(self.parts(coefficients)).values())


def with_flag(plan: Any, flag: bool) -> Any:
    """Return the plan columns with one way of context parallelism for all."""
    return SimpleNamespace(**{**vars(plan), "cp_all_to_all": flag})


def fit(table: Table, chosen: Any) -> dict[str, float]:
    """Return the coefficients that fit the chosen rows best."""
    names = list(BOUNDS)
    start, low, high = (np.array([BOUNDS[n][i] for n in names]) for i in range(3))
    sizes: dict[str, int] = defaultdict(int)
    for group in table.groups[chosen]:
        sizes[group] += 1
    quality = np.where(table.quality[chosen] == "A", 1.0, 0.5)
    weight = np.array([sizes[g] ** -0.5 for g in table.groups[chosen]]) * quality

    def residuals(x: Any) -> Any:
        values = low + (high - low) * x
        found = table.seconds(SimpleNamespace(**dict(zip(names, values, strict=True))))[chosen]
        errors = np.log(found / table.measured[chosen])
        # robust by hand, so that the weights act outside the loss
        scale = 0.15
        robust = np.sign(errors) * scale * np.sqrt(2 * (np.sqrt(1 + (errors / scale) ** 2) - 1))
        prior = 0.3 * (x - (start - low) / (high - low))
        return np.concatenate([weight * robust, prior])

    begin = (start - low) / (high - low)
    best = least_squares(residuals, begin, bounds=(0, 1), diff_step=1e-4)
    values = low + (high - low) * best.x
    return {name: float(f"{value:.4g}") for name, value in zip(names, values, strict=True)}


def report(table: Table, predicted: Any, title: str) -> dict[str, float]:
    """Print and return the errors of predictions, by group and for all quality-A rows."""
    error = predicted / table.measured - 1
    print(title)
    for group in sorted(set(table.groups)):
        e = error[table.groups == group]
        print(f"  {group:22} n={len(e):4} median |e| {np.median(abs(e)):.3f}  p90 {np.percentile(abs(e), 90):.3f}"
              f"  bias {np.median(e):+.3f}")  # fmt: skip
    good = abs(error[table.quality == "A"])
    print(f"  quality A: median {np.median(good):.3f} p90 {np.percentile(good, 90):.3f}")
    return {"median_error": round(float(np.median(good)), 4), "p90_error": round(float(np.percentile(good, 90)), 4)}


def main() -> None:
    """Fit all groups, then without each, and write the coefficients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path)
    parser.add_argument("--fast", action="store_true", help="do not leave groups out, write nothing")
    options = parser.parse_args()
    table = Table(read_cases(options.training))
    everything = np.ones(len(table.measured), bool)
    best = fit(table, everything)
    print(json.dumps(best, indent=1))
    inside = report(table, table.seconds(SimpleNamespace(**best)), "in sample")
    if options.fast:
        return
    without, outside = {}, np.zeros(len(table.measured))
    for group in sorted(set(table.groups)):
        without[group] = fit(table, table.groups != group)
        rows = table.groups == group
        outside[rows] = table.seconds(SimpleNamespace(**without[group]))[rows]
    left = report(table, outside, "leave one group out")
    assert set(best) == set(Coefficients.__slots__)
    data = {
        "all": best,
        "without": without,
        "cases": len(table.measured),
        "seen": table.seen(),
        "groups": {g: int((table.groups == g).sum()) for g in sorted(set(table.groups))},
        "date": datetime.date.today().isoformat(),
        "in_sample": inside,
        "leave_one_group_out": left,
    }
    assert math.isfinite(sum(best.values()))
    OUTPUT.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
