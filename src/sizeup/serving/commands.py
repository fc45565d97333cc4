"""The commands that start an engine the way a plan says: vLLM, SGLang, TensorRT-LLM, llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sizeup.llm.formats import format_named
from sizeup.plan.serving import Drafting, Load, ServingPlan


def _joined(words: list[str | None]) -> str:
    return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a command starts: the model, its plan and load, its layers, and the format its checkpoint has."""

    model: str
    plan: ServingPlan
    load: Load
    layers: int
    checkpoint: str

    @property
    def shrunk_at_load(self) -> bool:
        """Whether an engine makes fp8 weights of a 16-bit checkpoint while it loads them."""
        return self.plan.weight_format == "fp8" and self.checkpoint in ("bf16", "fp16")

    def converted(self, *, here: bool = True) -> str | None:
        """Return a remark where a checkpoint in another format is needed; ``here``: the engine shrinks by itself."""
        wanted = self.plan.weight_format
        if wanted == self.checkpoint or (here and self.shrunk_at_load):
            return None
        return f"  # needs a checkpoint in {wanted}"


def _vllm_drafting(drafting: Drafting | None) -> str | None:
    if drafting is None:
        return None
    named = f'"model": "{drafting.model}"' if drafting.model else f'"method": "{drafting.method}"'
    return f"--speculative-config '{{{named}, \"num_speculative_tokens\": {drafting.tokens}}}'"


def _sglang_drafting(drafting: Drafting | None) -> str | None:
    if drafting is None:
        return None
    algorithm = {"mtp": "NEXTN", "ngram": "NGRAM"}.get(drafting.method, "STANDALONE")
    other = f" --speculative-draft-model-path {drafting.model}" if drafting.model else ""
    return f"--speculative-algorithm {algorithm}{other} --speculative-num-steps {drafting.tokens}"


def vllm_flags(start: Start) -> str:
    """Return the command of vLLM."""
    plan, model = start.plan, start.model
    layout, expert = plan.layout, plan.layout.ep > 1
    share, tokens, most = plan.gpu_memory_utilization, plan.max_batched_tokens, plan.max_num_seqs
    return _joined([
        f"vllm serve {model}",
        f"--tensor-parallel-size {layout.tp}" if layout.tp > 1 else None,
        f"--pipeline-parallel-size {layout.pp}" if layout.pp > 1 else None,
        f"--data-parallel-size {layout.dp}" if layout.dp > 1 else None,
        "--enable-expert-parallel" if expert else None,
        f"--max-model-len {plan.max_model_len}" if plan.max_model_len else None,
        "--kv-cache-dtype fp8" if plan.kv_dtype.startswith("fp8") else None,
        f"--gpu-memory-utilization {share:g}" if share else None,
        f"--max-num-batched-tokens {tokens}" if tokens else None,
        f"--max-num-seqs {most}" if most else None,
        "--enforce-eager" if plan.eager else None,
        "--quantization fp8" if start.shrunk_at_load else None,
        _vllm_drafting(plan.drafting),
        start.converted(),
    ])  # fmt: skip


def sglang_flags(start: Start) -> str:
    """Return the command of SGLang."""
    plan, model = start.plan, start.model
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
        f"--context-length {plan.max_model_len}" if plan.max_model_len else None,
        "--kv-cache-dtype fp8_e4m3" if plan.kv_dtype.startswith("fp8") else None,
        f"--mem-fraction-static {share:g}" if share else None,
        f"--chunked-prefill-size {tokens}" if tokens else None,
        f"--max-running-requests {most}" if most else None,
        "--quantization fp8" if start.shrunk_at_load else None,
        _sglang_drafting(plan.drafting),
        start.converted(),
    ])  # fmt: skip


def trtllm_flags(start: Start) -> str:
    """Return the command of TensorRT-LLM."""
    plan, model = start.plan, start.model
    layout = plan.layout
    share, tokens, most = plan.gpu_memory_utilization, plan.max_batched_tokens, plan.max_num_seqs
    replicas = f"  # {layout.dp} replicas, one server each" if layout.dp > 1 and not layout.attention_dp else None
    whole = layout.tp * layout.dp if layout.attention_dp else layout.tp
    apart = "  # enable_attention_dp: true in --extra_llm_api_options" if layout.attention_dp else None
    return _joined([
        f"trtllm-serve {model}",
        f"--tp_size {whole}" if whole > 1 else None,
        f"--pp_size {layout.pp}" if layout.pp > 1 else None,
        f"--ep_size {layout.ep}" if layout.ep > 1 else None,
        f"--max_seq_len {plan.max_model_len}" if plan.max_model_len else None,
        f"--kv_cache_free_gpu_memory_fraction {share:g}" if share else None,
        f"--max_num_tokens {tokens}" if tokens else None,
        f"--max_batch_size {most}" if most else None,
        replicas,
        apart,
        start.converted(here=False),
    ])  # fmt: skip


def llamacpp_flags(start: Start) -> str:
    """Return the command of llama.cpp's server; its context is shared by all slots."""
    plan, load, model = start.plan, start.load, start.model
    slots = plan.max_num_seqs or max(1, load.concurrency)
    away, quantized = plan.offload_layers, plan.kv_dtype in ("q8_0", "q4_0")
    return _joined([
        f"llama-server -m {model.rpartition('/')[2]}-{plan.weight_format.upper()}.gguf",
        f"-c {(plan.max_model_len or load.longest) * slots}",
        f"-np {slots}" if slots > 1 else None,
        "-ngl 999" if not away else f"-ngl {start.layers + 1 - away}",
        f"--n-cpu-moe {plan.offload_experts}" if plan.offload_experts else None,
        f"-ctk {plan.kv_dtype} -ctv {plan.kv_dtype}" if quantized else None,
    ])  # fmt: skip


STARTERS: Mapping[str, Callable[[Start], str]] = {
    "vllm": vllm_flags, "sglang": sglang_flags, "trtllm": trtllm_flags, "llama.cpp": llamacpp_flags,
}  # fmt: skip


def commands(start: Start) -> dict[str, str]:
    """Return the commands of every engine that loads the plan's weight format; the plan's own engine first."""
    plan = start.plan
    if plan.engine == "transformers":
        return {}
    gguf = bool(plan.weight_format) and format_named(plan.weight_format).is_gguf
    names = ["llama.cpp"] if gguf else ["vllm", "sglang", "trtllm"]
    own = "llama.cpp" if plan.engine == "llamacpp" else plan.engine
    names.sort(key=lambda name: name != own)
    return {name: STARTERS[name](start) for name in names}
