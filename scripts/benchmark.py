"""Print how long the usual answers take on this machine, the median of several runs.

    python scripts/benchmark.py

Peers, as they publish or as others measured them: hf-mem 0.4-1.2 s, llmfit 0.05-1.9 s, accelerate estimate-memory 10 s;
aiconfigurator 9 s cold, 77-139 points/s of its search.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

RUNS = 7


def median_seconds(action: Callable[[], object], *, runs: int = RUNS) -> float:
    """Return the median time of ``action`` [s]."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def command(*words: str) -> Callable[[], object]:
    """Return a cold run of the command line."""
    call = [sys.executable, "-c", "from sizeup.cli import main; main()", *words]
    return lambda: subprocess.run(call, capture_output=True, check=False)


def catalog() -> int:
    """Size every model of the catalog in this process; returns how many."""
    from sizeup.catalog.lookup import list_models
    from sizeup.llm.cache import cache_total
    from sizeup.llm.families import build
    from sizeup.llm.parameters import count_parameters

    records = list_models()
    for record in records:
        architecture = build(record.config(), where=record.name)
        count_parameters(architecture)
        cache_total(architecture, tokens=8192)
    return len(records)


def plans_per_second() -> float:
    """Return how many plans of GPT-3 175B on 1,024 A100 one core searches in a second of its own time."""
    from sizeup.machine import parse_machine
    from sizeup.plan.training import TrainingPlan
    from sizeup.sizing import model
    from sizeup.training.search import search

    architecture, cluster = model("opt-175b").architecture, parse_machine("1024xa100")
    assert architecture is not None
    base = TrainingPlan(sequence_length=2048, global_batch=1536)
    search(architecture, base, cluster)
    rates = []
    for _ in range(RUNS):
        start = time.process_time()
        found = search(architecture, base, cluster)
        rates.append(found.evaluated / (time.process_time() - start))
    return statistics.median(rates)


def serving_points_per_second() -> float:
    """Return how many plans and loads of DeepSeek-V3 on 64 H200 one core searches in a second of its own time."""
    from sizeup.machine import parse_machine
    from sizeup.plan.serving import Load, ServingPlan
    from sizeup.serving.results import Targets
    from sizeup.serving.search import Question, find
    from sizeup.sizing import model

    architecture, cluster = model("deepseek-v3").architecture, parse_machine("64xh200")
    assert architecture is not None
    load = Load(input_tokens=2048, output_tokens=256, concurrency=1024)
    asked = Question(name="deepseek-v3", architecture=architecture, load=load, targets=Targets())
    find(asked, ServingPlan(), cluster)
    rates = []
    for _ in range(RUNS):
        start = time.process_time()
        found = find(asked, ServingPlan(), cluster)
        rates.append(found.searched / (time.process_time() - start))
    return statistics.median(rates)


def replayed_requests_per_second() -> float:
    """Return how many random requests to Llama-3.1-8B on one H100 are replayed in a second of one core."""
    from sizeup.serving.scenario import RANDOM_REQUESTS, serve

    times = []
    for seed in range(1, RUNS + 1):
        start = time.process_time()
        serve("llama-3.1-8b", gpu="h100", gpus=1, rate=8, seed=seed)
        times.append(time.process_time() - start)
    return RANDOM_REQUESTS / statistics.median(times)


def main() -> None:
    """Print the table."""
    rows: list[tuple[str, Callable[[], object], int]] = [
        ("python itself", lambda: subprocess.run([sys.executable, "-c", "pass"], check=False), RUNS),
        ("python, import click", lambda: subprocess.run([sys.executable, "-c", "import click"], check=False), RUNS),
        ("sizeup --help", command("--help"), RUNS),
        ("sizeup llama-3.1-8b", command("llama-3.1-8b"), RUNS),
        ("sizeup llama-3.1-8b --gpu rtx-4090", command("llama-3.1-8b", "--gpu", "rtx-4090"), RUNS),
        ("sizeup deepseek-v3 --json", command("deepseek-v3", "--json"), RUNS),
        ("sizeup envelope", command("envelope"), RUNS),
        ("sizeup train llama-3-70b, 64 H100", command("train", "llama-3-70b", "--gpu", "64xh100"), RUNS),
        ("sizeup serve llama-3.1-8b, 1 H100", command("serve", "llama-3.1-8b", "--gpu", "1xh100", "--gpus", "1"), RUNS),
        ("sizeup serve deepseek-v3, 8 H200", command("serve", "deepseek-v3", "--gpu", "8xh200"), RUNS),
        ("sizeup fit, RTX 4090", command("fit", "--gpu", "rtx-4090"), RUNS),
        ("sizeup train gpt3-175b, 1,024 A100", command("train", "gpt3-175b", "--gpu", "1024xa100-80gb"), RUNS),
        ("all catalog models in one process", catalog, 1),
    ]
    for name, action, runs in rows:
        print(f"{name:40} {median_seconds(action, runs=runs) * 1000:9.0f} ms")
    print(f"{'training plans searched, one core':40} {plans_per_second():9,.0f} /s")
    print(f"{'serving points searched, one core':40} {serving_points_per_second():9,.0f} /s")
    print(f"{'requests replayed, one core':40} {replayed_requests_per_second():9,.0f} /s")


if __name__ == "__main__":
    main()
