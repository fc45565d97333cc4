"""DeepSeek-V4: one key-value vector per token, windows with compressed keys behind them, hyper-connections.

``deepseek_ref`` is the same model under the name that its reference code uses. Source: transformers 5.23
``modeling_deepseek_v4.py``, ``configuration_deepseek_v4.py``; prediction layers from ``inference/model.py`` of
deepseek-ai/DeepSeek-V4-Flash.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.errors import UserError, nearest_names
from sizeup.llm.architecture import Architecture, Block, Layer, Mixer, StateCache, Tensor, TokenCache, layer_of
from sizeup.llm.blocks import check_divides, head, linear, norm, norms, table, token_mixing, vector
from sizeup.llm.config import Config, class_defaults
from sizeup.llm.families.common import layer_types, repeated
from sizeup.llm.families.experts import Experts, mixture_block
from sizeup.llm.families.prediction import as_prediction, predicted_layers

SLIDING, SPARSE, HEAVY = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"
RATIO_KINDS = {0: SLIDING, 4: SPARSE, 128: HEAVY}
"""Layer types by the ``compress_ratios`` of published configurations (0: not compressed)."""

OLDER_RATES = {SPARSE: "compress_rate_csa", HEAVY: "compress_rate_hca"}
EXPERTS = Experts(shared="width", bias="mlp_bias")


def build(config: Config) -> Architecture:
    """Return a DeepSeek-V4."""
    config.assume(class_defaults()["deepseek_v4"]["defaults"])
    config.ignore("num_key_value_heads", "attention_bias", "num_hash_layers", "qk_rope_head_dim", "n_shared_experts")
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    check_mlp_kinds(config)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(layer_kinds(config), lambda kind: decoder_layer(config, kind)),
        head=(*hyper_head(config), *norm("norm", hidden), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
        multi_token_prediction=_prediction(config),
    )


def layer_kinds(config: Config) -> list[str]:
    """Return each layer's kind of attention."""
    layers, ratios = config.integer("num_hidden_layers"), config.sequence("compress_ratios")
    listed = config.sequence("layer_types")
    if listed is not None:
        kinds = layer_types(Config({"layer_types": listed[:layers]}, where=config.where), layers) or []
    elif ratios is not None:
        kinds = [RATIO_KINDS.get(ratio, str(ratio)) for ratio in ratios[:layers]]
    else:
        kinds = [SPARSE if index >= 2 and index % 2 else HEAVY for index in range(layers)]
    unknown = [kind for kind in kinds if kind not in RATIO_KINDS.values()]
    if unknown or len(kinds) != layers:
        what = f'names "{unknown[0]}"' if unknown else f"names {len(kinds)} layers, the model has {layers}"
        key = "compress_ratios" if listed is None else "layer_types"
        raise UserError(
            f'{config.where}: "{key}" {what}',
            nearest=nearest_names(unknown[0], RATIO_KINDS.values()) if unknown else (),
        )
    return kinds


def check_mlp_kinds(config: Config) -> None:
    """Refuse a layer that is not one of the two mixtures; both have the same weights."""
    kinds, layers = config.sequence("mlp_layer_types"), config.integer("num_hidden_layers")
    for kind in kinds or ():
        if kind not in ("hash_moe", "moe"):
            raise UserError(f'{config.where}: "mlp_layer_types" names {kind!r}', nearest=("hash_moe", "moe"))
    if kinds is not None and len(kinds) < layers:
        raise UserError(f'{config.where}: "mlp_layer_types" names {len(kinds)} layers, the model has {layers}')


def compress_rate(config: Config, kind: str) -> int:
    """Return the tokens that ``kind`` compresses into one key."""
    rates, older = config.get("compress_rates"), config.optional_integer(OLDER_RATES[kind], minimum=1)
    rate = older or (rates or {}).get(kind) or next(ratio for ratio, name in RATIO_KINDS.items() if name == kind)
    if not isinstance(rate, int) or rate < 1:
        raise UserError(f'{config.where}: "compress_rates" gives {rate!r} for {kind}')
    return rate


def decoder_layer(config: Config, kind: str) -> Layer:
    """Return one layer: attention and experts, each between hyper-connections."""
    around = norms("input_layernorm", "post_attention_layernorm", size=config.integer("hidden_size"))
    streams = hyper_connection(config, "attn_hc") + hyper_connection(config, "ffn_hc")
    return layer_of(kind, (around, streams, attention_block(config, kind), mixture_block(config, EXPERTS)))


def hyper_connection(config: Config, name: str, *, mixes: bool = True) -> Block:
    """Return what reads from and writes to the parallel residual streams, and ``mixes`` them (float32)."""
    streams = config.integer("hc_mult")
    rows = (2 + streams if mixes else 2) * streams
    fn = vector(f"{name}.fn", rows, streams * config.integer("hidden_size"), part="other")
    scale = vector(f"{name}.scale", 3 if mixes else 2, part="other")
    return Block((*fn, *vector(f"{name}.base", rows, part="other"), *scale))


def hyper_head(config: Config, prefix: str = "hc_head") -> tuple[Tensor, ...]:
    """Return what joins the streams before the final norm."""
    streams = config.integer("hc_mult")
    return (
        *vector(f"{prefix}.hc_fn", streams, streams * config.integer("hidden_size"), part="other"),
        *vector(f"{prefix}.hc_base", streams, part="other"),
        *vector(f"{prefix}.hc_scale", 1, part="other"),
    )


