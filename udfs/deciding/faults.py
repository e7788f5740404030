"""Says where something in what a team authored does not fit together, and what to do about it."""

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Final

from schemas.lanes import MAX_COUNTERS, shares_lanes
from schemas.rules import ELSE, MAX_WATCHED, Action, Experiment, Rule, Rulebook, Treatment
from schemas.signals import Signals
from schemas.slots import ALL, NOTHING, OWN, Content, Knob, Rerank, Scalar, Slot, Trigger, Variant, policies
from udfs.deciding.conditions import condition, degree, is_watched, nobody
from udfs.expressions import ExpressionError
from udfs.nearest import no_such

JOINTS: Final = "./:"
"""What joins names: `rule.case`, `slot/arm`, `experiment:arm`."""

Fault = tuple[tuple[str, ...], str]
"""Where something stands, and what is wrong with it."""


def faults(book: Rulebook) -> Iterator[Fault]:
    """Say where something in a rulebook does not fit together, and what to do."""
    yield from _name_faults(book)
    yield from _counter_faults(book)
    for name, slot in book.slots.items():
        yield from _slot_faults(book, name, slot)
    for name, rule in book.rules.items():
        yield from _rule_faults(book, name, rule)
    watched = [
        (("rules", rule, "cases", name), case)
        for rule, each in book.rules.items()
        for name, case in each.cases.items()
        if is_watched(book, each, case)
    ]
    for path, _ in watched[MAX_WATCHED:]:
        yield path, f"at most {MAX_WATCHED} cases may have a `for`, or stand in a slot that resolves by recency"
    for name, experiment in book.experiments.items():
        yield from _experiment_faults(book, name, experiment)


def strangers(book: Rulebook, segments: Collection[str]) -> Iterator[Fault]:
    """Say where a condition asks for what nobody ever is.

    This is for a rulebook that is being written: one that decides already was held against the segments of its time.

    Args:
        book: a rulebook.
        segments: names of the rule segments there are.
    """
    for path, text in _conditions(book):
        try:
            read = condition(text)
        except ExpressionError:
            continue  # `faults` tells it
        yield from ((path, sentence) for sentence in nobody(read, segments))


def _conditions(book: Rulebook) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, slot in book.slots.items():
        if slot.guards.quiet_when:
            yield ("slots", name, "guards", "quiet_when"), slot.guards.quiet_when
    for name, rule in book.rules.items():
        for key, case in rule.cases.items():
            yield ("rules", name, "cases", key, "when"), case.when
    for name, experiment in book.experiments.items():
        if experiment.when:
            yield ("experiments", name, "when"), experiment.when


def _name_faults(book: Rulebook) -> Iterator[Fault]:
    for table, names in (("slots", book.slots), ("rules", book.rules), ("experiments", book.experiments)):
        for name in names:
            if set(name) & set(JOINTS):
                yield (table, name), f"a name cannot hold {' '.join(JOINTS)}, which join names in records and counters"


def _counter_faults(book: Rulebook) -> Iterator[Fault]:
    at = ("exposures", "counters")
    if len(book.counters) > MAX_COUNTERS:
        yield at, f"at most {MAX_COUNTERS} counters"
    if len(set(book.counters)) < len(book.counters):
        yield at, "a counter stands there twice"
    if not shares_lanes(book.counters):
        yield at, "the counters of one slot must stand in the same three: the first three, or the last three"
    lists = {name: slot for name, slot in book.slots.items() if isinstance(slot, Rerank)}
    for name in book.lists:
        if name not in lists:
            yield ("exposures", "lists"), no_such("list", name, lists)
    for counter in book.counters:
        name, _, arm = counter.partition("/")
        slot = book.slots.get(name)
        if slot is None:
            yield at, no_such("slot", name, book.slots)
        elif arm and arm not in _arms(slot):
            yield at, no_such("arm", arm, _arms(slot))


def _slot_faults(book: Rulebook, name: str, slot: Slot) -> Iterator[Fault]:
    at = ("slots", name)
    yield from _guard_faults(book, name, slot)
    match slot:
        case Rerank():
            if slot.candidates < slot.length:
                yield (*at, "candidates"), "a slot cannot show more items than it has candidates"
            if slot.most_shown and name not in book.lists:
                yield (
                    (*at, "most_shown"),
                    "not counted: append the slot to exposures.lists, and restart the job",
                )
        case Content():
            for key, knob in slot.params.items():
                yield from _knob_faults((*at, "params", key), knob)
        case Variant():
            if slot.default not in slot.arms:
                yield (*at, "default"), f"expected one of its arms: {', '.join(slot.arms)}"
            yield from _policy_faults(at, slot)
        case Trigger():
            if NOTHING in slot.arms:
                yield (*at, "arms", NOTHING), "this arm is there without being declared; it shows nothing"
            yield from _policy_faults(at, slot)


