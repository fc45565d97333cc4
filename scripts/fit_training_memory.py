"""Learn the coefficients of training memory: ``python scripts/fit_training_memory.py CASES.csv``.

Writes ``src/sizeup/fitted/training_memory.json``: coefficients from all groups, and without each group. SciPy is needed
here only. Coefficients are bounded to what is physically possible and drawn towards a prior, so that a meter nobody
has measured keeps the prior.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scipy.optimize import least_squares

from sizeup.errors import UserError
from sizeup.evidence.cases import Case, read_cases
from sizeup.machine.gpus import find_gpu
from sizeup.physics.meters import Coefficients, communicators, fragmented_bytes, within_card, workspace_bytes
from sizeup.physics.training_facts import training_facts
from sizeup.physics.training_memory import columns_of, fragmentation_share, worst_stages
from sizeup.physics.training_ranks import Moment, allocated, moments
from sizeup.training.case_plan import plan_of_case

TARGET = Path(__file__).parent.parent / "src/sizeup/fitted/training_memory.json"
GIB = 2**30
FITTED = {
    "fragmentation": (0.0, 0.3),
    "compiled_fragmentation": (0.0, 0.3),
    "idle": (0.0, 1.0),
    "channel_bytes": (0.1 * GIB, 0.6 * GIB),
    "context_bytes": (0.3 * GIB, 1.0 * GIB),
}
CAPPED = frozenset({"hf-peft"})
"""Groups whose sequence length is only a cap: their pool is bounded from above, so it says nothing about waste."""

PRIOR = Coefficients()
PRIOR_WEIGHT = 0.5
"""Pull of the prior, in standard deviations of one tenth of the range, against the residual of one group."""


@dataclass(frozen=True)
class Known:
    """A measured case with all that does not depend on coefficients worked out."""

    group: str
    case_id: str
    meter: str
    measured: float
    compiled: bool
    complete: bool
    found: tuple[tuple[Moment, float], ...]
    workspace: float
    communicators: int
    capacity: float

    def predicted(self, known: Coefficients) -> float:
        """Return the predicted bytes of this case's meter."""
        share = fragmentation_share(known, compiled=self.compiled)
        if self.meter == "allocated":
            return max(live for _, live in self.found) + self.workspace
        live = max(live for _, live in self.found) + self.workspace
        pool = max(live + fragmented_bytes(m, share=share, idle=known.idle) for m, live in self.found) + self.workspace
        outside = known.context_bytes + self.communicators * known.channel_bytes
        pool = within_card(pool, live=live, outside=outside, capacity=self.capacity)
        return pool if self.meter == "reserved" else pool + outside


def prepared(case: Case) -> Known | None:
    """Return the case ready for fitting, or None where it measured no memory or cannot be predicted."""
    row = case.row
    if not row.get("mem_gib"):
        return None
    try:
        architecture, gpu = case.architecture(), find_gpu(row["gpu"])
        plan = plan_of_case(row, architecture)
        facts, columns = training_facts(architecture, plan), columns_of(plan)
    except UserError:
        return None
    stages = (columns.pp - 1,) if row.get("mem_rank") == "last" else sorted({int(s) for s in worst_stages(columns)})
    found = [moment for stage in stages for moment in moments(facts, columns, stage=stage).values()]
    return Known(
        group=case.group,
        case_id=case.case_id,
        meter=row.get("mem_meter") or "nvidia-smi",
        measured=float(row["mem_gib"]) * GIB,
        compiled=bool(plan.compile),
        complete=row.get("quality") == "A",
        found=tuple((moment, float(allocated(moment))) for moment in found),
        workspace=workspace_bytes(gpu),
        communicators=int(communicators(columns)),
        capacity=gpu.memory_bytes,
    )


def _fit_names(cases: list[Known], start: Coefficients, names: tuple[str, ...]) -> Coefficients:
    """Return ``start`` with ``names`` fitted to ``cases``, every group weighing the same."""
    sizes = {group: sum(c.group == group for c in cases) for group in {c.group for c in cases}}
    bounds = [FITTED[name] for name in names]
    prior = [(getattr(PRIOR, n) - low) / (high - low) for n, (low, high) in zip(names, bounds, strict=True)]
    tenth = 10

    def known(values: Any) -> Coefficients:
        pairs = zip(names, values, bounds, strict=True)
        return replace(start, **{name: low + v * (high - low) for name, v, (low, high) in pairs})

    def residuals(values: Any) -> list[float]:
        tried = known(values)
        errors = [(c, math.log(c.predicted(tried) / c.measured)) for c in cases]
        own = [error * tenth / math.sqrt(sizes[c.group]) for c, error in errors]
        return own + [PRIOR_WEIGHT * (v - p) for v, p in zip(values, prior, strict=True)]

    return known(least_squares(residuals, prior, bounds=(0, 1), loss="soft_l1", diff_step=0.01).x)


def fit(cases: list[Known]) -> Coefficients:
    """Return the allocator's coefficients from cases that read its pool, then the driver's from nvidia-smi."""
    pool = [c for c in cases if c.meter == "reserved" and c.complete and c.group not in CAPPED]
    driver = [c for c in cases if c.meter == "nvidia-smi"]
    known = _fit_names(pool, PRIOR, ("fragmentation", "compiled_fragmentation", "idle"))
    return _fit_names(driver, known, ("channel_bytes", "context_bytes"))


def spread(cases: list[Known], known: Coefficients) -> float:
    """Return the standard deviation of log(measured / predicted) that gives its 90th percentile."""
    sizes = [abs(math.log(c.predicted(known) / c.measured)) for c in cases]
    # 90 % of a normal law lie within 1.645 standard deviations
    return statistics.quantiles(sizes, n=10)[-1] / 1.645


def learned(cases: list[Known]) -> dict[str, Any]:
    """Return coefficients with their provenance."""
    used = [c for c in cases if c.meter != "allocated"]
    known = fit(used)
    values = asdict(known) | {"device_spread": spread([c for c in cases if c.complete], known)}
    return values | {"cases": len(used), "groups": sorted({c.group for c in used})}


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    rows = read_cases(parser.parse_args().cases)
    cases = [known for case in rows if (known := prepared(case))]
    groups = sorted({case.group for case in rows})
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "case_ids": sorted(c.case_id for c in cases if c.meter != "allocated"),
        "all": learned(cases),
        "without": {group: learned([c for c in cases if c.group != group]) for group in {c.group for c in cases}},
    }
    record["without"] = {group: record["without"].get(group, record["all"]) for group in groups}
    TARGET.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
