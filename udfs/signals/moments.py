"""What is known of people at a slice end, unpacked: narrow arrays in, a column for each name out."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.slices import COUNTED, FLAGS, LENGTHS, PACKS, REALS, SUMMED, numbered

Columns = Mapping[str, NDArray[Any]]
"""The columns of `schemas.slices.Moment`: (n,), or (n, length) for a list."""

_BOOLEAN: Final = ("unlearned", "unmeasured")


def unpacked(arrays: Columns) -> dict[str, NDArray[Any]]:
    """Name the numbers of arrays, and take apart those that are packed.

    Args:
        arrays: `counted`, `summed`, `flags` and `reals`, each (n, length), in the orders of `schemas.slices`.

    Returns:
        All columns of `Moment` but its texts, and those about rule segments.

    >>> summed = np.zeros((1, len(SUMMED)), dtype=np.int64)
    >>> summed[0, SUMMED.index("kinds_0")] = 7 + (5 << 20) + (3 << 40)
    >>> summed[0, SUMMED.index("shown_p0")] = 2 << 40
    >>> empty = {"counted": np.zeros((1, len(COUNTED))), "flags": np.zeros((1, 2)), "reals": np.zeros((1, len(REALS)))}
    >>> found = unpacked(empty | {"summed": summed})
    >>> [found[name].tolist() for name in ("session_clicks", "session_views", "session_searches", "shown")]
    [[7], [5], [3], [[0, 0, 2, 0, 0, 0]]]
    """
    named: dict[str, NDArray[Any]] = {}
    for names, array in zip((COUNTED, SUMMED, FLAGS, REALS), ("counted", "summed", "flags", "reals"), strict=True):
        named.update(zip(names, np.ascontiguousarray(arrays[array].T), strict=True))
    for number, (names, bits) in PACKS.items():
        packed = named.pop(number)
        for place, name in enumerate(names):
            named[name] = (packed >> (bits * place)) & ((1 << bits) - 1)
    for column in LENGTHS:
        named[column] = np.column_stack([named.pop(name) for name in numbered(column)])
    return named | {name: named[name].astype(np.bool_) for name in _BOOLEAN}
