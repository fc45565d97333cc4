"""From a GGUF's metadata and tensors to an Architecture: exact tensors by layer, and caches where the type is known.

Sources: [gguf] keys of gguf 0.19 (``Keys``), [llama_cpp] for which layers slide where the file does not say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Cache, Kind, Layer, Mixer, Part, StateCache, Tensor, TokenCache, Use
from sizeup.llm.tensor_names import Entry, part_named

MAX_LAYERS = 10_000

PLAIN_TYPES = frozenset(
    ["llama", "llama4", "deci", "falcon", "baichuan", "grok", "gpt2", "gptj", "gptneox", "mpt", "starcoder", "refact",
     "bloom", "stablelm", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "phi2",
     "phi3", "phimoe", "plamo", "codeshell", "orion", "internlm2", "minicpm", "gemma", "gemma2", "gemma3",
     "starcoder2", "xverse", "command-r", "cohere2", "dbrx", "olmo", "olmo2", "olmoe", "openelm", "arctic", "deepseek",
     "chatglm", "glm4", "glm4moe", "bitnet", "jais", "nemotron", "exaone", "exaone4", "granite", "granitemoe",
     "chameleon", "bailingmoe", "bailingmoe2", "dots1", "arcee", "ernie4_5", "ernie4_5-moe", "hunyuan-moe",
     "hunyuan-dense", "smollm3", "gpt-oss", "seed_oss", "apertus", "minimax-m2", "mistral3"]
)  # fmt: skip
"""Types whose cache is keys and values of attention, some with windows."""
LATENT_TYPES = frozenset(["deepseek2", "minicpm3", "plm"])
STATE_TYPES = frozenset(
    ["mamba", "mamba2", "jamba", "granitehybrid", "nemotron_h", "nemotron_h_moe", "falcon-h1", "qwen3next", "qwen35",
     "qwen35moe"]
)  # fmt: skip
"""Types with recurrent layers (``ssm_*`` tensors) beside or instead of attention."""
DELTA_TYPES = frozenset(["qwen3next", "qwen35", "qwen35moe"])
PARALLEL_TYPES = frozenset(["falcon-h1"])

WINDOW_PERIODS = {
    "gemma2": 2, "gemma3": 6, "cohere2": 4, "gpt-oss": 2, "exaone4": 4, "olmo2": 4, "llama4": 4, "phi3": 0,
    "starcoder2": 0,
}  # fmt: skip
"""One layer in so many sees everything (the last of each period); 0: every layer slides. For types that say no more."""

_USES: dict[str, Use] = {
    "attn_q": "query", "attn_k": "key", "attn_v": "value", "attn_qkv": "qkv", "attn_output": "output",
    "attn_q_a": "query_down", "attn_q_b": "query_up", "attn_kv_a_mqa": "latent_down", "attn_kv_b": "latent_up",
    "attn_k_b": "latent_up", "attn_v_b": "latent_up", "ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down",
    "ffn_gate_up": "gate_up", "ffn_gate_inp": "router", "token_embd": "embedding", "position_embd": "position",
    "output": "head", "ssm_in": "ssm_in", "ssm_out": "ssm_out",
}  # fmt: skip

Metadata = Mapping[str, Any]


class _Keys:
    """Look-ups under the file's architecture prefix, checked."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        name = metadata.get("general.architecture")
        self.name = name if isinstance(name, str) else ""

    def integer(self, key: str, default: int = 0) -> int:
        value = self.metadata.get(f"{self.name}.{key}", default)
        if isinstance(value, list):
            value = value[0] if value else default
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10**12:
            raise UserError(f'the GGUF key "{self.name}.{key}" is {str(value)[:40]}, which is not a size')
        return value

    def per_layer(self, key: str, layers: int, default: int) -> list[int]:
        value = self.metadata.get(f"{self.name}.{key}")
        if not isinstance(value, list):
            return [self.integer(key, default)] * layers
        if len(value) < layers or not all(type(v) is int and 0 <= v <= 10**9 for v in value):
            raise UserError(f'the GGUF key "{self.name}.{key}" must hold one size per layer')
        return value[:layers]

    def present(self, key: str) -> bool:
        return f"{self.name}.{key}" in self.metadata


def _tensor(name: str, entry: Entry, active_experts: int) -> Tensor:
    base, _, ending = name.rpartition(".")
    stem = base or name
    routed = stem.endswith("_exps") and (len(entry.shape) == 3 or (ending == "bias" and len(entry.shape) == 2))
    shape, copies = (entry.shape[1:], entry.shape[0]) if routed else (entry.shape, 1)
    use = _USES.get(stem.removesuffix("_exps").removesuffix("_shexp"), "other")
    part = part_named(name)
    if part == "norms":
        use = "norm"
    active = min(active_experts, copies) if routed and active_experts else None
    kind = _kind(part, ending, shape, use)
    return Tensor(name=stem, use=use, part=part, kind=kind, shape=shape, copies=copies, active=active)


