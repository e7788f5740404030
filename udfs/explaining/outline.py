"""What may speak for each slot, in words and in the order in which it counts: rules, experiments, guards."""

from collections.abc import Iterator
from typing import Final

from schemas.policies import Policy
from schemas.rules import ELSE, Action, Schedule, Treatment
from schemas.slots import (
    ALL,
    OWN,
    Armed,
    Content,
    Knob,
    Rerank,
    Resolve,
    Scalar,
    Slot,
    Trigger,
    Variant,
    options,
    policies,
)
from udfs.deciding.book import Book, Place, Ready, Spoken, Trial
from udfs.explaining.sentences import percent

_ORDER: Final[dict[Resolve, str]] = {
    "priority": "the highest priority counts, of equals the first",
    "weight": "each has its share",
    "recency": "the one whose case came true last counts",
    "confidence": "the surest counts",
}
_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1000, "ms": 1}


def outline(book: Book) -> Iterator[str]:
    r"""Say what may speak for each slot.

    Args:
        book: a rulebook that holds together.

    Returns:
        Lines, those of a slot below it.

    >>> from schemas.rules import Case, Rule, Rulebook
    >>> from schemas.slots import Arm
    >>> hero, calm = Variant({"plain": Arm(3.0), "story": Arm()}, "plain"), Case("n_rage == 0", Action(arms=["story"]))
    >>> said = Rulebook("s", 1000, [], {"hero": hero}, {"calm": Rule("hero", {"still": calm}, priority=2)})
    >>> print(*outline(Book.of(None, said)), sep="\n")
    hero: one of plain (75 %), story (25 %); the default is plain
      where rules speak, the highest priority counts, of equals the first
      rule calm, priority 2
        still: n_rage == 0
          then arms story; impact medium, effort medium
    """
    for place in book.places:
        yield f"{place.name}: {_slot(place.slot)}"
        yield from (f"  {line}" for line in _below(place))
    if book.book.holdout.share:
        yield f"holdout: {percent(book.book.holdout.share)} of all people get the default in every slot"


def _below(place: Place) -> Iterator[str]:
    slot = place.slot
    if isinstance(slot, Variant | Trigger):
        yield from _policies(slot)
    yield from (f"guard {line}" for line in _guards(slot))
    if place.rules:
        yield f"where rules speak, {_ORDER[slot.resolve]}"
    for rule in _ordered(place):
        yield from _rule(rule, place)
    for trial in place.trials:
        yield from _experiment(trial)
    if not place.rules and not place.trials:
        yield "no rule and no experiment speaks for it"


def _slot(slot: Slot) -> str:
    match slot:
        case Rerank():
            explored = f", {percent(slot.explore)} of the places drawn from the rest" if slot.explore else ""
            alike = f", relevance {slot.relevance:g} against sameness" if slot.relevance < 1 else ""
            window = slot.windows
            spread = f", at most {window.most} of an interest in {window.window} places" if window else ""
            return f"a list of {slot.length}, out of {slot.candidates} candidates{explored}{alike}{spread}"
        case Variant():
            total = sum(arm.weight for arm in slot.arms.values())
            arms = ", ".join(f"{name} ({percent(slot.arms[name].weight / total)})" for name in options(slot))
            return f"one of {arms}; the default is {slot.default}"
        case Trigger():
            return f"nothing until a rule asks for one of {', '.join(options(slot))}"
        case Content():
            return ", ".join(_knob(name, knob) for name, knob in slot.params.items())


def _knob(name: str, knob: Knob) -> str:
    bounds = [
        f">= {knob.least:g}" if knob.least is not None else "",
        f"<= {knob.most:g}" if knob.most is not None else "",
    ]
    steps = [f"in steps of {knob.step:g}"] if knob.step else []
    cuts = f", cut at {', '.join(f'{cut:g}' for cut in knob.cuts)}" if knob.cuts else ""
    heads = [f"by a model's {knob.predicted}{cuts}"] if knob.predicted else []
    allowed = [*map(_word, knob.options), *filter(None, bounds), *steps, *heads]
    return f"{name} = {_word(knob.default)}" + (f" ({', '.join(allowed)})" if allowed else "")


def _policies(slot: Armed) -> Iterator[str]:
    known = policies(slot)
    if slot.policy != OWN:
        yield f"policy {slot.policy}: {_kind(known[slot.policy])}"
    for name in slot.shadow:
        yield f"policy {name}: {_kind(known[name])}, worked out and never shown"


def _kind(policy: Policy) -> str:
    kind = policy.__struct_config__.tag
    return f"{kind}, each arm at least {percent(policy.floor)}" if policy.floor else str(kind)