def attention_block(config: Config, kind: str) -> Block:
    """Return low-rank queries over one shared key-value vector, and the compressor of distant tokens."""
    hidden, heads, head_dim = (config.integer(key) for key in ("hidden_size", "num_attention_heads", "head_dim"))
    rank, groups, window = (config.integer(key) for key in ("q_lora_rank", "o_groups", "sliding_window"))
    low = groups * config.integer("o_lora_rank")
    check_divides(f'{config.where}: "o_groups"', heads * head_dim, groups)
    down = heads * head_dim // groups
    tensors = (
        *linear("self_attn.q_a_proj", use="query_down", part="attention", out=rank, into=hidden),
        *norm("self_attn.q_a_norm", rank),
        *linear("self_attn.q_b_proj", use="query_up", part="attention", out=heads * head_dim, into=rank),
        *linear("self_attn.kv_proj", use="latent_down", part="attention", out=head_dim, into=hidden),
        *norm("self_attn.kv_norm", head_dim),
        *linear("self_attn.o_a_proj", use="output_down", part="attention", out=low, into=down),
        *linear("self_attn.o_b_proj", use="output", part="attention", out=hidden, into=low),
        *vector("self_attn.sinks", heads, part="attention"),
    )
    mixers, caches = token_mixing(heads, 1, head_dim, head_dim, window=window)
    if kind == SLIDING:
        return Block(tensors, mixers, caches)
    shared = TokenCache(heads=1, key_dim=head_dim, value_dim=0, window=window)  # values are the keys
    return Block(tensors, mixers, (shared,)) + compressor_block(config, kind)


@dataclass(frozen=True, slots=True)
class Compressor:
    """Sizes of one compressor: ``series`` is 2 where windows overlap."""

    name: str
    dim: int
    rate: int
    series: int


def compressor_block(config: Config, kind: str) -> Block:
    """Return what turns every ``rate`` tokens into one key, with an indexer where only some of them are read."""
    heads, dim, rate = config.integer("num_attention_heads"), config.integer("head_dim"), compress_rate(config, kind)
    series = 2 if kind == SPARSE else 1
    picked = config.integer("index_topk") if kind == SPARSE else None
    mixer = Mixer(
        kind="attention", heads=heads, kv_heads=1, key_dim=dim, value_dim=dim, stride=rate, top_k_tokens=picked
    )
    block = _compressing(config, Compressor("compressor", dim, rate, series)) + Block(mixers=(mixer,))
    return block + _indexer(config, rate) if kind == SPARSE else block


def _compressing(config: Config, of: Compressor) -> Block:
    hidden, wide = config.integer("hidden_size"), of.series * of.dim
    prefix, part = f"self_attn.{of.name}", "indexer" if "indexer" in of.name else "attention"
    tensors = (
        *linear(f"{prefix}.kv_proj", use="other", part=part, out=wide, into=hidden),  # type: ignore[arg-type]
        *linear(f"{prefix}.gate_proj", use="other", part=part, out=wide, into=hidden),  # type: ignore[arg-type]
        *vector(f"{prefix}.position_bias", of.rate, wide, part=part),  # type: ignore[arg-type]
        *norm(f"{prefix}.kv_norm", of.dim),
    )
    name = of.name.split(".")[-1]
    caches: tuple[TokenCache | StateCache, ...] = (
        TokenCache(name=f"{name}_keys", heads=1, key_dim=of.dim, value_dim=0, stride=of.rate),
        TokenCache(name=f"{name}_waiting", heads=1, key_dim=wide, value_dim=wide, stride=of.rate, remainder=True),
    )
    if of.series == 2:
        caches += (StateCache(name=f"{name}_overlap", elements=2 * of.rate * of.dim, after=of.rate),)
    return Block(tensors, caches=caches)


def _indexer(config: Config, rate: int) -> Block:
    heads, dim = config.integer("index_n_heads"), config.integer("index_head_dim")
    prefix = "self_attn.compressor.indexer"
    query = config.integer("q_lora_rank")
    tensors = (
        *linear(f"{prefix}.q_b_proj", use="other", part="indexer", out=heads * dim, into=query),
        *linear(
            f"{prefix}.scorer.weights_proj", use="other", part="indexer", out=heads, into=config.integer("hidden_size")
        ),
    )
    mixer = Mixer(kind="attention", heads=heads, kv_heads=1, key_dim=dim, stride=rate)
    return _compressing(config, Compressor("compressor.indexer", dim, rate, 2)) + Block(tensors, (mixer,))


def _prediction(config: Config) -> tuple[Tensor, ...]:
    """Return the prediction layers: a sliding layer between two projections; table and head are the model's."""
    hidden = config.integer("hidden_size")
    parts = (
        *linear("e_proj", use="other", part="mtp", out=hidden, into=hidden),
        *linear("h_proj", use="other", part="mtp", out=hidden, into=hidden),
        *(tensor for name in ("enorm", "hnorm", "norm") for tensor in norm(name, hidden)),
        *hyper_head(config),
        *decoder_layer(config, SLIDING).tensors,
    )
    return as_prediction([parts] * predicted_layers(config))