def _kind(part: Part, ending: str, shape: Sequence[int], use: Use) -> Kind:
    if ending == "bias":
        return "bias"
    if part == "norms":
        return "norm"
    if use in ("embedding", "position"):
        return "embedding"
    if len(shape) < 2 or ending != "weight":
        return "vector"
    return "linear"


def _by_layer(tensors: Mapping[str, Entry], layers: int) -> tuple[dict[str, Entry], list[dict[str, Entry]]]:
    """Return (tensors outside of the layers, tensors of each layer)."""
    outside: dict[str, Entry] = {}
    inside: list[dict[str, Entry]] = [{} for _ in range(layers)]
    for name, entry in tensors.items():
        pieces = name.split(".", 2)
        if len(pieces) == 3 and pieces[0] == "blk" and pieces[1].isascii() and pieces[1].isdigit():
            if len(pieces[1]) > 6 or int(pieces[1]) >= layers:
                raise UserError(f'tensor "{name[:80]}" is in a layer that the file does not have')
            inside[int(pieces[1])][pieces[2]] = entry
        else:
            outside[name] = entry
    return outside, inside


def _windows(keys: _Keys, layers: int) -> list[int | None] | None:
    """Return each layer's window, None for those that see everything; None in all where that is not known."""
    window = keys.integer("attention.sliding_window")
    if keys.name == "llama4":
        window = keys.integer("attention.chunk_size", 8192)
    # Converters write the key for Mistral and Qwen too, whose files are run with full attention.
    if not window or keys.name in ("llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "mistral3"):
        return [None] * layers
    pattern = keys.metadata.get(f"{keys.name}.attention.sliding_window_pattern")
    if isinstance(pattern, list) and len(pattern) >= layers:
        return [window if slides else None for slides in pattern[:layers]]
    period = pattern if type(pattern) is int and 0 <= pattern < MAX_LAYERS else WINDOW_PERIODS.get(keys.name)
    if period is None:
        return None
    return [None if period and index % period == period - 1 else window for index in range(layers)]


def _attention(keys: _Keys, layers: int) -> list[tuple[Mixer, Cache] | None] | None:
    heads = keys.per_layer("attention.head_count", layers, 0)
    kv_heads = (
        keys.per_layer("attention.head_count_kv", layers, 0) if keys.present("attention.head_count_kv") else heads
    )
    windows = _windows(keys, layers)
    if windows is None:
        return None
    width = keys.integer("embedding_length")
    found: list[tuple[Mixer, Cache] | None] = []
    for count, kv_count, window in zip(heads, kv_heads, windows, strict=True):
        if not count or not kv_count:
            found.append(None)
            continue
        swa = "_swa" if window and keys.present("attention.key_length_swa") else ""
        key_dim = keys.integer(f"attention.key_length{swa}", width // count)
        value_dim = keys.integer(f"attention.value_length{swa}", key_dim)
        mixer = Mixer(
            kind="attention", heads=count, kv_heads=kv_count, key_dim=key_dim, value_dim=value_dim, window=window
        )
        chunk = keys.name == "llama4" and window is not None
        cache = TokenCache(heads=kv_count, key_dim=key_dim, value_dim=value_dim, window=window, chunk=chunk)
        found.append((mixer, cache))
    return found


def _latent(keys: _Keys) -> tuple[Mixer, Cache]:
    rank, rope = keys.integer("attention.kv_lora_rank"), keys.integer("rope.dimension_count", 64)
    heads = keys.integer("attention.head_count")
    key_dim = keys.integer("attention.key_length_mla", keys.integer("attention.key_length"))
    value_dim = keys.integer("attention.value_length_mla", keys.integer("attention.value_length"))
    mixer = Mixer(
        kind="attention", heads=heads, kv_heads=heads, key_dim=key_dim, value_dim=value_dim, latent_dim=rank + rope
    )
    return mixer, TokenCache(name="latent", heads=1, key_dim=rank, value_dim=rope)


def _state(keys: _Keys) -> tuple[Mixer, tuple[Cache, ...]]:
    inner, state = keys.integer("ssm.inner_size"), keys.integer("ssm.state_size")
    kernel, groups = keys.integer("ssm.conv_kernel"), keys.integer("ssm.group_count")
    channels = inner + 2 * groups * state
    mixer = Mixer(kind="recurrent", state_elements=inner * state)
    recurrent = StateCache(name="recurrent_state", elements=inner * state)
    return mixer, (StateCache(name="convolution_state", elements=channels * kernel), recurrent)


Mode = Literal["plain", "latent", "state", "unknown"]


def _mode(keys: _Keys) -> Mode:
    if keys.name in LATENT_TYPES and keys.integer("attention.kv_lora_rank"):
        return "latent"
    if keys.name in STATE_TYPES:
        return "state"
    return "plain" if keys.name in PLAIN_TYPES else "unknown"


def _mixing(keys: _Keys, inside: list[dict[str, Entry]]) -> list[tuple[tuple[Mixer, ...], tuple[Cache, ...]]] | None:
    """Return mixers and caches of each layer, or None where they are not known for this type."""
    mode, layers = _mode(keys), len(inside)
    if mode == "unknown":
        return None
    if mode == "latent":
        mixer, cache = _latent(keys)
        return [((mixer,), (cache,))] * layers
    attention = _attention(keys, layers)
    if attention is None:
        return None
    found = []
    for names, own in zip(inside, attention, strict=True):
        mixers: tuple[Mixer, ...] = ()
        caches: tuple[Cache, ...] = ()
        recurrent = mode == "state" and any(name.startswith("ssm_conv1d") for name in names)
        if recurrent:
            mixer, states = _state(keys)
            mixers, caches = (mixer,), states
        attends = any(name.startswith(("attn_k.", "attn_qkv.")) for name in names)
        if own is not None and attends and (not recurrent or keys.name in PARALLEL_TYPES):
            mixers, caches = (*mixers, own[0]), (*caches, own[1])
        found.append((mixers, caches))
    return found


def _layers(keys: _Keys, inside: list[dict[str, Entry]]) -> tuple[tuple[Layer, ...], bool]:
    """Return the layers, equal ones as one object, and whether their caches are known."""
    mixing = _mixing(keys, inside)
    active = keys.integer("expert_used_count")
    made: dict[Any, Layer] = {}
    layers = []
    for index, names in enumerate(inside):
        mixers, caches = mixing[index] if mixing else ((), ())
        tensors = tuple(_tensor(name, entry, active) for name, entry in sorted(names.items()))
        key = (tensors, mixers, caches)
        if key not in made:
            made[key] = Layer(kind=_layer_kind(mixers), tensors=tensors, mixers=mixers, caches=caches)
        layers.append(made[key])
    return tuple(layers), mixing is not None


def _layer_kind(mixers: tuple[Mixer, ...]) -> str:
    if not mixers:
        return "layer"
    if mixers[0].kind != "attention":
        return "linear_attention" if len(mixers) == 1 else "hybrid"
    return "full_attention" if mixers[0].window is None else "sliding_attention"


def architecture_of(
    metadata: Metadata, tensors: Mapping[str, Entry], *, whole: bool = True
) -> tuple[Architecture | None, tuple[str, ...]]:
    """Return (architecture, remarks) of a GGUF; None for files that are not a language model or not all of it.

    Raises:
        UserError: metadata that contradict the tensors.
    """
    keys = _Keys(metadata)
    count = keys.integer("block_count") if keys.name else 0
    if not whole or not count or keys.name == "clip":
        return None, ("the file does not describe all layers of a model; the cache is not known",) if tensors else ()
    if count > MAX_LAYERS:
        raise UserError(f"the GGUF has {count:,} layers, more than a model can have")
    outside, inside = _by_layer(tensors, count)
    extra = keys.integer("nextn_predict_layers")
    kept = inside[: len(inside) - extra] if 0 < extra < count else inside
    layers, known = _layers(keys, kept)
    predicted = tuple(_tensor(name, entry, 0) for names in inside[len(kept) :] for name, entry in sorted(names.items()))
    loose = [_tensor(name, entry, 0) for name, entry in outside.items()]
    table = outside.get("token_embd.weight")
    remarks = () if known else (f'the cache of the GGUF architecture "{keys.name[:40]}" is not known',)
    return Architecture(
        model_type=f"gguf:{keys.name}", hidden_size=keys.integer("embedding_length"),
        vocabulary_size=table.shape[0] if table and len(table.shape) == 2 else keys.integer("vocab_size"),
        layers=layers,
        embedding=tuple(t for t in loose if t.part == "embedding"),
        head=tuple(t for t in loose if t.part != "embedding"), tied_embeddings="output.weight" not in outside,
        max_positions=keys.integer("context_length") or None, dtype="bfloat16", multi_token_prediction=predicted,
        assumptions=remarks,
    ), remarks  # fmt: skip
