"""How much processor time each of several pieces of work takes: they take turns, so that a busy moment hits all."""

import time
from collections.abc import Callable, Mapping
from typing import Final

_TIMES: Final = 5


def fastest(steps: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Take every step, in turns, several times; of each the fastest counts, in CPU seconds.

    Whatever else the machine does comes in bursts, and a burst hits one turn of all of them.
    """
    turns = [{name: _spent(work) for name, work in steps.items()} for _ in range(_TIMES)]
    return {name: min(turn[name] for turn in turns) for name in steps}


def _spent(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
