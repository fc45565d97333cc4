"""Explanations of figures that are no estimates of their own: how each follows from those that are.

Nothing is computed here: every value is the answer's, written with the formula that made it.
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.envelope import FP32_BYTES, training_bytes_per_parameter
from sizeup.envelope_model import ModelEnvelope
from sizeup.estimate import Estimate, leaf
from sizeup.render.train_json import DEFINITIONS
from sizeup.serving.results import ServingAnswer
from sizeup.training.answer import TrainingAnswer
from sizeup.training.totals import Totals


def days_why(totals: Totals, step: Estimate) -> Estimate:
    """Return where the days of a run come from."""
    found = leaf(
        "time of the run", totals.days, "days", formula="steps x seconds per step / goodput / 86,400",
        inputs={"steps": totals.steps, "seconds per step": step.value, "goodput": totals.goodput}, sources=("llama3",),
        assumptions=totals.assumptions,
    )  # fmt: skip
    return replace(found, band=totals.days_band, because=(step,))


def price_why(totals: Totals) -> Estimate | None:
    """Return where the price of a run comes from."""
    offer = totals.instance
    if offer is None or totals.usd is None:
        return None
    return leaf(
        "price of the run", totals.usd, "dollars", formula="GPU-hours x dollars per GPU-hour",
        inputs={"GPU-hours": totals.gpu_hours, "dollars per GPU-hour": offer.usd_per_gpu_hour or 0},
        sources=tuple(filter(None, (offer.price_source,))),
        assumptions=(f"{offer.cloud} {offer.name}, on demand, {offer.region or 'region not stated'}, {offer.date}",),
    )  # fmt: skip


def mfu_why(answer: TrainingAnswer) -> Estimate:
    """Return what MFU is, and the step that it is of."""
    inputs = {"step": answer.step.value, "GPUs": answer.cluster.gpus}
    found = leaf("MFU", answer.mfu, "of the peak", formula=DEFINITIONS["mfu"], inputs=inputs)
    return replace(found, because=(answer.step,))


def tokens_price_why(answer: ServingAnswer) -> Estimate | None:
    """Return where the price of tokens comes from."""
    offer, speed = answer.instance, answer.speed
    if answer.usd_per_million_output_tokens is None or offer is None or speed is None:
        return None
    found = leaf(
        "a million output tokens", answer.usd_per_million_output_tokens, "dollars",
        formula="GPUs x dollars per GPU-hour / (output tokens per second x 3,600) x 1,000,000",
        inputs={"GPUs": answer.plan.layout.gpus, "dollars per GPU-hour": offer.usd_per_gpu_hour or 0,
                "output tokens per second": speed.output_rate.value},
        sources=tuple(filter(None, (offer.price_source,))),
        assumptions=(f"{offer.cloud} {offer.name}, on demand, {offer.region or 'region not stated'}, {offer.date}",),
    )  # fmt: skip
    return replace(found, because=(speed.output_rate,))


def envelope_whys(found: ModelEnvelope) -> dict[str, Estimate]:
    """Return the rules with the numbers put in: store, train, work and gpu_days."""
    parameters = {"parameters": found.parameters}
    train = training_bytes_per_parameter()
    each = found.flops_per_parameter_per_token
    work = leaf(
        "work", found.petaflop_s_days, "petaflop/s-days",
        formula=f"{each} x parameters x tokens / (10^15 x 86,400)", inputs={**parameters, "tokens": found.tokens},
        sources=("kaplan2020",), assumptions=(found.tokens_note,),
    )  # fmt: skip
    peak = {"peak": found.peak_flops_per_second, "share": found.utilization, "FLOP": found.flops}
    days = leaf("GPU time", found.gpu_days, "GPU-days", formula="FLOP / (peak x share) / 86,400", inputs=peak,
                sources=found.gpu.sources[:1])  # fmt: skip
    return {
        "store": leaf("to store", found.store_bytes, "bytes", formula=f"{FP32_BYTES} x parameters", inputs=parameters,
                      sources=("azad2024",)),
        "train": replace(
            leaf("to train", found.train_bytes, "bytes", formula=f"{train.value} x parameters", inputs=parameters,
                 sources=("azad2024",)),
            because=(train,)),
        "work": work,
        "gpu_days": replace(days, because=(work,)),
    }  # fmt: skip
