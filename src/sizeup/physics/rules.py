"""The rules of thumb, as pure functions of plain numbers. Each cites where it comes from; none has a hidden default."""

from __future__ import annotations

import math

from sizeup.units import PETAFLOP_S_DAY, SECONDS_PER_DAY


def gpus_for_bytes(needed_bytes: float, *, gpu_bytes: float) -> int:
    """Return the fewest GPUs whose memory adds up to ``needed_bytes``.

    GPT-3 at 24 bytes per parameter on 32 GB cards:

    >>> gpus_for_bytes(175e9 * 24, gpu_bytes=32e9)
    132

    Source: [azad2024]
    """
    return math.ceil(needed_bytes / gpu_bytes)


def training_flops(*, parameters: float, tokens: float, flops_per_parameter_per_token: float) -> float:
    """Return the FLOP of a training run [FLOP]: 6 per parameter and token for a decoder (2 forward, 4 backward).

    GPT-3's own count (an encoder-decoder uses half of its parameters for each token, so 3):

    >>> training_flops(parameters=174.6e9, tokens=300e9, flops_per_parameter_per_token=6)
    3.1428e+23

    Source: [kaplan2020] section 2.1, [gpt3] Table D.1
    """
    return flops_per_parameter_per_token * parameters * tokens


def petaflop_s_days(flops: float) -> float:
    """Return an amount of work in petaflop/s-days: 10^15 FLOP/s for a day, 8.64e19 FLOP.

    >>> round(petaflop_s_days(3.1428e23), 1)
    3637.5

    Source: [gpt3] Table D.1
    """
    return flops / PETAFLOP_S_DAY


def gpu_days(flops: float, *, peak_flops_per_second: float, utilization: float) -> float:
    """Return the GPU-days that ``flops`` take at ``utilization`` of the peak.

    One petaflop/s-day on V100 tensor cores (125 TFLOP/s) at full efficiency is 8 GPU-days:

    >>> gpu_days(8.64e19, peak_flops_per_second=125e12, utilization=1.0)
    8.0

    Source: [azad2024]
    """
    return flops / (peak_flops_per_second * utilization * SECONDS_PER_DAY)


def gpus_for_deadline(total_gpu_days: float, *, days: float) -> int:
    """Return the fewest GPUs that do ``total_gpu_days`` of work within ``days``.

    >>> gpus_for_deadline(29600, days=30)
    987

    Source: [azad2024]
    """
    return math.ceil(total_gpu_days / days)


def chinchilla_tokens(parameters: float) -> float:
    """Return the compute-optimal training tokens by the rule of 20 per parameter.

    >>> chinchilla_tokens(175e9) / 1e12
    3.5

    Source: [chinchilla] Table 3 (19.9 to 21.6 tokens per parameter in its rows)
    """
    tokens_per_parameter = 20
    return tokens_per_parameter * parameters


def lora_parameters(*, out_features: int, in_features: int, rank: int) -> int:
    """Return the trainable parameters that LoRA adds to one matrix: A is rank x in, B is out x rank.

    GPT-3, query and value of 96 layers, rank 4:

    >>> 96 * 2 * lora_parameters(out_features=12288, in_features=12288, rank=4)
    18874368

    Source: [lora] section 4.2
    """
    return rank * (out_features + in_features)


def zero_model_state_bytes(parameters: float, *, data_parallel: int, stage: int) -> float:
    """Return the bytes per GPU of weights, gradients and Adam states in mixed precision under ZeRO ``stage`` 0-3.

    Weights and gradients take 2 bytes each, fp32 master weights and two moments 12.

    >>> zero_model_state_bytes(7.5e9, data_parallel=64, stage=3) / 1e9
    1.875

    Source: [zero] Table 1
    """
    weights, gradients, optimizer = 2 * parameters, 2 * parameters, 12 * parameters
    optimizer = optimizer / data_parallel if stage >= 1 else optimizer
    gradients = gradients / data_parallel if stage >= 2 else gradients
    weights = weights / data_parallel if stage >= 3 else weights
    return weights + gradients + optimizer
