"""Model states of training - weights, gradients, optimizer - before any activation, as plain formulas."""

from __future__ import annotations

ADAM_MIXED_PRECISION_BYTES = 2 + 2 + 4 + 4 + 4
"""Bytes per trained parameter: bf16 weight and gradient, fp32 master weight and two moments ([zero] section 3.1)."""


def full_state_bytes(parameters: int) -> int:
    """Return the states of full fine-tuning with Adam in mixed precision, unsharded [bytes].

    >>> full_state_bytes(8_030_261_248) / 2**30
    119.66...

    Source: [zero] section 3.1
    """
    return ADAM_MIXED_PRECISION_BYTES * parameters


def adapter_state_bytes(trainable: int) -> int:
    """Return the states of the trainable adapter parameters with Adam in mixed precision [bytes].

    >>> adapter_state_bytes(1000)
    16000

    Source: [zero] section 3.1, [lora] section 4.2
    """
    return ADAM_MIXED_PRECISION_BYTES * trainable
