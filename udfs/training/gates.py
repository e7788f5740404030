"""What a new model must show before it may decide: that it is no worse than the live one, and means what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from schemas.settings import Gates
from udfs.learning.rates import Rate
from udfs.training.quality import Bench, Judged


class Verdict(NamedTuple):
    """What one gate says.

    Attributes:
        gate: its name.
        passed: whether the model may pass.
        said: by how much, in words.
    """

    gate: str
    passed: bool
    said: str


@dataclass(frozen=True, eq=False)
class Rival:
    """What a new model is held against.

    Attributes:
        name: for sentences: of m3, without a model.
        judged: how it did on the same lists.
    """

    name: str
    judged: Judged


def verdicts(bench: Bench, model: Judged, rivals: Sequence[Rival], conf: Gates) -> list[Verdict]:
    """Ask every gate.

    Args:
        bench: what is judged by: the newest lists of people held out.
        model: the new one.
        rivals: the live model, where there is one that can still be asked, and what there is without a model. The
            order is held against that of each, the logarithmic loss against the first that gives chances.
        conf: the bounds.
    """
    chancy = [each for each in rivals if each.judged.losses is not None]
    return [
        _enough(bench, conf),
        *(_order(bench, model, rival, conf) for rival in rivals),
        *(_loss(bench, model, rival, conf) for rival in chancy[:1] if model.losses is not None),
        *_promise(bench, model, conf),
    ]


def refused(said: Sequence[Verdict]) -> list[str]:
    """Give the reasons against, in words; none where all gates are passed."""
    return [f"{each.gate}: {each.said}" for each in said if not each.passed]


def _enough(bench: Bench, conf: Gates) -> Verdict:
    count = int((bench.list_weights > 0).sum())
    return Verdict("enough", count >= conf.lists, f"judged by {count} lists with a reward, {conf.lists} are needed")


def _order(bench: Bench, model: Judged, rival: Rival, conf: Gates) -> Verdict:
    """Hold the order against another, list by list; what differs by chance is told by people, not by lists."""
    ours, theirs = (bench.mean_ndcg(each.ndcg).value for each in (model, rival.judged))
    gain = bench.mean_ndcg(model.ndcg - rival.judged.ndcg)
    said = f"NDCG@{bench.among} {ours:.4f}, {rival.name} {theirs:.4f}: {_told(gain)}"
    return _verdict("order", said, gain, conf.ndcg, conf.noise)


def _loss(bench: Bench, model: Judged, rival: Rival, conf: Gates) -> Verdict:
    """Hold the logarithmic loss against another's, row by row."""
    assert model.losses is not None
    assert rival.judged.losses is not None
    ours, theirs = (bench.mean_loss(each).value for each in (model.losses, rival.judged.losses))
    gain = bench.mean_loss(rival.judged.losses - model.losses)
    said = f"log loss {ours:.5f}, {rival.name} {theirs:.5f}: {_told(gain)}"
    return _verdict("log loss", said, gain, conf.log_loss * theirs, conf.noise)


def _promise(bench: Bench, model: Judged, conf: Gates) -> list[Verdict]:
    if model.calibration is None:
        return []
    mean = float(np.average(bench.wanted, weights=bench.weights)) if len(bench.wanted) else 0.0
    off, excess = (
        each / mean if mean else float("inf") for each in (model.calibration.error, model.calibration.excess)
    )
    said = (
        f"what comes is {off:.1%} of the mean away from what is promised, {excess:.1%} more than by chance;"
        f" {conf.calibration:.1%} more are allowed"
    )
    return [Verdict("calibration", excess <= conf.calibration, said)]


def _verdict(gate: str, said: str, gain: Rate, allowed: float, noise: float) -> Verdict:
    """Let pass what is not worse by more than matters, and by more than may be chance."""
    chance = noise * gain.error
    if gain.value >= -max(allowed, chance):
        return Verdict(gate, passed=True, said=said)
    return Verdict(gate, passed=False, said=f"{said}; {allowed:.4g} is allowed, {chance:.2g} may be chance")


def _told(gain: Rate) -> str:
    """Say by how much something is better or worse.

    >>> _told(Rate(-0.0123456, 0.002)), _told(Rate(0.0, 0.0))
    ('worse by 0.01235 (standard error 0.002)', 'the same')
    """
    if not gain.value:
        return "the same"
    return f"{'better' if gain.value > 0 else 'worse'} by {abs(gain.value):.4g} (standard error {gain.error:.2g})"
