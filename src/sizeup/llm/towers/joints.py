"""What projectors share: their type, two linear layers, the widths of towers."""

from __future__ import annotations

from collections.abc import Callable

from sizeup.llm.config import Config
from sizeup.llm.towers.vit import Tensors, tower_linear

Projector = Callable[[Config, int], Tensors]
"""From the wrapper's configuration and the text model's hidden size to tensors."""
LINEARS = ("multi_modal_projector.linear_1", "multi_modal_projector.linear_2")


def vision_width(config: Config) -> int:
    """Return the hidden size of the vision tower."""
    return config.section("vision_config").integer("hidden_size")


def two_layers(names: tuple[str, str], into: int, middle: int, out: int, *, bias: bool = True) -> Tensors:
    """Return two linear layers with an activation between them."""
    return (*tower_linear(names[0], middle, into, bias=bias), *tower_linear(names[1], out, middle, bias=bias))


def feature_layers(config: Config) -> int:
    """Return how many layers of the tower are read side by side."""
    chosen = config.get("vision_feature_layer")
    return len(chosen) if isinstance(chosen, list | tuple) else 1
