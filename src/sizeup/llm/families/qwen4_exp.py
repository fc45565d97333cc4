"""Qwen4-Exp: gated delta nets, attention over blocks that an indexer selects, experts, several residual streams,
and n-gram embeddings in some layers, whose tables have prime sizes.

The text of its last tokens, which the n-grams need too, is a few integers and not counted as cache.
Source: transformers 5.23 ``modeling_qwen4_exp.py`` (``hc_`` = hyper-connection, ``ple_`` = per-layer embedding).
"""

from __future__ import annotations

from dataclasses import replace

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Mixer, Tensor, TokenCache, layer_of
from sizeup.llm.blocks import check_divides, head, linear, norm, table
from sizeup.llm.blocks_ssm import convolution_state, depthwise
from sizeup.llm.config import Config
from sizeup.llm.families.common import layer_types, repeated
from sizeup.llm.families.gated_delta import attention_block, delta_block, feed_forward

INDEXER_KEYS = (
    "indexer_n_heads", "indexer_kv_heads", "indexer_head_dim", "indexer_budget", "indexer_compress_ratio",
)  # fmt: skip


def build(config: Config) -> Architecture:
    """Return the text model; it ends in a mixer of the residual streams instead of a norm."""
    hidden, vocabulary = config.integer("hidden_size"), config.integer("vocab_size")
    tied = config.flag("tie_word_embeddings")
    config.ignore("number_of_conv_states", "seed", "split_ngram_parts", "attn_output_gate", "mlp_only_layers")
    config.ignore("intermediate_size", "mamba_ssm_dtype", "full_attention_interval", *INDEXER_KEYS)
    kinds = mixer_kinds(config, config.integer("num_hidden_layers"))
    keys = list(zip(kinds, embedding_turns(config, kinds), strict=True))
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=table("embed_tokens", vocabulary, hidden),
        layers=repeated(keys, lambda key: decoder_layer(config, *key)),
        head=(*stream_mixer(config, "hyper_connection_mixer", last=True), *head(hidden, vocabulary, tied=tied)),
        tied_embeddings=tied,
    )


def mixer_kinds(config: Config, layers: int) -> list[str]:
    """Return what mixes tokens in each layer; published files say full attention where the indexer works.

    Raises:
        UserError: a kind that the model does not have.
    """
    interval = config.integer("full_attention_interval", default=4)
    listed = layer_types(config, layers)
    if listed is None:
        return ["linear_attention" if (index + 1) % interval else "indexed_attention" for index in range(layers)]
    kinds = ["indexed_attention" if kind == "full_attention" else kind for kind in listed]
    for kind in kinds:
        if kind not in ("linear_attention", "indexed_attention"):
            raise UserError(f'{config.where}: "layer_types" names "{kind}", which qwen4_exp_text does not have')
    return kinds


def embedding_turns(config: Config, kinds: list[str]) -> list[int | None]:
    """Return which layers have n-gram embeddings (counted from one in the file), as how-manieth; None for others.

    Raises:
        UserError: a layer that does not exist, or one that is not linear attention.
    """
    places = sorted(set(config.sequence("ple_layer_ids") or []))
    for place in places:
        if not 1 <= place <= len(kinds) or kinds[place - 1] != "linear_attention":
            raise UserError(f'{config.where}: "ple_layer_ids" names {place}, which is no layer of linear attention')
    return [places.index(index + 1) if index + 1 in places else None for index in range(len(kinds))]


def decoder_layer(config: Config, kind: str, turn: int | None) -> Layer:
    """Return one layer."""
    blocks = (
        Block(stream_mixer(config, "attn_hyper_connection")),
        Block(stream_mixer(config, "mlp_hyper_connection")),
        delta_block(config) if kind == "linear_attention" else indexed_attention(config),
        feed_forward(config, sparse=True),
        Block() if turn is None else ngram_block(config, turn),
    )
    return layer_of(kind if turn is None else f"{kind}_ngram", blocks)


