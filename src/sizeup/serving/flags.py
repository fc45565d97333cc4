"""What ``sizeup serve`` may be asked: every flag, for the command line, scenario files, Python and the page alike."""

from __future__ import annotations

from collections.abc import Mapping

from sizeup.scenario import Flag, Kind

LAYOUT = ("tp", "pp", "ep", "dp")
"""Flags that the search leaves alone when they are given."""

FLAGS: Mapping[str, Flag] = {
    "model": Flag("text", "What is served: a name, a Hub id, a config.json."),
    "gpu": Flag("text", "Card or cloud instance: h100, p5.48xlarge, 8xh200; or cheapest.", "G"),
    "gpus": Flag("count", "Number of cards; the fewest without it."),
    "engine": Flag("text", "vllm (default), sglang, trtllm, llama.cpp (default for GGUF), transformers.", "E"),
    "engine_version": Flag("text", "Version of the engine.", "V"),
    "format": Flag("text", "Weight format: bf16, fp8, awq-int4, q4_k_m, ... (the nearest that fits).", "F"),
    "cache_dtype": Flag("text", "Cache format: bf16, fp8, q8_0, ...", "D"),
    "tp": Flag("count", "Tensor parallelism."),
    "pp": Flag("count", "Pipeline parallelism."),
    "ep": Flag("count", "Expert parallelism."),
    "dp": Flag("count", "Replicas, or data-parallel attention with --ep beyond --tp."),
    "input": Flag("tokens", "Prompt tokens (2,048)."),
    "output": Flag("tokens", "New tokens (256)."),
    "concurrency": Flag("count", "Closed loop: requests in flight (16)."),
    "rate": Flag("number", "Open loop: requests/s, Poisson.", "R"),
    "seed": Flag("count", "Simulate the random arrivals of --rate with this seed."),
    "burst": Flag("count", "Requests that arrive together."),
    "trace": Flag("text", "Replay a CSV: arrival_seconds,input,output.", "FILE"),
    "ttft": Flag("number", "Target: mean TTFT.", "MS"),
    "tpot": Flag("number", "Target: mean TPOT.", "MS"),
    "max_model_len": Flag("tokens", "Longest sequence the engine accepts."),
    "memory_utilization": Flag("share", "Share of memory.", "X"),
    "max_batched_tokens": Flag("count", "Most tokens of a step."),
    "max_num_seqs": Flag("count", "Most sequences of a step."),
    "prefix_cached": Flag("share", "Share of prompts in a prefix cache.", "X"),
    "draft": Flag("text", "Speculative decoding: mtp, ngram, or a smaller model.", "M"),
    "draft_tokens": Flag("count", "Tokens drafted for every step."),
    "acceptance": Flag("share", "Chance that a drafted token is kept.", "X"),
    "disaggregate": Flag("flag", "Also prefill and decode on cards of their own."),
    "prefill_gpus": Flag("count", "Cards of the prefill pool (the best ratio)."),
    "offload_layers": Flag("count", "llama.cpp: layers in host memory (as many as needed)."),
    "offload_experts": Flag("count", "llama.cpp: layers whose experts are in host memory (as many as needed)."),
    "host_bandwidth": Flag("number", "Of host memory (89.6).", "GB/S"),
    "host_link": Flag("number", "Between a card and host memory (its PCIe).", "GB/S"),
    "usd_per_gpu_hour": Flag("number", "A price of your own.", "USD"),
}
"""Every flag, in the order of the help."""

KINDS: Mapping[str, Kind] = {name: flag.kind for name, flag in FLAGS.items()}
