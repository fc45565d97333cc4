"""The oracle, live: fresh random configurations built by transformers on torch's meta device, against our counts.

Runs where torch and transformers are installed (``pip install -e '.[oracle]'``; CI does it): ``pytest -m oracle``.
``SIZEUP_ORACLE_SEED`` chooses other draws than the ones kept in ``tests/oracle``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sizeup.llm.cache import cache_size
from sizeup.llm.families import build, model_types
from sizeup.llm.parameters import count_parameters

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from oracle import draw  # noqa: E402
from oracle.build import allow_scalars_on_meta, count  # noqa: E402
from oracle.cache import cache_records  # noqa: E402
from oracle.cases import random_case  # noqa: E402
from oracle.common import causal_types, last_line  # noqa: E402

SPARSE_CASE = 5
"""A case number above half of the script's: only the changed keys are written, so class defaults are tested too."""

draw.SEED = os.environ.get("SIZEUP_ORACLE_SEED", "live-1")
torch.set_num_threads(1)
LIBRARY = allow_scalars_on_meta()
TYPES = [name for name in causal_types() if name in model_types()]


def _auto() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM


def test_we_know_nearly_every_causal_type() -> None:
    unknown = set(causal_types()) - set(model_types())
    assert unknown <= {"musicgen", "musicgen_melody", "gemma3n"}, sorted(unknown)


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("number", [1, SPARSE_CASE])
def test_a_fresh_random_model_has_our_parameters_and_cache(model_type: str, number: int) -> None:
    found = random_case(_auto(), model_type, number)
    if found is None:
        pytest.skip("transformers builds no random configuration of this type")
    config, model = found
    architecture = build(config)
    assert count_parameters(architecture) == count(model), config
    if number != SPARSE_CASE:
        return
    try:
        records = list(cache_records(model_type, "live", config))
    except Exception as error:
        pytest.skip(f"transformers runs no forward: {last_line(error)}")
    for record in records:
        size = cache_size(architecture, tokens=record["tokens"], sequences=record["sequences"], dtype=record["dtype"])
        assert size.value == record["cache_bytes"], config