def _guards(slot: Slot) -> Iterator[str]:
    guards = slot.guards
    for cap in guards.caps:
        of = ", all slots together" if cap.of == ALL else f" of {cap.of}" if cap.of else ""
        yield f"cap: at most {cap.shown} {'ever' if cap.per == 'life' else f'in a {cap.per}'}{of}"
    if guards.cooldown:
        yield f"cooldown: at least {_span(guards.cooldown)} since it was shown"
    if guards.quiet_when:
        yield f"pacing: not while {guards.quiet_when}"
    if guards.min_events:
        yield f"evidence: at least {guards.min_events} events in the session"
    if guards.confidence:
        yield f"confidence: the likeliest arm has at least {percent(guards.confidence)}"
    if guards.refresh:
        most = f", at most {guards.changes} times in a session" if guards.changes else ""
        yield f"changes: drawn anew every {_span(guards.refresh)}{most}"


def _ordered(place: Place) -> list[Spoken]:
    """Put rules in the order in which they count; by recency and confidence that is the moment's, so the file's."""
    rank = {"priority": lambda rule: -rule.priority, "weight": lambda rule: -rule.weight}.get(place.slot.resolve)
    return sorted(place.rules, key=lambda each: rank(each.rule)) if rank else list(place.rules)


def _rule(spoken: Spoken, place: Place) -> Iterator[str]:
    rule = spoken.rule
    rank = {"priority": f", priority {rule.priority}", "weight": f", weight {rule.weight:g}"}.get(
        place.slot.resolve, ""
    )
    yield f"rule {spoken.name}{rank}{f': {rule.about}' if rule.about else ''}"
    for ready in spoken.cases:
        case = ready.case
        yield f"  {ready.name.partition('.')[2]}: {case.when}{f' - {case.about}' if case.about else ''}"
        if conditions := list(_conditions(ready)):
            yield f"    and only {', '.join(conditions)}"
        yield f"    then {_action(case.then)}; impact {case.impact}, effort {case.effort}"
    if rule.otherwise:
        yield f"  {ELSE}: {_action(rule.otherwise)}"


def _conditions(ready: Ready) -> Iterator[str]:
    case = ready.case
    if case.hold:
        yield f"once that has held for {_span(case.hold)}"
    if case.min_events:
        yield f"after {case.min_events} events of the session"
    yield from _schedule(case.schedule)
    if case.confidence:
        yield f"as sure as {case.confidence}"


def _schedule(schedule: Schedule) -> Iterator[str]:
    if schedule.since:
        yield f"since {schedule.since.isoformat()}"
    if schedule.until:
        yield f"until {schedule.until.isoformat()}"
    if schedule.hours:
        since, until = schedule.hours
        yield f"from {since} to {until} o'clock where the person is"
    if schedule.days:
        yield f"on {' '.join(schedule.days)} (UTC)"


def _action(action: Action) -> str:
    said = [f"{key} {' '.join(names)}" for key in ("arms", "pin", "bury", "hide") if (names := getattr(action, key))]
    if action.set:
        said.append("set " + " ".join(f"{name}={_word(value)}" for name, value in action.set.items()))
    if action.boost:
        said.append("boost " + " ".join(f"{name} {plus:+g}" for name, plus in action.boost.items()))
    return ", ".join(said)


def _experiment(trial: Trial) -> Iterator[str]:
    experiment, space = trial.experiment, trial.experiment.namespace
    who = f"those of whom {experiment.when}" if experiment.when else "everybody"
    among = f", {percent(space.since)} to {percent(space.until)} of namespace {space.name}" if space else ""
    about = f" - {experiment.about}" if experiment.about else ""
    yield f"experiment {trial.name}: {who}{among}{about}"
    if experiment.ramp:
        yield f"  ramp: {', '.join(f'{percent(step.share)} from {step.at.isoformat()} on' for step in experiment.ramp)}"
    total = sum(arm.weight for arm in experiment.arms.values())
    for name, arm in experiment.arms.items():
        yield f"  arm {name} ({percent(arm.weight / total)}): {', '.join(_treatment(arm))}"


def _treatment(arm: Treatment) -> list[str]:
    if arm.control:
        return ["the default, and nothing else"]
    said = [f"policy {arm.policy}"] if arm.policy else []
    said += [f"arms {' '.join(arm.arms)}"] if arm.arms else []
    said += [f"drawn anew every {_span(arm.refresh)}"] if arm.refresh is not None else []
    said += [] if arm.rules else ["no rule counts"]
    return said or ["as usual"]


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _span(millis: int) -> str:
    """Write a duration as conf does.

    >>> _span(600_000), _span(1500), _span(0)
    ('10min', '1500ms', '0ms')
    """
    unit = next((unit for unit, size in _UNITS.items() if millis and millis % size == 0), "ms")
    return f"{millis // _UNITS[unit]}{unit}"
