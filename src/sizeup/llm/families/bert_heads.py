"""What BERT's relatives put on top of their last layer, by the class that a configuration names."""

from __future__ import annotations

from dataclasses import dataclass

from sizeup.llm.architecture import Tensor
from sizeup.llm.blocks import linear, norm, vector
from sizeup.llm.config import Config
from sizeup.llm.families.published import label_count

CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
POOLED_CLASSIFIERS = frozenset({"bert", "ernie", "roc_bert", "megatron-bert", "rembert", "big_bird"})
"""Types whose sequence classifier keeps the pooler; the others' classifiers have a dense layer of their own."""
PRETRAINED = frozenset({"bert", "ernie", "megatron-bert", "big_bird"})
"""Types whose ``ForPreTraining`` adds a next-sentence classifier to the masked language model."""
LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForMaskedLM", "GenerationDecoder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A language-model head: an optional dense layer and norm, then a decoder that may be the embedding.

    ``bias`` names a bias beside the decoder's own, which is the same tensor only when the embeddings are tied.
    ``width`` is the key of the decoder's input width.
    """

    dense: str = "cls.predictions.transform.dense"
    norm: str = "cls.predictions.transform.LayerNorm"
    decoder: str = "cls.predictions.decoder"
    bias: str = "cls.predictions"
    width: str = "hidden_size"
    can_tie: bool = True


TRANSFORM_HEAD = Head()
ROBERTA_HEAD = Head(dense="lm_head.dense", norm="lm_head.layer_norm", decoder="lm_head.decoder", bias="lm_head")


def language_head(config: Config, head: Head, *, hidden: int, vocabulary: int, tied: bool) -> tuple[Tensor, ...]:
    """Return the language-model head; a tied decoder owns nothing but one bias."""
    width = config.optional_integer(head.width, minimum=1) or hidden
    tensors: tuple[Tensor, ...] = ()
    if head.dense:
        tensors += linear(head.dense, use="other", part="head", out=width, into=hidden, bias=True)
        tensors += norm(head.norm, width, bias=True, part="head")
    if tied or head.bias:
        tensors += vector(head.bias or head.decoder, vocabulary, part="head", kind="bias")
    if not tied:
        tensors += linear(head.decoder, use="head", part="head", out=vocabulary, into=width, bias=True)
    return tensors


def pooler(config: Config, hidden: int) -> tuple[Tensor, ...]:
    """Return the dense layer over the first token."""
    name = "pooler" if config.model_type == "big_bird" else "pooler.dense"
    return linear(name, use="other", part="head", out=hidden, into=hidden, bias=True)


def classifier(config: Config, task: str, hidden: int) -> tuple[Tensor, ...]:
    """Return a classifier of sequences or tokens, as wide as the configuration has labels."""
    out = linear("classifier", use="other", part="head", out=label_count(config), into=hidden, bias=True)
    if task != "ForSequenceClassification" or config.model_type in POOLED_CLASSIFIERS - {"big_bird"}:
        return out
    return (*linear("classifier.dense", use="other", part="head", out=hidden, into=hidden, bias=True), *out)


def discriminator(hidden: int) -> tuple[Tensor, ...]:
    """Return ELECTRA's replaced-token detector."""
    name = "discriminator_predictions"
    return (
        *linear(f"{name}.dense", use="other", part="head", out=hidden, into=hidden, bias=True),
        *linear(f"{name}.dense_prediction", use="other", part="head", out=1, into=hidden, bias=True),
    )
