"""How the decoders of the GPT-2 and GPT-3 years are laid out: names, biases, positions, norms.

Source: transformers 5.23, ``modeling_<type>.py`` and ``configuration_<type>.py`` of every type named here.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.llm.families.dense_traits import Switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Classic:
    """One model type; differences from GPT-2's block.

    Attributes:
        embedding, positions: token table and table of learned positions ("" none); ``position_offset`` extra rows.
        tables: further tables (name, rows); ``embedding_norm`` follows them.
        table_width: key of the token table's width where it may differ from the hidden size (OPT).
        attention, fused, names: module of the attention, its one input projection or ("" none) its four matrices.
        bias, output_bias, mlp_bias: fixed, or the key that decides; ``output_bias`` None means as ``bias``.
        kv_heads, cached_heads: key-value heads, and how many the cache holds; None means as many as query heads.
        causal, cached: whether a token sees only what is before it, and whether keys and values are kept.
        width: key of the MLP's width ("" or null: four times the hidden size).
        norms, norm_bias, norm_scale: the layer's norms, and which weights they have.
        cross: module of cross attention and its norm, where ``add_cross_attention`` says so.
    """

    embedding: str = "wte"
    positions: str = ""
    position_offset: int = 0
    tables: tuple[tuple[str, int], ...] = ()
    embedding_norm: str = ""
    table_width: str = ""
    attention: str = "attn"
    fused: str = ""
    names: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "out_proj")
    bias: Switch = True
    output_bias: Switch | None = None
    kv_heads: int | None = None
    cached_heads: int | None = None
    causal: bool = True
    cached: bool = True
    mlp: tuple[str, str] = ("mlp.c_fc", "mlp.c_proj")
    mlp_bias: Switch = True
    width: str = "n_inner"
    norms: tuple[str, ...] = ("ln_1", "ln_2")
    norm_bias: bool = True
    norm_scale: bool = True
    final_norm: str = "ln_f"
    head: str = "lm_head"
    head_bias: bool = False
    cross: tuple[str, str] = ("", "")


GPT2 = Classic(
    positions="wpe",
    fused="c_attn",
    names=("", "", "", "c_proj"),
    cross=("crossattention", "ln_cross_attn"),
)
BLOOM_MLP = ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
LAYER_NORMS = ("input_layernorm", "post_attention_layernorm")
FAIRSEQ_NORMS = ("self_attn_layer_norm", "final_layer_norm")
FALCON = Classic(
    embedding="word_embeddings",
    attention="self_attention",
    fused="query_key_value",
    names=("", "", "", "dense"),
    bias="bias",
    mlp=BLOOM_MLP,
    mlp_bias="bias",
    width="ffn_hidden_size",
)

CLASSICS: dict[str, Classic] = {
    "gpt2": GPT2,
    "gpt-sw3": GPT2,
    "gpt_bigcode": GPT2,
    "openai-gpt": Classic(
        embedding="tokens_embed",
        positions="positions_embed",
        fused="c_attn",
        names=("", "", "", "c_proj"),
        cached=False,
        width="",
        final_norm="",
    ),
    "gpt_neo": Classic(
        positions="wpe",
        attention="attn.attention",
        bias=False,
        output_bias=True,
        width="intermediate_size",
    ),
    "gptj": Classic(bias=False, mlp=("mlp.fc_in", "mlp.fc_out"), norms=("ln_1",), head_bias=True),
    "codegen": Classic(
        fused="qkv_proj",
        names=("", "", "", "out_proj"),
        bias=False,
        mlp=("mlp.fc_in", "mlp.fc_out"),
        norms=("ln_1",),
        head_bias=True,
    ),
    "gpt_neox": Classic(
        embedding="embed_in",
        attention="attention",
        fused="query_key_value",
        names=("", "", "", "dense"),
        bias="attention_bias",
        mlp=BLOOM_MLP,
        width="intermediate_size",
        norms=LAYER_NORMS,
        final_norm="final_layer_norm",
    ),
    "gpt_neox_japanese": Classic(
        embedding="embed_in",
        attention="attention",
        fused="query_key_value",
        names=("", "", "", "dense"),
        bias=False,
        mlp=BLOOM_MLP,
        mlp_bias=False,
        norms=LAYER_NORMS,
        final_norm="final_layer_norm",
        head="embed_out",
    ),
    "bloom": Classic(
        embedding="word_embeddings",
        embedding_norm="word_embeddings_layernorm",
        attention="self_attention",
        fused="query_key_value",
        names=("", "", "", "dense"),
        mlp=BLOOM_MLP,
        width="",
        norms=LAYER_NORMS,
    ),
    "falcon": FALCON,
    "RefinedWeb": FALCON,
    "RefinedWebModel": FALCON,
    "mpt": Classic(
        fused="Wqkv",
        names=("", "", "", "out_proj"),
        bias=False,
        mlp=("ffn.up_proj", "ffn.down_proj"),
        mlp_bias=False,
        width="",
        norms=("norm_1", "norm_2"),
        norm_bias=False,
        final_norm="norm_f",
    ),
    "opt": Classic(
        embedding="embed_tokens",
        positions="embed_positions",
        position_offset=2,
        table_width="word_embed_proj_dim",
        attention="self_attn",
        bias="enable_bias",
        mlp=("fc1", "fc2"),
        mlp_bias="enable_bias",
        width="ffn_dim",
        norms=FAIRSEQ_NORMS,
    ),
    "xglm": Classic(
        embedding="embed_tokens",
        attention="self_attn",
        mlp=("fc1", "fc2"),
        width="ffn_dim",
        norms=FAIRSEQ_NORMS,
        final_norm="layer_norm",
        cross=("encoder_attn", "encoder_attn_layer_norm"),
    ),
    "biogpt": Classic(
        embedding="embed_tokens",
        positions="embed_positions",
        position_offset=2,
        attention="self_attn",
        mlp=("fc1", "fc2"),
        width="intermediate_size",
        norms=FAIRSEQ_NORMS,
        final_norm="layer_norm",
        head="output_projection",
    ),
    "ctrl": Classic(
        embedding="w",
        attention="multi_head_attention",
        names=("Wq", "Wk", "Wv", "dense"),
        mlp=("ffn.0", "ffn.2"),
        width="dff",
        norms=("layernorm1", "layernorm2"),
        final_norm="layernorm",
        head_bias=True,
    ),
    "xlm": Classic(
        embedding="embeddings",
        positions="position_embeddings",
        embedding_norm="layer_norm_emb",
        attention="attentions",
        names=("q_lin", "k_lin", "v_lin", "out_lin"),
        causal=False,
        cached=False,
        mlp=("ffns.lin1", "ffns.lin2"),
        width="",
        norms=("layer_norm1", "layer_norm2"),
        final_norm="",
        head="pred_layer.proj",
        head_bias=True,
    ),
}
"""Every classic decoder (and XLM), before ``classic_rules`` settles what depends on a configuration."""
