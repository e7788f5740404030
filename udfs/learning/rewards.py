"""What a person did after something was shown to them, and what that is worth to the slot that showed it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import MsgspecError, json

from schemas.decisions import Decision, SlotCard, Trace, Unfit
from schemas.events import Event, Kind, Purpose
from schemas.outcomes import Outcome
from schemas.slots import Reward, Slot
from udfs.learning.uncertainty import uncertainty

VERSION: Final = 1
APART: Final = "\x1e"
"""Between the events of a text: RFC 7464's separator, which no JSON holds."""

_event: Final = json.Decoder(Event).decode


def kinds(slots: Mapping[str, Slot]) -> list[Kind]:
    """Name the kinds of event that some slot's reward asks for, in the order of `Kind`.

    >>> from schemas.slots import Content, Knob, Reward
    >>> one = Content({"motion": Knob(True)}, reward=Reward({Kind.PURCHASE: 1.0, Kind.CLICK: 0.1}, within=1000))
    >>> [kind.value for kind in kinds({"page": one, "foot": Content({"motion": Knob(True)})})]
    ['click', 'purchase']
    """
    asked = {kind for slot in slots.values() if slot.reward for kind in slot.reward.worth}
    return [kind for kind in Kind if kind in asked]


def slot_of(decision_id: str) -> str:
    """Give the slot of a decision's id.

    >>> slot_of("7Qm2k9wZ4tA1.home_feed")
    'home_feed'
    """
    return decision_id.partition(".")[2]


def trouble(reward: Reward, collected: Iterable[Kind], window: int) -> str:
    """Say why a reward cannot be counted from what is collected; empty where it can.

    Args:
        reward: of a slot, in the rules that decided.
        collected: the kinds of event that are.
        window: for how long after an exposure, ms.

    >>> trouble(Reward({Kind.CLICK: 1.0}, within=1000), [Kind.CLICK], 1000)
    ''
    >>> trouble(Reward({Kind.CART: 1.0}, within=1000), [Kind.CLICK], 1000)
    'no slot of conf names cart'
    """
    if missing := [kind.value for kind in reward.worth if kind not in set(collected)]:
        return f"no slot of conf names {missing[0]}"
    return "within is longer than learn.window" if reward.within > window else ""


def heard(packed: str) -> tuple[list[Event], list[str]]:
    """Read what a person did, in the order of time; a record that came twice is one.

    Args:
        packed: records of the topic `events` in any order, with `APART` between them; may be empty.

    Returns:
        The events, and what is wrong with records that are none.
    """
    events: list[Event] = []
    complaints: list[str] = []
    for text in sorted(set(packed.split(APART)) - {""}):
        try:
            events.append(_event(text))
        except MsgspecError as error:
            complaints.append(str(error))
    return sorted(events, key=lambda event: event.at), complaints


def counting(card: SlotCard, shown: str, at: int, events: Iterable[Event], reward: Reward) -> list[Event]:
    """Pick the events that a reward asks for, from the exposure on, `within` included; each id once.

    What is late, or a robot's, does not count.

    Args:
        card: what was decided for the slot.
        shown: the item or arm that the page says it showed; empty: it says none.
        at: when it was first shown, ms since 1970.
        events: of the person who saw it, in the order of time.
        reward: of the slot.
    """
    about = set(card.items) if card.items else {shown or card.arm}
    asked: dict[str, Callable[[Event], bool]] = {
        "decision": lambda event: event.decision_id == card.id,
        "item": lambda event: event.item in about,
        "person": lambda _: True,
    }
    found: dict[str | int, Event] = {}
    for place, event in enumerate(events):
        in_time = at <= event.at <= at + reward.within
        if in_time and event.kind in reward.worth and not (event.late or event.robot) and asked[reward.by](event):
            found.setdefault(event.event_id or place, event)
    return list(found.values())


def hits(events: Iterable[Event], reward: Reward) -> dict[Kind, int]:
    """Count events by kind, of each kind no more than the reward lets count.

    >>> clicks = [Event("k0:ada", at, Kind.CLICK) for at in range(3)]
    >>> hits(clicks, Reward({Kind.CLICK: 0.4}, within=1000, most={Kind.CLICK: 2}))
    {<Kind.CLICK: 'click'>: 2}
    """
    found = Counter(event.kind for event in events)
    return {kind: min(found[kind], reward.most.get(kind, 1)) for kind in reward.worth if found[kind]}


def worth(counted: Mapping[Kind, int], reward: Reward) -> float:
    """Give what counted events are worth together, never more than 1.

    >>> worth({Kind.CLICK: 2}, Reward({Kind.CLICK: 0.4, Kind.PURCHASE: 1.0}, within=1000))
    0.8
    """
    return min(1.0, sum(each * counted.get(kind, 0) for kind, each in reward.worth.items()))


def gains(items: Sequence[str], events: Sequence[Event], reward: Reward) -> dict[str, float]:
    """Give what the events about each item of a list are worth, as if it had been shown alone; not named: nothing."""
    about: dict[str, list[Event]] = {}
    for event in events:
        if event.item in items:
            about.setdefault(str(event.item), []).append(event)
    return {item: worth(hits(about[item], reward), reward) for item in items if item in about}


def outcome(  # noqa: PLR0917 - what a row of the join holds
    decision: Decision, exposure: Event, at: int, events: Iterable[Event], reward: Reward, window: int
) -> Outcome | None:
    """Say what came of a slot that was shown; None where it may neither be learned from nor measured.

    A purpose counts as denied where the decision, its exposure or an event that counts says so: who withdraws
    meanwhile is left out, too. Without `learn` the outcome is unfit, without `measure` unmeasured; without both there
    is none.

    Args:
        decision: that decided the slot.
        exposure: the first.
        at: its event time, ms since 1970.
        events: of the person who saw it, in the order of time.
        reward: of the slot, in the rules that decided.
        window: how long every outcome waits, ms.
    """
    slot = slot_of(exposure.decision_id or "")
    card = decision.slots[slot]
    counted = counting(card, exposure.shown or "", at, events, reward)
    denied = set(_denied(decision)) | {purpose for event in (exposure, *counted) for purpose in event.denied}
    if {Purpose.LEARN, Purpose.MEASURE} <= denied:
        return None
    unfit = {*decision.unfit, *([Unfit.CONSENT] if Purpose.LEARN in denied else [])}
    found, trace = hits(counted, reward), decision.trace.get(slot, Trace())
    return Outcome(
        id=card.id,
        user_id=decision.user_id,
        v=VERSION,
        slot=slot,
        at=at,
        due=at + window,
        reward=worth(found, reward),
        seq=decision.seq,
        session=decision.session,
        card=card,
        ver=decision.ver,
        signals=decision.signals,
        trace=trace,
        uncertainty=uncertainty(card, trace),
        hits=found,
        gains=gains(card.items or [], counted, reward),
        shown=exposure.shown or "",
        position=exposure.position or 0,
        clicked=decision.clicked,
        opened=decision.opened,
        context=decision.context,
        segment=decision.segment,
        cluster=decision.cluster,
        asked=decision.asked,
        unfit=[each for each in Unfit if each in unfit],
        unmeasured=Purpose.MEASURE in denied,
    )


def _denied(decision: Decision) -> Iterator[Purpose]:
    if Unfit.CONSENT in decision.unfit:
        yield Purpose.LEARN
    if decision.unmeasured:
        yield Purpose.MEASURE