def stream_mixer(config: Config, prefix: str, *, last: bool = False) -> tuple[Tensor, ...]:
    """Return what reads one input from the residual streams and, except for the ``last``, writes the result back."""
    streams, rank = config.integer("hc_count", minimum=2), config.integer("hc_lowrank")
    wide = streams * config.integer("hidden_size")
    tensors = (
        *norm(f"{prefix}.hc_norm", wide),
        *linear(f"{prefix}.input_mix_weight_down", use="other", part="other", out=rank, into=wide),
        *linear(f"{prefix}.input_mix_weight_up", use="other", part="other", out=wide, into=rank),
    )
    if last:
        return tensors
    return tensors + linear(f"{prefix}.block_inject_weight", use="other", part="other", out=streams, into=wide)


def indexed_attention(config: Config) -> Block:
    """Return attention over the tokens that the indexer selects; the indexer keeps one key per token."""
    block, hidden = attention_block(config), config.integer("hidden_size")
    heads, kv_heads, head_dim, budget, ratio = (config.integer(key) for key in INDEXER_KEYS)
    check_divides('"indexer_compress_ratio" of "indexer_budget"', budget, ratio)
    if kv_heads != 1:
        raise UserError(f'{config.where}: "indexer_kv_heads" = {kv_heads}, qwen4_exp_text knows 1 only')
    path = "self_attn.indexer"
    out = (heads + kv_heads) * head_dim
    tensors = (
        *linear(f"{path}.index_qk_proj", use="other", part="indexer", out=out, into=hidden),
        *norm(f"{path}.q_layernorm", head_dim, part="indexer"),
        *norm(f"{path}.k_layernorm", head_dim, part="indexer"),
    )
    chosen = tuple(replace(mixer, top_k_tokens=budget) for mixer in block.mixers)
    scores = Mixer(kind="attention", heads=heads, kv_heads=1, key_dim=head_dim, value_dim=0, stride=ratio)
    keys = TokenCache(name="indexer", heads=1, key_dim=head_dim, value_dim=0)
    return Block(block.tensors + tensors, (*chosen, scores), (*block.caches, keys))


def ngram_block(config: Config, turn: int) -> Block:
    """Return the n-gram embedding of one layer with the dilated convolution that spreads it."""
    hidden, streams = config.integer("hidden_size"), config.integer("hc_count")
    width = config.optional_integer("ple_embed_dim", minimum=1) or hidden
    kernel, dilation = config.integer("ple_conv_kernel_size"), config.integer("ngram_size")
    wide = streams * hidden
    rows, columns = ngram_table(config, turn, width)
    tensors = (
        *table("ple.ple_embedding.ngram_embedding", rows, columns),
        *linear("ple.key_proj", use="other", part="other", out=wide, into=width),
        *linear("ple.value_proj", use="other", part="other", out=hidden, into=width),
        *(t for name in ("norm_key", "norm_query", "norm_conv") for t in norm(f"ple.{name}", wide)),
        *depthwise("ple.conv1d", channels=wide, kernel=kernel, bias=False, part="other"),
    )
    return Block(tensors) + convolution_state(wide, (kernel - 1) * dilation)


def ngram_table(config: Config, turn: int, width: int) -> tuple[int, int]:
    """Return rows and columns of a layer's n-gram table: one prime number of rows per head, padded together."""
    heads = (config.integer("ngram_size", minimum=2) - 1) * config.integer("heads_per_ngram")
    check_divides('n-gram heads of "ple_embed_dim"', width, heads)
    primes = primes_from(config.integer("ngram_vocab_size_base"), (turn + 1) * heads)
    multiple = config.integer("make_ngram_vocab_size_divisible_by")
    return -(-sum(primes[turn * heads :]) // multiple) * multiple, width // heads


def primes_from(start: int, count: int) -> list[int]:
    """Return the first ``count`` primes that are not smaller than ``start``.

    >>> primes_from(500, 3)
    [503, 509, 521]
    """
    found: list[int] = []
    number = max(start, 2)
    while len(found) < count:
        if is_prime(number):
            found.append(number)
        number += 1
    return found


def is_prime(number: int) -> bool:
    """Return whether a number below 3.4e14 is prime (Miller-Rabin; these bases leave no exception there)."""
    bases = (2, 3, 5, 7, 11, 13, 17)
    if number < 2 or any(number % base == 0 for base in bases):
        return number in bases
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(number, base, odd, twos) for base in bases)


def _passes(number: int, base: int, odd: int, twos: int) -> bool:
    power = pow(base, odd, number)
    for _ in range(twos):
        if power in (1, number - 1):
            return True
        power = power * power % number
        if power == 1:
            return False
    return False
