"""How good a model can be expected to be, from its size and its training tokens: for ranking, not for predicting."""

from __future__ import annotations

from sizeup.physics.numeric import Column, power


def loss_of(*, parameters: Column, tokens: Column) -> Column:
    """Return the loss of the scaling law of Hoffmann et al. [nats per token]: lower is better.

    Their own model, 70e9 parameters on 1.4e12 tokens:

    >>> round(loss_of(parameters=70e9, tokens=1.4e12), 2)
    1.94

    Source: [chinchilla] equation 10: 1.69 + 406.4 / N^0.34 + 410.7 / D^0.28
    """
    irreducible, of_size, of_data = 1.69, 406.4, 410.7
    size_exponent, data_exponent = 0.34, 0.28
    return irreducible + of_size / power(parameters, size_exponent) + of_data / power(tokens, data_exponent)
