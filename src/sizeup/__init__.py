"""sizeup: does this LLM fit, how long does it take, what does it cost - with receipts.

>>> import sizeup
>>> sizeup.model("llama-3.1-8b").parameters
8030261248
>>> answer = sizeup.train("llama-3.1-8b", gpu="h100", gpus=8, tokens="15T")
>>> answer.fits, answer.plan.layout.gpus
(True, 8)
>>> sizeup.find_gpu("h100").memory_bytes / 2**30 > 79
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sizeup.card import Card, size_card
    from sizeup.envelope import Envelope
    from sizeup.envelope import envelope as rules_of_thumb
    from sizeup.envelope_model import envelope_of
    from sizeup.errors import UserError
    from sizeup.estimate import Band, Estimate
    from sizeup.machine import Cluster, Gpu, Instance, find_gpu, list_gpus, list_instances, parse_machine
    from sizeup.serving.results import ServingAnswer
    from sizeup.serving.scenario import serve
    from sizeup.sizing import Model, model
    from sizeup.training.answer import TrainingAnswer
    from sizeup.training.scenario import train

__version__ = "0.1.0"

_HOME = {
    "Band": "estimate",
    "Card": "card",
    "Cluster": "machine",
    "Envelope": "envelope",
    "Estimate": "estimate",
    "Gpu": "machine",
    "Instance": "machine",
    "Model": "sizing",
    "UserError": "errors",
    "envelope_of": "envelope_model",
    "find_gpu": "machine",
    "list_gpus": "machine",
    "list_instances": "machine",
    "model": "sizing",
    "parse_machine": "machine",
    "serve": "serving.scenario",
    "size_card": "card",
    "train": "training.scenario",
    "ServingAnswer": "serving.results",
    "TrainingAnswer": "training.answer",
}
"""The module that holds each public name; it is imported when the name is first used."""

_RENAMED = {"rules_of_thumb": ("envelope", "envelope")}

__all__ = [
    "Band",
    "Card",
    "Cluster",
    "Envelope",
    "Estimate",
    "Gpu",
    "Instance",
    "Model",
    "ServingAnswer",
    "TrainingAnswer",
    "UserError",
    "__version__",
    "envelope_of",
    "find_gpu",
    "list_gpus",
    "list_instances",
    "model",
    "parse_machine",
    "rules_of_thumb",
    "serve",
    "size_card",
    "train",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOME and name not in _RENAMED:
        raise AttributeError(f"module 'sizeup' has no attribute {name!r}")
    module, attribute = _RENAMED.get(name, (_HOME.get(name, ""), name))
    return getattr(importlib.import_module(f"sizeup.{module}"), attribute)


def __dir__() -> list[str]:
    return list(__all__)
