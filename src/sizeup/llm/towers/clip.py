"""CLIP's and SigLIP's vision towers, and GIT's, which is CLIP's."""

from __future__ import annotations

from sizeup.llm.architecture import Tower
from sizeup.llm.blocks import vector
from sizeup.llm.config import Config
from sizeup.llm.towers.vit import patches, positions, tower_norm, vit_layers


def clip_tower(config: Config) -> Tower:
    """Return CLIP's vision tower: a class token, no bias on the patches, norms before and after."""
    hidden, patch = config.integer("hidden_size"), config.integer("patch_size")
    rows = (config.integer("image_size") // patch) ** 2 + 1
    return Tower(
        name="vision",
        tensors=(
            *vector("embeddings.class_embedding", hidden, part="tower"),
            *patches(
                "embeddings.patch_embedding", hidden, patch, patch, channels=config.integer("num_channels"), bias=False
            ),
            *positions("embeddings.position_embedding", rows, hidden),
            *tower_norm("pre_layrnorm", hidden),
            *vit_layers(
                hidden=hidden,
                intermediate=config.integer("intermediate_size"),
                layers=config.integer("num_hidden_layers"),
            ),
            *tower_norm("post_layernorm", hidden),
        ),
    )
