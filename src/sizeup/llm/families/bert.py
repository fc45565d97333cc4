"""BERT and its relatives: biased linear layers, LayerNorm, learned positions, a head that may transform first.

One table of traits says where a type puts its norms and what it embeds. A published ``architectures`` entry decides
between the causal head (the default), the masked one, and heads of classifiers. Source: transformers 5.23
``modeling_bert.py`` and those of the types in ``TRAITS``.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.errors import UserError
from sizeup.llm.architecture import Architecture, Block, Layer, Tensor, layer_of
from sizeup.llm.blocks import check_divides, linear, norm, norms, table
from sizeup.llm.blocks_encoder import Sight, feed_forward, multi_head_attention
from sizeup.llm.config import Config
from sizeup.llm.families import bert_heads as heads_of
from sizeup.llm.families.bert_heads import ROBERTA_HEAD, TRANSFORM_HEAD, Head
from sizeup.llm.families.published import published_class, published_task


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What sets one type apart.

    Attributes:
        attention_norm, mlp_norm: where the two norms of a layer live.
        final_norm: the norm after the last layer; empty where there is none.
        embedding_norm: whether the embeddings are normalised.
        width: key of the embedding width, where it may differ from the hidden size.
        projection: what brings embeddings to the hidden size.
        projected_always: the projection exists even where both widths agree.
        positions: name of the position table; RoFormer's is per head.
        head: the language-model head.
        causal_pooler: the causal class keeps the pooler, unused.
        own_pooler: the bare model has a pooler.
    """

    attention_norm: str = "attention.output.LayerNorm"
    mlp_norm: str = "output.LayerNorm"
    final_norm: str = ""
    embedding_norm: bool = True
    width: str = "hidden_size"
    projection: str = ""
    projected_always: bool = False
    positions: str = "embeddings.position_embeddings"
    token_types: bool = True
    head: Head = TRANSFORM_HEAD
    causal_pooler: bool = False
    own_pooler: bool = True


ROBERTA = Traits(head=ROBERTA_HEAD)
TRAITS = {
    "bert": Traits(),
    "ernie": Traits(),
    "roc_bert": Traits(),
    "bert-generation": Traits(
        token_types=False, head=Head(dense="", bias="lm_head", decoder="lm_head.decoder"), own_pooler=False
    ),
    "big_bird": Traits(causal_pooler=True),
    "megatron-bert": Traits(
        attention_norm="attention.ln", mlp_norm="ln", final_norm="encoder.ln", embedding_norm=False
    ),
    "electra": Traits(
        width="embedding_size",
        projection="embeddings_project",
        head=Head(
            dense="generator_predictions.dense",
            norm="generator_predictions.LayerNorm",
            decoder="generator_lm_head",
            bias="",
            width="embedding_size",
        ),
        own_pooler=False,
    ),
    "roformer": Traits(
        width="embedding_size",
        projection="embeddings_project",
        positions="encoder.embed_positions",
        head=Head(width="embedding_size"),
        own_pooler=False,
    ),
    "rembert": Traits(
        width="input_embedding_size",
        projection="encoder.embedding_hidden_mapping_in",
        projected_always=True,
        head=Head(
            dense="cls.predictions.dense",
            norm="cls.predictions.LayerNorm",
            bias="",
            width="output_embedding_size",
            can_tie=False,
        ),
    ),
    "roberta": ROBERTA,
    "camembert": ROBERTA,
    "data2vec-text": ROBERTA,
    "xlm-roberta": ROBERTA,
    "xmod": ROBERTA,
    "roberta-prelayernorm": Traits(
        attention_norm="attention.LayerNorm",
        mlp_norm="intermediate.LayerNorm",
        final_norm="LayerNorm",
        head=ROBERTA_HEAD,
    ),
    "xlm-roberta-xl": Traits(
        attention_norm="attention.self_attn_layer_norm",
        mlp_norm="LayerNorm",
        final_norm="encoder.LayerNorm",
        embedding_norm=False,
        head=ROBERTA_HEAD,
    ),
}

TASKS = ("Model", "ForPreTraining", *heads_of.CLASSIFIERS)
NAMES = ("self.query", "self.key", "self.value", "output.dense")


def build(config: Config) -> Architecture:
    """Return the class that the configuration names, or the causal language model."""
    traits = TRAITS[config.model_type]
    hidden, layers = config.integer("hidden_size"), config.integer("num_hidden_layers")
    tied = config.flag("tie_word_embeddings") and traits.head.can_tie
    final = norm(traits.final_norm, hidden, bias=True) if traits.final_norm else ()
    if config.model_type == "xmod" and config.flag("pre_norm"):
        final = norm("encoder.LayerNorm", hidden, bias=True)
    top, remarks = _top(config, traits, hidden, tied=tied)
    return Architecture(
        model_type=config.model_type,
        hidden_size=hidden,
        vocabulary_size=config.integer("vocab_size"),
        max_positions=config.optional_integer("max_position_embeddings"),
        embedding=_embedding(config, traits, hidden),
        layers=(_layer(config, traits, hidden),) * layers,
        head=(*final, *top),
        tied_embeddings=tied,
        assumptions=remarks,
    )


