"""Why a slot shows what it shows, in one plain sentence."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from schemas.decisions import Draw, Guard, SlotCard, Trace, Why
from schemas.slots import NOTHING, Scalar
from udfs.deciding.content import HEAD
from udfs.draw import pick

_UNTRACED: Final = Trace()

_PLAIN: Final = {
    Why.CONTROL: "the person is in a control group",
    Why.QUIET: "no rule asks for a nudge",
    Why.USUAL: "no rule sets anything",
    Why.HOLDOUT: "the person is held out of everything, so that the whole can be measured",
    Why.OFF: "it is switched off",
    Why.CAPPED: "it has been shown often enough",
    Why.COOLDOWN: "it was shown a moment ago",
    Why.PACED: "this is no moment to disturb",
    Why.EARLY: "too little is known of the session",
    Why.UNSURE: "no arm is likely enough to be the best",
    Why.ROBOT: "a robot gets what everybody gets",
    Why.DEFAULT: "nothing is known of the person",
}

_FREE: Final = frozenset({Why.SCORE, Why.POPULAR, Why.SPLIT, Why.LEARNED, Why.RULE, Why.HEAD, Why.QUIET, Why.USUAL})
"""Reasons of a choice that nothing holds back."""

_NUMBERS: Final[dict[Why, tuple[str, Callable[[Guard], str]]]] = {
    Why.CAPPED: ("cap", lambda guard: f"{guard.count} times, {guard.limit} allowed"),
    Why.COOLDOWN: ("cooldown", lambda guard: f"{guard.count / 1000:.3g} s, {guard.limit / 1000:.3g} s needed"),
    Why.EARLY: ("evidence", lambda guard: f"{guard.count} events, {guard.limit} needed"),
    Why.UNSURE: ("confidence", lambda guard: f"{percent(guard.count)} at most, {percent(guard.limit)} needed"),
}
"""Which guard gives a reason, and what it has counted."""


def sentence(name: str, card: SlotCard, trace: Trace = _UNTRACED) -> str:
    """Say why a slot shows what it shows.

    Args:
        name: of the slot.
        card: what it shows, with the reason.
        trace: what led to it; a robot's decision has none.

    >>> story = SlotCard("d.hero", "variant", 0.2, Why.SPLIT, 0, arm="story")
    >>> draw = Draw("s|hero|k0:ada|0", 0.9, ["plain", "story"], [0.8, 0.2])
    >>> sentence("hero", story, Trace(draw=draw))
    'hero shows story because the draw fell on it, with a chance of 20 %'
    >>> capped = SlotCard("d.hero", "variant", 1.0, Why.CAPPED, 0, arm="plain")
    >>> sentence("hero", capped, Trace(draw=draw, guards=[Guard("cap", 12, 12, True)]))
    'hero shows plain because it has been shown often enough (12 times, 12 allowed); story was drawn and held back'
    """
    return f"{name} {_shown(card)} because {_cause(card, trace)}{_taken(trace)}{_withheld(card, trace)}"


def drawn(draw: Draw) -> str:
    """Name the arm that a draw fell on.

    >>> drawn(Draw("", 0.9, ["plain", "short", "story"], [0.5, 0.5, 0.0]))
    'short'
    """
    # An arm without a chance must not take what rounding leaves above the sum.
    arms = [(arm, chance) for arm, chance in zip(draw.arms, draw.p, strict=True) if chance > 0]
    return arms[pick(draw.value, list(accumulate(chance for _, chance in arms)))][0]


def outdated(trace: Trace) -> bool:
    """Say whether the model that was in force was not asked, for its age."""
    return any(guard.name == "stale" and guard.held for guard in trace.guards or ())


def percent(share: float) -> str:
    """Write a share for people.

    >>> percent(1), percent(0.0512), percent(0.333333)
    ('100 %', '5.12 %', '33.3 %')
    """
    return f"{100 * share:.3g} %"


def listed(names: Sequence[str]) -> str:
    """Write names as one does.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
    ('a', 'a and b', 'a, b and c')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _shown(card: SlotCard) -> str:
    if card.params is not None and card.kind == "params":
        said = ", ".join(f"{key} {_plainly(value)}" for key, value in card.params.items())
        return f"has {said}"
    if card.items is not None:
        rest = f" first of {len(card.items)} items" if len(card.items) > 1 else ""
        return f"shows {card.items[0]}{rest}" if card.items else "shows no item"
    return f"shows {'nothing' if card.arm == NOTHING else card.arm}"


def _plainly(value: Scalar) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _cause(card: SlotCard, trace: Trace) -> str:
    if card.reason in _TOLD:
        return _TOLD[card.reason](card, trace)
    name, numbers = _NUMBERS.get(card.reason, ("", str))
    guard = next((guard for guard in trace.guards or () if guard.held and guard.name == name), None)
    return _PLAIN[card.reason] + (f" ({numbers(guard)})" if guard else "")


def _by_score(card: SlotCard, trace: Trace) -> str:
    del card
    chance = f", with a chance of {percent(trace.p[0])}" if trace.p else ""
    return f"it comes first in the model's order of {trace.candidates}{chance}"


def _by_popularity(card: SlotCard, trace: Trace) -> str:
    del card
    return f"{'the model is too old' if outdated(trace) else 'no model is in force'}, and this is the most popular"


def _by_draw(card: SlotCard, trace: Trace) -> str:
    del trace
    return f"the draw fell on it, with a chance of {percent(card.p)}"


def _by_policy(card: SlotCard, trace: Trace) -> str:
    return f"the policy {trace.policy} gives it a chance of {percent(card.p)}, and the draw fell on it"


def _by_rule(card: SlotCard, trace: Trace) -> str:
    won = [spoke.rule for spoke in trace.rules or () if spoke.won]
    one = len(won) == 1
    who = f"the rule{'' if one else 's'} {listed(won)}"
    if card.items is not None:
        return f"{who} {'bends' if one else 'bend'} the order"
    if card.kind == "params":
        heads = _heads(card)
        return f"{who} {'sets' if one else 'set'} it so" + (f", and {_follow(heads)} a model" if heads else "")
    asked = f"{who} {'asks' if one else 'ask'} for"
    left = [arm for arm, chance in zip(trace.draw.arms, trace.draw.p, strict=True) if chance] if trace.draw else []
    if len(left) > 1:
        return f"{asked} {' or '.join(left)}, and {_by_draw(card, trace)}"
    return f"{asked} it"


def _by_head(card: SlotCard, trace: Trace) -> str:
    heads = _heads(card)
    predicted = listed([f"{(trace.heads or {})[name]:.3g}" for name in heads])
    return f"{_follow(heads)} what a model predicts of the person ({predicted})"


def _heads(card: SlotCard) -> list[str]:
    """Name the parameters that a model has set."""
    return [word.removeprefix(HEAD) for word in card.why or () if word.startswith(HEAD)]


def _follow(names: Sequence[str]) -> str:
    return f"{listed(names)} {'follows' if len(names) == 1 else 'follow'}"


_TOLD: Final = {
    Why.SCORE: _by_score,
    Why.POPULAR: _by_popularity,
    Why.SPLIT: _by_draw,
    Why.LEARNED: _by_policy,
    Why.RULE: _by_rule,
    Why.HEAD: _by_head,
}


def _taken(trace: Trace) -> str:
    return f" (experiment {trace.part.experiment}, arm {trace.part.arm})" if trace.part else ""


def _withheld(card: SlotCard, trace: Trace) -> str:
    if card.reason in _FREE or trace.draw is None or (fell := drawn(trace.draw)) == card.arm:
        return ""
    return f"; {fell} was drawn and held back"