def _guard_faults(book: Rulebook, name: str, slot: Slot) -> Iterator[Fault]:
    at, guards = ("slots", name, "guards"), slot.guards
    if guards.quiet_when:
        yield from _unread((*at, "quiet_when"), guards.quiet_when)
    for cap in guards.caps:
        if cap.of != ALL and (cap.of or name) not in book.counters:
            sentence = f'"{cap.of or name}" is not counted; append it to exposures.counters, and restart the job'
            yield (*at, "caps"), sentence
    if guards.cooldown and name not in book.counters:
        yield (*at, "cooldown"), "the slot is not counted; append it to exposures.counters, and restart the job"
    if guards.changes and not guards.refresh:
        yield (*at, "changes"), "there are no changes to limit without `refresh`"
    for key in ("confidence", "refresh", "changes"):
        if getattr(guards, key) and not isinstance(slot, Variant | Trigger):
            yield (*at, key), "is for slots with arms: nothing is drawn here"


def _knob_faults(at: tuple[str, ...], knob: Knob) -> Iterator[Fault]:
    if (knob.least, knob.most) != (None, None) and isinstance(knob.default, str | bool):
        yield at, "least and most are for numbers"
    elif sentence := _unfit(knob, knob.default):
        yield (*at, "default"), sentence
    if not knob.predicted:
        yield from (((*at, key), "is nothing without `predicted`") for key in ("cuts", "step") if getattr(knob, key))
    elif knob.options:
        yield from _cut_faults(at, knob)
    else:
        yield from _range_faults(at, knob)


def _cut_faults(at: tuple[str, ...], knob: Knob) -> Iterator[Fault]:
    between = len(knob.options) - 1
    if len(knob.cuts) != between:
        yield (*at, "cuts"), f"{len(knob.options)} options need {between} numbers between them"
    elif not all(lower < upper for lower, upper in pairwise(knob.cuts)):
        yield (*at, "cuts"), "must rise, as the options do"
    if knob.step:
        yield (*at, "step"), "is for numbers; here are options"


def _range_faults(at: tuple[str, ...], knob: Knob) -> Iterator[Fault]:
    if isinstance(knob.default, str | bool):
        yield (*at, "predicted"), "is for numbers, and for options with `cuts` between them"
        return
    if knob.cuts:
        yield (*at, "cuts"), "are for options; a number needs `least` and `most`"
    if knob.least is None or knob.most is None:
        yield (*at, "predicted"), "needs `least` and `most`: a prediction may be any number"
    elif isinstance(knob.default, int):
        for key, value in (("least", knob.least), ("most", knob.most), ("step", knob.step)):
            if value % 1:
                yield (*at, key), "must be whole, as the default is"


def _policy_faults(at: tuple[str, ...], slot: Variant | Trigger) -> Iterator[Fault]:
    known = policies(slot)
    if OWN in slot.policies:
        yield (*at, "policies", OWN), "this policy is there without being declared: the arms' weights"
    for key, names in (("policy", [slot.policy]), ("shadow", slot.shadow)):
        for each in names:
            if each not in known:
                yield (*at, key), no_such("policy", each, known)
    for key, policy in slot.policies.items():
        if policy.floor * len(slot.arms) > 1:
            yield (*at, "policies", key, "floor"), f"{len(slot.arms)} arms cannot have {policy.floor} each"
        for signal in getattr(policy, "context", ()):
            if signal not in Signals.__struct_fields__:
                yield (
                    (*at, "policies", key, "context"),
                    no_such("signal", signal, Signals.__struct_fields__),
                )


def _rule_faults(book: Rulebook, name: str, rule: Rule) -> Iterator[Fault]:
    at = ("rules", name)
    slot = book.slots.get(rule.slot)
    if slot is None:
        yield (*at, "slot"), no_such("slot", rule.slot, book.slots)
        return
    for key, case in rule.cases.items():
        here = (*at, "cases", key)
        if key == ELSE:
            yield here, f'a case cannot be called "{ELSE}"'
        watched = is_watched(book, rule, case)
        yield from _unread((*here, "when"), case.when, watched=watched)
        if case.confidence:
            try:
                degree(case.confidence)
            except ExpressionError as error:
                yield (*here, "confidence"), str(error)
        if len(case.schedule.hours) not in (0, 2):
            yield (*here, "schedule", "hours"), "expected two hours, from and until, such as [8, 20]"
        since, until = case.schedule.since, case.schedule.until
        if since and until and since >= until:
            yield (*here, "schedule", "until"), "must be later than `since`"
        yield from _action_faults((*here, "then"), case.then, slot)
    if rule.otherwise:
        yield from _action_faults((*at, ELSE), rule.otherwise, slot)


