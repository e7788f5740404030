"""A lottery anyone can hold again: the same user, slot and session always draw the same ticket."""

from collections.abc import Sequence
from hashlib import blake2b


def ticket(key: str) -> float:
    """Map a key to a number in [0, 1), uniformly: the first 53 bits of its BLAKE2b hash.

    >>> ticket("trimtab-1|hero|k0:ada|1767225600000")
    0.5685561266307494
    """
    return (int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) >> 11) * 2.0**-53


def pick(value: float, cumulative: Sequence[float]) -> int:
    """Say whose share of [0, 1) a ticket falls into.

    >>> [pick(value, (0.5, 0.8, 1.0)) for value in (0.0, 0.49, 0.5, 0.99)]
    [0, 0, 1, 2]
    """
    for option, bound in enumerate(cumulative):
        if value < bound:
            return option
    return len(cumulative) - 1
