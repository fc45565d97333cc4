"""The weights as the checkpoint stores them: by its ``quantization_config``, else in its dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sizeup.estimate import Estimate
from sizeup.llm.architecture import Architecture
from sizeup.llm.formats import format_named, weight_bytes

if TYPE_CHECKING:
    from sizeup.llm.stored_base import StoredFormat


def stored_as(architecture: Architecture) -> StoredFormat | None:
    """Return how the checkpoint is quantized, or None when it is not.

    Raises:
        UserError: a quantization method that is not known.
    """
    if architecture.quantization is None:
        return None
    from sizeup.llm.stored_formats import stored_format  # most models are not quantized

    return stored_format(architecture)


def stored_weight_bytes(architecture: Architecture, *, multi_token_prediction: bool = False) -> Estimate:
    """Return the bytes of the weights as the checkpoint stores them: its quantization, or its dtype.

    Raises:
        UserError: a quantization method or a dtype that is not known.
    """
    stored = stored_as(architecture)
    if stored is None:
        return weight_bytes(architecture, architecture.dtype, multi_token_prediction=multi_token_prediction)
    return stored.weight_bytes(architecture, multi_token_prediction=multi_token_prediction)


def stored_format_name(architecture: Architecture) -> str:
    """Return the name of the format in which the checkpoint stores its weights.

    Raises:
        UserError: a quantization method or a dtype that is not known.
    """
    stored = stored_as(architecture)
    return format_named(architecture.dtype).name if stored is None else stored.name
