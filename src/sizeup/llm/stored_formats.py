"""How a checkpoint stores its weights, from ``quantization_config``: which modules are quantized, and to what layout.

One small reader per ``quant_method``; a method or variant that nobody has read closely is refused, not guessed.
"""

from __future__ import annotations

from sizeup.errors import UserError, nearest_names
from sizeup.llm import stored_groups, stored_methods
from sizeup.llm.architecture import Architecture
from sizeup.llm.stored_base import Settings, StoredFormat, section

READERS = {
    "fp8": stored_methods.fp8,
    "fbgemm_fp8": stored_methods.fbgemm,
    "gptq": stored_methods.gptq,
    "gptq_marlin": stored_methods.gptq,
    "awq": stored_methods.awq,
    "bitsandbytes": stored_methods.bitsandbytes,
    "bitsandbytes_4bit": stored_methods.bitsandbytes,
    "bitsandbytes_8bit": stored_methods.bitsandbytes,
    "mxfp4": stored_methods.mxfp4,
    "hqq": stored_methods.hqq,
    "eetq": stored_methods.eetq,
    "torchao": stored_methods.torchao,
    "compressed-tensors": stored_groups.compressed_tensors,
    "compressed_tensors": stored_groups.compressed_tensors,
    "modelopt": stored_groups.modelopt,
    "modelopt_fp4": stored_groups.modelopt,
    "quark": stored_groups.quark,
}
"""What reads each ``quant_method``; adding a method is one function and one line here."""


def _method(settings: Settings) -> str:
    method = settings.get("quant_method")
    if isinstance(method, str) and method:
        return method.lower()
    producer = section(settings, "producer").get("name")
    if producer == "modelopt" or "quant_algo" in settings:
        return "modelopt"
    if any(settings.get(key) or settings.get(f"_{key}") for key in ("load_in_4bit", "load_in_8bit")):
        return "bitsandbytes"
    if "config_groups" in settings:
        return "compressed-tensors"
    raise UserError("quantization_config names no quant_method")


def stored_format(architecture: Architecture) -> StoredFormat | None:
    """Return how the checkpoint of ``architecture`` is quantized, or None when it is not.

    Raises:
        UserError: a method that is not known, or settings that make no sense.
    """
    settings = architecture.quantization
    if not settings:
        return None
    method = _method(settings)
    if method not in READERS:
        raise UserError(
            f'quantization_config: quant_method "{method[:60]}" is not known',
            hint="name the format with --format, or read the weight files' headers",
            nearest=nearest_names(method, READERS),
        )
    return READERS[method](settings, architecture)
