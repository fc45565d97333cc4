"""The commands that start an engine the way a plan says: vLLM, SGLang, TensorRT-LLM, llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sizeup.llm.formats import format_named
from sizeup.plan.serving import Load, ServingPlan


def _joined(words: list[str | None]) -> str:
    return " ".join(word for word in words if word)


def _context(plan: ServingPlan, load: Load) -> int:
    return plan.max_model_len or load.longest


def vllm_flags(model: str, plan: ServingPlan, load: Load) -> str:
    """Return the command of vLLM."""
    layout, expert = plan.layout, plan.layout.ep > 1
    share, tokens, most = plan.gpu_memory_utilization, plan.max_batched_tokens, plan.max_num_seqs
    return _joined([
        f"vllm serve {model}",
        f"--tensor-parallel-size {layout.tp}" if layout.tp > 1 else None,
        f"--pipeline-parallel-size {layout.pp}" if layout.pp > 1 else None,
        f"--data-parallel-size {layout.dp}" if layout.dp > 1 else None,
        "--enable-expert-parallel" if expert else None,
        f"--max-model-len {_context(plan, load)}",
        "--kv-cache-dtype fp8" if plan.kv_dtype.startswith("fp8") else None,
        f"--gpu-memory-utilization {share:g}" if share else None,
        f"--max-num-batched-tokens {tokens}" if tokens else None,
        f"--max-num-seqs {most}" if most else None,
        "--enforce-eager" if plan.eager else None,
    ])  # fmt: skip


def sglang_flags(model: str, plan: ServingPlan, load: Load) -> str:
    """Return the command of SGLang."""
    layout = plan.layout
    share, tokens, most = plan.gpu_memory_utilization, plan.max_batched_tokens, plan.max_num_seqs
    whole = layout.tp * layout.dp if layout.attention_dp else layout.tp
    return _joined([
        f"python -m sglang.launch_server --model-path {model}",
        f"--tp {whole}" if whole > 1 else None,
        f"--pp-size {layout.pp}" if layout.pp > 1 else None,
        f"--dp {layout.dp}" if layout.dp > 1 else None,
        "--enable-dp-attention" if layout.attention_dp else None,
        f"--ep-size {layout.ep}" if layout.ep > 1 else None,
        f"--context-length {_context(plan, load)}",
        "--kv-cache-dtype fp8_e4m3" if plan.kv_dtype.startswith("fp8") else None,
        f"--mem-fraction-static {share:g}" if share else None,
        f"--chunked-prefill-size {tokens}" if tokens else None,
        f"--max-running-requests {most}" if most else None,
    ])  # fmt: skip


def trtllm_flags(model: str, plan: ServingPlan, load: Load) -> str:
    """Return the command of TensorRT-LLM."""
    layout = plan.layout
    share, tokens, most = plan.gpu_memory_utilization, plan.max_batched_tokens, plan.max_num_seqs
    replicas = f"  # {layout.dp} replicas, one server each" if layout.dp > 1 and not layout.attention_dp else None
    return _joined([
        f"trtllm-serve {model}",
        f"--tp_size {layout.tp}" if layout.tp > 1 else None,
        f"--pp_size {layout.pp}" if layout.pp > 1 else None,
        f"--ep_size {layout.ep}" if layout.ep > 1 else None,
        f"--max_seq_len {_context(plan, load)}",
        f"--kv_cache_free_gpu_memory_fraction {share:g}" if share else None,
        f"--max_num_tokens {tokens}" if tokens else None,
        f"--max_batch_size {most}" if most else None,
        replicas,
    ])  # fmt: skip


def llamacpp_flags(model: str, plan: ServingPlan, load: Load) -> str:
    """Return the command of llama.cpp's server; its context is shared by all slots."""
    slots = plan.max_num_seqs or max(1, load.concurrency)
    away, quantized = plan.offload_layers, plan.kv_dtype in ("q8_0", "q4_0")
    return _joined([
        f"llama-server -hf {model}" if "/" in model else f"llama-server -m {model}.gguf",
        f"-c {_context(plan, load) * slots}",
        f"-np {slots}" if slots > 1 else None,
        "-ngl 999" if not away else f"-ngl N  # leave {away} layers on the host",
        f"--n-cpu-moe {plan.offload_experts}" if plan.offload_experts else None,
        f"-ctk {plan.kv_dtype} -ctv {plan.kv_dtype}" if quantized else None,
    ])  # fmt: skip


COMMANDS: Mapping[str, Callable[[str, ServingPlan, Load], str]] = {
    "vllm": vllm_flags, "sglang": sglang_flags, "trtllm": trtllm_flags, "llama.cpp": llamacpp_flags,
}  # fmt: skip


def flags(model: str, plan: ServingPlan, load: Load) -> dict[str, str]:
    """Return the commands of every engine that loads the plan's weight format; the plan's own engine first."""
    gguf = bool(plan.weight_format) and format_named(plan.weight_format).is_gguf
    names = ["llama.cpp"] if gguf else ["vllm", "sglang", "trtllm"]
    own = "llama.cpp" if plan.engine == "llamacpp" else plan.engine
    names.sort(key=lambda name: name != own)
    return {name: COMMANDS[name](model, plan, load) for name in names}
