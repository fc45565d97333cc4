"""What ``sizeup train`` may be asked: every flag, for the command line, scenario files, Python and the page alike."""

from __future__ import annotations

from collections.abc import Mapping

from sizeup.scenario import Flag, Kind

LAYOUT = ("tp", "pp", "vpp", "cp", "ep", "etp", "dp", "micro_batch", "sharding", "recompute")
"""Flags that the search leaves alone when they are given."""

METHODS = ("pretrain", "full", "lora", "qlora")

FLAGS: Mapping[str, Flag] = {
    "model": Flag("text", "What is trained: a name, a Hub id, a config.json."),
    "gpu": Flag("text", "Card or cloud instance: h100, rtx-4090, p5.48xlarge, 8xa100.", "G"),
    "gpus": Flag("count", "Number of cards."),
    "method": Flag(METHODS, "What is trained (pretrain by default)."),
    "framework": Flag("text", "megatron, nemo, torchtitan, hf, hf-deepspeed, litgpt, ...", "F"),
    "sequence_length": Flag("tokens", "Tokens of one sequence.", "S"),
    "global_batch": Flag("count", "Sequences per optimizer step.", "B"),
    "tokens": Flag("amount", "Tokens of the whole run: 300B, 2T.", "T"),
    "tp": Flag("count", "Tensor parallelism."),
    "pp": Flag("count", "Pipeline parallelism."),
    "vpp": Flag("count", "Pipeline chunks per rank."),
    "cp": Flag("count", "Context parallelism."),
    "ep": Flag("count", "Expert parallelism."),
    "etp": Flag("count", "Expert-tensor parallelism."),
    "dp": Flag("count", "Data parallelism."),
    "sharding": Flag(("none", "zero1", "zero2", "zero3", "fsdp", "hsdp"), "What data-parallel ranks split."),
    "micro_batch": Flag("count", "Sequences per rank and forward pass."),
    "recompute": Flag(("none", "selective", "per-op", "full"), "Activation recomputation."),
    "recompute_layers": Flag("count", "Recompute only the first N layers, fully."),
    "schedule": Flag(("1f1b", "zb-h1", "zb-h2", "dualpipe"), "Pipeline schedule (1f1b; interleaved with --vpp)."),
    "sequence_parallel": Flag(("yes", "no"), "Tensor ranks split the sequence outside products too (yes)."),
    "shard_group": Flag("count", "Ranks that share one copy of sharded states (hsdp: a node)."),
    "cp_comm": Flag(("p2p", "a2a"), "Context exchange: ring or all-to-all."),
    "async_tp": Flag("flag", "Tensor-parallel collectives run beside the products."),
    "expert_load": Flag("factor", "Busiest expert rank over the mean: capacity factor or imbalance (1).", "X"),
    "dtype": Flag("text", "Products in bf16, fp16, fp8, mxfp8, nvfp4.", "D"),
    "master_weights": Flag(("fp32", "bf16", "none"), "Copy the optimizer updates."),
    "grad_dtype": Flag(("fp32", "bf16", "fp16"), "Sum of gradients."),
    "optimizer": Flag("text", "adamw, adamw8bit, paged-adamw, adafactor, muon, lion, sgd, ...", "O"),
    "attention": Flag(("flash", "sdpa", "eager"), "Attention implementation."),
    "loss": Flag(("plain", "fused", "chunked"), "Cross-entropy implementation."),
    "compile": Flag("flag", "torch.compile."),
    "packing": Flag("flag", "Samples of --mean-length are packed, not padded, to the sequence."),
    "mean_length": Flag("tokens", "Mean tokens of a sample (default: they fill the sequence).", "L"),
    "rank": Flag("count", "LoRA rank.", "R"),
    "base_quant": Flag(("nf4", "nf4-dq", "gptq-int4", "int8"), "Frozen weights."),
    "lora_targets": Flag(("qv", "qkv", "attn", "mlp", "all-linear"), "Which matrices have adapters."),
    "dora": Flag("flag", "DoRA: adapters with magnitudes."),
    "offload_optimizer": Flag("flag", "Optimizer states and update in host memory."),
    "offload_parameters": Flag("flag", "Sharded weights in host memory (zero3, fsdp)."),
    "offload_activations": Flag("count", "Activations of N layers in host memory."),
    "samples": Flag("amount", "Samples of the data set, of --mean-length tokens each: gives --tokens."),
    "epochs": Flag("number", "Passes over --tokens or --samples (1).", "E"),
    "checkpoint_minutes": Flag("number", "Between checkpoints (30).", "M"),
    "checkpoint_pause": Flag("number", "Seconds that each checkpoint stops training (0: written beside it).", "S"),
    "failure_gpu_hours": Flag("number", "GPU-hours between failures (50,677, as Llama 3).", "H"),
    "largest": Flag(("sequence", "micro-batch", "rank", "model"), "Also the largest one that fits."),
    "within_days": Flag("number", "Fewest cards that finish --tokens in D days.", "D"),
    "budget": Flag("number", "Fewest cards that finish --tokens for this much.", "USD"),
    "pareto": Flag("flag", "Also the numbers of cards that nothing beats in cards, days and dollars."),
    "cheapest": Flag("flag", "Also the cheapest cloud machines; --gpu may be left out."),
    "compute_optimal": Flag("flag", "Also the best model and tokens for --gpu-hours, --budget or --within-days."),
    "gpu_hours": Flag("number", "GPU-hours to spend, for --compute-optimal.", "H"),
}
"""Every flag, in the order of the help."""

KINDS: Mapping[str, Kind] = {name: flag.kind for name, flag in FLAGS.items()}