def _top(config: Config, traits: Traits, hidden: int, *, tied: bool) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    task = published_task(config, (*heads_of.LANGUAGE_MODELS, *TASKS), default="")
    pooler = heads_of.pooler(config, hidden) if traits.own_pooler else ()
    remarks = (f'counted as {published_class(config)}, which "architectures" names',) if task in TASKS else ()
    if task == "Model":
        return pooler, remarks
    if task in heads_of.CLASSIFIERS and (config.model_type, task) != ("big_bird", "ForQuestionAnswering"):
        pooled = task == "ForSequenceClassification" and config.model_type in heads_of.POOLED_CLASSIFIERS
        kept = pooler if pooled or traits.causal_pooler else ()
        return (*kept, *heads_of.classifier(config, task, hidden)), remarks
    if task == "ForPreTraining" and config.model_type == "electra":
        return heads_of.discriminator(hidden), remarks
    vocabulary = config.integer("vocab_size")
    language = heads_of.language_head(config, traits.head, hidden=hidden, vocabulary=vocabulary, tied=tied)
    if task == "ForPreTraining" and config.model_type in heads_of.PRETRAINED:
        next_sentence = linear("cls.seq_relationship", use="other", part="head", out=2, into=hidden, bias=True)
        return (*pooler, *language, *next_sentence), remarks
    named = published_class(config)
    if named and task not in heads_of.LANGUAGE_MODELS:
        remarks = (f"{named} is not known: counted as the causal language model",)
    return ((*pooler, *language) if traits.causal_pooler else language), remarks


def _embedding(config: Config, traits: Traits, hidden: int) -> tuple[Tensor, ...]:
    width = config.optional_integer(traits.width, minimum=1) or hidden
    positions = config.integer("max_position_embeddings")
    per_head = traits.positions.startswith("encoder")
    tensors = (
        *table("embeddings.word_embeddings", config.integer("vocab_size"), width),
        *table(
            traits.positions,
            positions,
            hidden // config.integer("num_attention_heads") if per_head else width,
            use="position",
        ),
    )
    if traits.token_types:
        rows = config.optional_integer("type_vocab_size") or 0
        tensors += table("embeddings.token_type_embeddings", rows, width, use="position")
    if traits.embedding_norm:
        tensors += norm("embeddings.LayerNorm", width, bias=True)
    tensors += _extra_embedding(config, hidden)
    if traits.projection and (traits.projected_always or width != hidden):
        tensors += linear(traits.projection, use="other", part="embedding", out=hidden, into=width, bias=True)
    return tensors


def _extra_embedding(config: Config, hidden: int) -> tuple[Tensor, ...]:
    """Return ERNIE's task types, or what RoCBert embeds beside the character: how it sounds and looks."""
    if config.model_type == "ernie" and config.flag("use_task_id"):
        return table("embeddings.task_type_embeddings", config.integer("task_type_vocab_size"), hidden, use="position")
    if config.model_type != "roc_bert":
        return ()
    tensors: tuple[Tensor, ...] = ()
    concatenated = hidden
    for table_name, key in (("pronunciation_embed", "pronunciation"), ("shape_embed", "shape")):
        width = config.integer(f"{key}_embed_dim")
        tensors += table(f"embeddings.{table_name}", config.integer(f"{key}_vocab_size"), width)
        concatenated += width if config.flag(f"enable_{key}") else 0
    if config.flag("concat_input"):
        name = "embeddings.map_inputs_layer"
        tensors += linear(name, use="other", part="embedding", out=hidden, into=concatenated, bias=True)
    return tensors


def _layer(config: Config, traits: Traits, hidden: int) -> Layer:
    heads, intermediate = config.integer("num_attention_heads"), config.integer("intermediate_size")
    check_divides(f"{config.where}: num_attention_heads", hidden, heads)
    decoder, crossed = config.flag("is_decoder"), config.flag("add_cross_attention")
    if crossed and not decoder:
        raise UserError(f'{config.where}: "add_cross_attention" needs "is_decoder"')
    sights: dict[str, Sight] = {"attention": "causal" if decoder else "bidirectional"}
    if crossed:
        sights["crossattention"] = "encoder"
    blocks = [
        multi_head_attention(
            hidden=hidden,
            heads=heads,
            prefix=prefix,
            names=NAMES,
            sight=sight,
            bias=config.flag("use_bias", default=True),
        )
        + norms(traits.attention_norm.replace("attention", prefix, 1), size=hidden, bias=True)
        for prefix, sight in sights.items()
    ]
    blocks.append(norms(traits.mlp_norm, size=hidden, bias=True))
    blocks.append(feed_forward("intermediate.dense", "output.dense", hidden=hidden, intermediate=intermediate))
    if config.model_type == "xmod":
        blocks.append(_adapters(config, hidden))
    return layer_of("full_attention" if decoder else "encoder", blocks)


def _adapters(config: Config, hidden: int) -> Block:
    """Return X-MOD's bottleneck adapters: one for each language, of which a text uses one."""
    languages = len(config.sequence("languages") or ())
    narrow = hidden // config.integer("adapter_reduction_factor")
    tensors = norm("output.adapter_layer_norm", hidden, bias=True) if config.flag("adapter_layer_norm") else ()
    for name, out, into in (("dense1", narrow, hidden), ("dense2", hidden, narrow)):
        tensors += linear(
            f"output.adapter_modules.{name}",
            use="other",
            part="mlp",
            out=out,
            into=into,
            bias=True,
            copies=languages,
            active=1,
        )
    return Block(tensors)
