"""How good an order of a list is: whether what people wanted stands at its top.

Normalised discounted cumulated gain (Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM
TOIS 20, 2002), with the gain and the discount of Burges et al., "Learning to rank using gradient descent", ICML 2005,
which are also LightGBM's: a grade r in place i, the first being 1, adds (2^r - 1) / log2(1 + i). For clicks, grades of
0 and 1, the gain is the grade itself.
"""

import numpy as np
from numpy.typing import NDArray

from udfs.smooth import Column


def ndcg(relevance_in_order: NDArray[np.int64] | NDArray[np.bool_], k: int) -> Column:
    """Judge the first k places of each list, against those of the best order of the same list.

    The best order is that of the whole list, so what is wanted but stands below the first k costs. What stands first
    among equal scores is the caller's choice, and changes the result.

    Args:
        relevance_in_order: how much each item was wanted, a grade of 0 or more, the item ranked first first,
            (..., items).
        k: places that count, at least 1; in a shorter list all do.

    Returns:
        (...,) 0 to 1; NaN for a list of which nothing was wanted, as no order of it is better than another: leave it
        out of means (`numpy.nanmean`). Other tools count it as 0 or as 1, LightGBM as 1.

    >>> ndcg(np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]), 10).round(4).tolist()
    [0.6934, 1.0, nan]
    """
    # Rows that lie one after another are summed alike, however many there are; ldexp is exact.
    gains = np.ldexp(1.0, np.ascontiguousarray(relevance_in_order, dtype=np.int32)) - 1.0
    best = np.sort(gains, axis=-1)[..., ::-1]
    discounts = np.log2(np.arange(2.0, min(k, gains.shape[-1]) + 2.0))
    reached, possible = ((each[..., : len(discounts)] / discounts).sum(axis=-1) for each in (gains, best))
    wanted = possible > 0
    return np.where(wanted, reached / np.where(wanted, possible, 1.0), np.nan)