def _action_faults(at: tuple[str, ...], action: Action, slot: Slot) -> Iterator[Fault]:
    fields = {"arms": action.arms, "set": action.set, "pin": action.pin, "bury": action.bury, "hide": action.hide}
    fields["boost"] = action.boost
    said = [key for key, value in fields.items() if value]
    allowed = {Rerank: ("pin", "bury", "hide", "boost"), Content: ("set",)}.get(type(slot), ("arms",))
    if not said:
        yield at, f"says nothing; this slot takes {', '.join(allowed)}"
    for key in said:
        if key not in allowed:
            yield (*at, key), f"is nothing for this slot, which takes {', '.join(allowed)}"
    if "arms" in allowed:
        for arm in action.arms:
            if arm not in _arms(slot):
                yield (*at, "arms"), no_such("arm", arm, _arms(slot))
    if isinstance(slot, Content):
        yield from _set_faults((*at, "set"), action, slot)


def _set_faults(at: tuple[str, ...], action: Action, slot: Content) -> Iterator[Fault]:
    for key, value in action.set.items():
        knob = slot.params.get(key)
        if sentence := _unfit(knob, value) if knob else no_such("parameter", key, slot.params):
            yield (*at, key), sentence


def _unfit(knob: Knob, value: Scalar) -> str:
    """Say why a parameter cannot have a value; empty where it can."""
    if type(value) is not type(knob.default):
        return f"expected a value like {knob.default!r}"
    if knob.options and value not in knob.options:
        return f"expected one of its options: {knob.options}"
    if not isinstance(value, str):
        if knob.least is not None and value < knob.least:
            return f"must be at least {knob.least:g}"
        if knob.most is not None and value > knob.most:
            return f"must be at most {knob.most:g}"
    return ""


def _experiment_faults(book: Rulebook, name: str, experiment: Experiment) -> Iterator[Fault]:
    at = ("experiments", name)
    slot = book.slots.get(experiment.slot)
    if slot is None:
        yield (*at, "slot"), no_such("slot", experiment.slot, book.slots)
        return
    if experiment.when:
        yield from _unread((*at, "when"), experiment.when)
    if any(later.at <= earlier.at or later.share < earlier.share for earlier, later in pairwise(experiment.ramp)):
        yield (*at, "ramp"), "its steps must follow one another, and never take people away again"
    for key, arm in experiment.arms.items():
        yield from _treatment_faults((*at, "arms", key), arm, slot)
    yield from _namespace_faults(book, name, experiment)


def _treatment_faults(at: tuple[str, ...], arm: Treatment, slot: Slot) -> Iterator[Fault]:
    if isinstance(slot, Variant | Trigger):
        if arm.policy and arm.policy not in policies(slot):
            yield (*at, "policy"), no_such("policy", arm.policy, policies(slot))
        for each in arm.arms:
            if each not in slot.arms:
                yield (*at, "arms"), no_such("arm", each, slot.arms)
    elif arm.policy or arm.arms or arm.refresh is not None:
        yield at, "policy, arms and refresh are for slots with arms"


def _namespace_faults(book: Rulebook, name: str, experiment: Experiment) -> Iterator[Fault]:
    at, space = ("experiments", name, "namespace"), experiment.namespace
    if space is None:
        return
    if not space.since < space.until:
        yield at, "`from` must be less than `until`"
    for other, each in book.experiments.items():
        if other < name and each.namespace and each.namespace.name == space.name:
            apart = each.namespace.until <= space.since or space.until <= each.namespace.since
            if not apart:
                yield at, f"takes people that {other} has in the same namespace"


def _unread(at: tuple[str, ...], text: str, *, watched: bool = False) -> Iterator[Fault]:
    try:
        condition(text, watched=watched)
    except ExpressionError as error:
        column, _, sentence = str(error).partition(": ")
        for name in ("segment", "cluster"):
            if watched and sentence.startswith(f"unknown name {name};"):
                sentence = f"{name} cannot be asked with a `for`, or by recency; a rule segment has a `for` of its own"
        yield at, f"{column}: {sentence}"


def _arms(slot: Slot) -> Mapping[str, object]:
    return slot.arms if isinstance(slot, Variant | Trigger) else {}
