"""How a slot's choice came about, line by line: reason, rules, experiment, policy, draw, guards, what made a score."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from schemas.decisions import MEANING, Decision, Draw, Guard, SlotCard, Trace
from schemas.rules import ELSE
from schemas.signals import FEATURES
from udfs.deciding.content import HEAD
from udfs.deciding.guards import NEVER
from udfs.deciding.in_force import InForce
from udfs.deciding.rank import People, features
from udfs.explaining.sentences import drawn, outdated, percent
from udfs.explaining.waterfall import waterfall

_TOLERANCE: Final = 1e-9
"""LightGBM adds up in another order than we do."""


def told(card: SlotCard, trace: Trace, arms: Sequence[str] = ()) -> Iterator[str]:
    r"""Tell what led to a choice.

    Args:
        card: what the slot shows.
        trace: what the record says led to it; empty for a robot.
        arms: of the slot, in the order in which they are drawn.

    >>> from schemas.decisions import Spoke, Why
    >>> card = SlotCard("d.hero", "variant", 1.0, Why.RULE, 0, arm="plain")
    >>> draw = Draw("s|hero|k0:ada|0", 0.9, ["plain", "story"], [1.0, 0.0])
    >>> rules, guards = [Spoke("calm", "else"), Spoke("stuck", "help", True, 9.0)], [Guard("cap", 3, 12, False)]
    >>> print(*told(card, Trace(draw=draw, rules=rules, guards=guards, policy="weights")), sep="\n")
    reason      RULE: A rule asked for it; where it leaves several arms, a draw among them.
    rule        calm, else, rank 0: overruled
    rule        stuck, case help, rank 9: its word counted
    policy      weights: plain 100 %, story 0 %
    draw        0.900000 of "s|hero|k0:ada|0" fell on plain
    guard       cap: 3 of 12, open
    """
    yield _line("reason", f"{card.reason.value}: {MEANING[card.reason]}")
    for spoke in trace.rules or ():
        case = spoke.case if spoke.case == ELSE else f"case {spoke.case}"
        counted = "its word counted" if spoke.won else "overruled"
        yield _line("rule", f"{spoke.rule}, {case}, rank {spoke.rank:.6g}: {counted}")
    for name, prediction in (trace.heads or {}).items():
        counted = "its word counted" if f"{HEAD}{name}" in (card.why or ()) else "not heard"
        yield _line("head", f"{name}, {prediction:.6g}: {counted}")
    if trace.part:
        part = trace.part
        yield _line("experiment", f"{part.experiment}, arm {part.arm}, bucket {part.bucket:.4f}")
    if trace.draw:
        yield _line("policy", f"{trace.policy}: {_chances(trace.draw.arms, trace.draw.p)}")
        yield _line("draw", _drawn(trace.draw))
    if trace.candidates is not None:
        yield _line("candidates", str(trace.candidates))
    for guard in trace.guards or ():
        yield _line("guard", f"{guard.name}: {_state(guard)}{'held' if guard.held else 'open'}")
    for name, p in (trace.shadow or {}).items():
        # What conf says now may be of other arms than what decided.
        known = arms if len(arms) == len(p) else [f"arm {place}" for place in range(len(p))]
        yield _line("shadow", f"{name}: {_chances(known, p)}")


def scored(name: str, decision: Decision, releases: InForce) -> Iterator[str]:
    """Tell what the score of a list's first item is made of; nothing where no model has ordered it.

    Args:
        name: of the slot.
        decision: the record.
        releases: those that it names.
    """
    card, trace = decision.slots[name], decision.trace.get(name, Trace())
    model, catalogue, scores = releases.model, releases.catalogue, trace.scores
    if outdated(trace) or not (card.items and scores and model and catalogue):
        return
    item = np.array([[catalogue.rows[card.items[0]]]])
    asked = decision.asked[1:] if decision.asked[:1] == [name] else []
    at = np.array([[float(asked.index(card.items[0]))]]) if card.items[0] in asked else None
    values = features(People.one(decision.signals, decision.clicked, decision.opened), catalogue, item, at)[0]
    *parts, usual = model.contributions(values)[0].tolist()
    by_size = sorted(zip(FEATURES, values[0].tolist(), parts, strict=True), key=lambda each: -abs(each[2]))
    yield f"what {model.version} makes of {card.items[0]}:"
    rows = [(f"{feature} = {value:.5g}", part) for feature, value, part in by_size if part]
    yield from (f"  {line}" for line in waterfall(usual, rows, "raw score"))
    score = float(model.forest.scale(np.array([sum(parts, usual)]))[0])
    off = abs(score - scores[0])
    said = "as in the record" if off <= _TOLERANCE else f"but the record has {scores[0]:.6g}, which is {off:.3g} off"
    yield f"  score {score:.6g}, {said}"


def _line(label: str, said: str) -> str:
    return f"{label:<12}{said}"


def _drawn(draw: Draw) -> str:
    return f'{draw.value:.6f} of "{draw.key}" fell on {drawn(draw)}'


def _chances(arms: Sequence[str], p: Sequence[float]) -> str:
    return ", ".join(f"{arm} {percent(chance)}" for arm, chance in zip(arms, p, strict=True))


def _state(guard: Guard) -> str:
    if guard.name == "pacing":
        return ""
    if guard.name == "stale":
        return f"the model is {guard.count} ms old, {guard.limit} ms allowed, "
    if guard.name == "cooldown":
        return "never shown, " if guard.count == NEVER else f"shown {guard.count} ms ago, {guard.limit} ms apart, "
    return f"{guard.count:.6g} of {guard.limit:.6g}, "
