"""Residuals of all measured cases, each predicted without its own group: writes ``fitted/bands.json``.

    python scripts/fit_bands.py MEASURED.csv [MEASURED.csv ...]

Run it after the coefficients are fitted. A table without a predictor yet is left as it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sizeup.evidence.cases import read_cases
from sizeup.evidence.validate import predict_case, residuals_of, summarise, with_bands

OUTPUT = Path(__file__).parents[1] / "src/sizeup/fitted/bands.json"


def main() -> None:
    """Predict every case without its group and write the residuals by kind of number and group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+")
    kept = json.loads(OUTPUT.read_text("utf-8"))["residuals"] if OUTPUT.is_file() else {}
    for path in parser.parse_args().tables:
        cases = read_cases(path)
        records = [record for case in cases for record in predict_case(case, leave_out=True)]
        found = residuals_of(records)
        kept = {key: value for key, value in kept.items() if not key.startswith(cases[0].table + "/")}
        kept |= {
            key: {group: [float(f"{r:.4g}") for r in values] for group, values in groups.items()}
            for key, groups in found.items()
        }
        for row in summarise(with_bands(records, residuals=found), by_group=False):
            print(row)
    OUTPUT.write_text(json.dumps({"residuals": dict(sorted(kept.items()))}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
