"""Chances as they are kept: whole multiples of a tiny one, so that they sum to 1 exactly, whoever adds them up."""

from typing import Final

import numpy as np

from udfs.policies.shares import Column

STEP: Final = 2.0**-40
"""The tiny one: less than one in a million millions."""


def rounded(p: Column) -> Column:
    """Put chances on the grid; the largest takes up what rounding leaves over.

    A chance is recorded with each draw, and divided by years later (Horvitz and Thompson, JASA 47, 1952), so it must be
    what was really drawn from. Fractions of the same power of two add without rounding, in any order, as long
    as the sum is no larger than 2^53 steps: so cumulative chances end at 1.0, whatever language sums them, and no
    ticket falls beside. What is below half a step becomes 0 and is never drawn. And what two machines compute
    differently in the last bits is the same afterwards, except where it lies on the edge between two multiples.

    Args:
        p: chances, (..., K), each row sums to 1 as well as floats can.

    Returns:
        (..., K), multiples of STEP, each row sums to exactly 1.0; a chance moves by half a step at most, the
        largest by K / 2 steps. The first of several largest is the one that moves.

    >>> sum([0.7, 0.2, 0.1]) == 1.0, sum(rounded(np.array([0.7, 0.2, 0.1])).tolist()) == 1.0
    (False, True)
    """
    steps: Column = np.rint(p / STEP)
    largest = steps.argmax(axis=-1, keepdims=True)
    left = 1.0 / STEP - steps.sum(axis=-1, keepdims=True)
    np.put_along_axis(steps, largest, np.take_along_axis(steps, largest, axis=-1) + left, axis=-1)
    return steps * STEP
