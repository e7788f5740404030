"""What a team authored, held together: every rule, arm and experiment checked, every condition ready to be asked."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Final, NamedTuple, Self

from msgspec import MsgspecError

from schemas.decisions import Context
from schemas.events import Connection, Device
from schemas.lanes import MAX_COUNTERS, shares_lanes
from schemas.rules import MAX_WATCHED, Action, Case, Experiment, Rule, Rulebook, Treatment, decoded
from schemas.settings import Settings
from schemas.signals import Signals
from schemas.slots import NOTHING, OWN, Cap, Content, Knob, Rerank, Scalar, Slot, Trigger, Variant, policies
from udfs.expressions import Expression, ExpressionError, compiled
from udfs.releases import RefusedRelease

NUMBERS: Final = (*Signals.__struct_fields__, "cluster")
TEXTS: Final = (*Context.__struct_fields__, "segment")
"""What a condition of a rule may use."""

WATCHABLE: Final = (Signals.__struct_fields__, Context.__struct_fields__)
"""What it may use where it has to hold for a while: a segment has a `for` of its own."""

ELSE: Final = "else"
PER: Final = ("session", "day", "life")
ALL: Final = "*"
JOINTS: Final = "./:"
"""What joins names: `rule.case`, `slot/arm`, `experiment:arm`."""

_KINDS: Final = {"device": [each.value for each in Device], "connection": [each.value for each in Connection]}

Fault = tuple[tuple[str, ...], str]
"""Where something stands, and what is wrong with it."""


class Limit(NamedTuple):
    """A cap, ready to be asked.

    Attributes:
        counters: places of the counters that are summed.
        per: place of the stretch in `PER`.
        most: exposures allowed.
    """

    counters: tuple[int, ...]
    per: int
    most: int


@dataclass(frozen=True, eq=False)
class Ready:
    """One case of a rule, ready to be asked.

    Attributes:
        name: `rule.case`.
        case: as it was written.
        when: its condition.
        confidence: how sure it is; None: wholly.
        watched: whether it is known since when it has held.
    """

    name: str
    case: Case
    when: Expression
    confidence: Expression | None
    watched: bool


@dataclass(frozen=True, eq=False)
class Spoken:
    """One rule, ready to be asked."""

    name: str
    rule: Rule
    cases: tuple[Ready, ...]

    def actions(self) -> list[Action]:
        """Give what follows from each case, and from none of them where that is said."""
        return [case.case.then for case in self.cases] + ([self.rule.otherwise] if self.rule.otherwise else [])


@dataclass(frozen=True, eq=False)
class Trial:
    """One experiment, ready to be asked."""

    name: str
    experiment: Experiment
    when: Expression | None


@dataclass(frozen=True, eq=False)
class Place:
    """One slot with all that has a say in it.

    Attributes:
        name: of the slot.
        slot: as it was declared.
        rules: in the order of the file.
        trials: experiments, likewise.
        quiet_when: the condition under which nobody is disturbed.
        limits: its caps.
        counter: place of its own counter; -1: it is not counted.
    """

    name: str
    slot: Slot
    rules: tuple[Spoken, ...]
    trials: tuple[Trial, ...]
    quiet_when: Expression | None
    limits: tuple[Limit, ...]
    counter: int


class Watched(NamedTuple):
    """A case whose condition has to have held for a while, or whose beginning counts."""

    name: str
    when: Expression


@dataclass(frozen=True, eq=False)
class Book:
    """One rulebook, ready to decide.

    Attributes:
        version: the release, `r1`, `r2` ...; None for what conf says where no release is in force.
        book: as it was written.
        places: its slots, in the order of their names.
        watched: the cases of which it is kept when they last did not hold, in the order of their columns.
    """

    version: str | None
    book: Rulebook
    places: tuple[Place, ...]
    watched: tuple[Watched, ...]

    @classmethod
    def of(cls, version: str | None, book: Rulebook) -> Self:
        """Make a rulebook ready.

        Raises:
            ValueError: something in it does not fit together; all that is wrong, a line each.
        """
        if found := [f"{'.'.join(path)}: {sentence}" for path, sentence in faults(book)]:
            raise ValueError("\n".join(found))
        places = tuple(_place(name, slot, book) for name, slot in sorted(book.slots.items()))
        cases = [case for place in places for rule in place.rules for case in rule.cases]
        return cls(version, book, places, tuple(Watched(case.name, case.when) for case in cases if case.watched))

    @classmethod
    def parse(cls, version: str, payload: bytes) -> Self:
        """Read `rules.json`, a `schemas.rules.Rulebook`.

        Raises:
            RefusedRelease: it is none, or something in it does not fit together.

        >>> Book.parse("r1", b'{"seed":"s","valid":1000,"counters":[],"slots":{},"rules":{"a":3}}')
        Traceback (most recent call last):
        ...
        udfs.releases.RefusedRelease: rules r1: Expected `object`, got `int` - at `$.rules[...]`
        """
        try:
            return cls.of(version, decoded(payload))
        except (MsgspecError, UnicodeDecodeError, ValueError) as error:
            raise RefusedRelease(f"rules {version}: {error}") from None


def authored(settings: Settings) -> Rulebook:
    """Put together what conf says of slots, rules and experiments."""
    return Rulebook(
        seed=settings.decide.seed,
        valid=int(settings.decide.valid),
        counters=settings.exposures.counters,
        slots=settings.slots,
        lists=settings.exposures.lists,
        rules=settings.rules,
        experiments=settings.experiments,
        holdout=settings.holdout,
        stale=int(settings.decide.stale),
        explain=settings.decide.explain,
    )


def condition(text: str, *, watched: bool = False) -> Expression:
    """Read a condition of a rule, or of who takes part in an experiment.

    Raises:
        ExpressionError: it is none.

    >>> condition('segment == "reder" and rate_fst > 1')
    Traceback (most recent call last):
    ...
    udfs.expressions.ExpressionError: column 24: unknown name rate_fst; did you mean rate_fast?
    """
    numbers, texts = WATCHABLE if watched else (NUMBERS, TEXTS)
    read = compiled(text, numbers=numbers, texts=texts)
    if read.kind != "truth":
        raise ExpressionError(f'column 1: a {read.kind} comes out, expected a condition such as "rate_fast > 1"')
    return read


def degree(text: str) -> Expression:
    """Read a formula that says how sure a rule is; raises ExpressionError where it is none."""
    read = compiled(text, numbers=NUMBERS, texts=TEXTS)
    if read.kind != "number":
        raise ExpressionError(f'column 1: a {read.kind} comes out, expected a number such as "churn_risk"')
    return read


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
        if _is_watched(book, each, case)
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


def nobody(asked: Expression, segments: Collection[str]) -> Iterator[str]:
    """Say which of the texts that a condition asks for are no segment, device or connection that there is.

    >>> list(nobody(condition('device == "moble" and segment != ""'), ["reader"]))
    ['column 11: there is no device "moble"; did you mean mobile?']
    """
    known = {"segment": segments, **_KINDS}
    for name, text, column in asked.compared:
        # Empty is who is in no segment, or with what is not known.
        if text and name in known and text not in known[name]:
            yield f"column {column}: {no_such(name, text, dict.fromkeys(known[name]))}"


def _is_watched(book: Rulebook, rule: Rule, case: Case) -> bool:
    slot = book.slots.get(rule.slot)
    return case.hold > 0 or (slot is not None and slot.resolve == "recency")


def _place(name: str, slot: Slot, book: Rulebook) -> Place:
    rules = tuple(_spoken(key, rule, book) for key, rule in book.rules.items() if rule.slot == name)
    trials = tuple(
        Trial(key, each, condition(each.when) if each.when else None)
        for key, each in book.experiments.items()
        if each.slot == name
    )
    quiet = slot.guards.quiet_when
    return Place(
        name=name,
        slot=slot,
        rules=rules,
        trials=trials,
        quiet_when=condition(quiet) if quiet else None,
        limits=tuple(_limit(name, cap, book.counters) for cap in slot.guards.caps),
        counter=book.counters.index(name) if name in book.counters else -1,
    )


def _spoken(name: str, rule: Rule, book: Rulebook) -> Spoken:
    cases = []
    for key, case in rule.cases.items():
        watched = _is_watched(book, rule, case)
        sure = degree(case.confidence) if case.confidence else None
        cases.append(Ready(f"{name}.{key}", case, condition(case.when, watched=watched), sure, watched))
    return Spoken(name, rule, tuple(cases))


def _limit(slot: str, cap: Cap, counters: list[str]) -> Limit:
    of = cap.of or slot
    places = [place for place, each in enumerate(counters) if each == of or (of == ALL and "/" not in each)]
    return Limit(tuple(places), PER.index(cap.per), cap.shown)


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
                    no_such("signal", signal, dict.fromkeys(Signals.__struct_fields__)),
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
            yield here, 'a case cannot be called "else"'
        watched = _is_watched(book, rule, case)
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


def no_such(what: str, name: str, known: Mapping[str, object]) -> str:
    """Say that something is not there, and what was probably meant.

    >>> no_such("rule", "cart_resque", {"cart_rescue": 1})
    'there is no rule "cart_resque"; did you mean cart_rescue?'
    """
    close = get_close_matches(name, known, n=1)
    return f'there is no {what} "{name}"; ' + (
        f"did you mean {close[0]}?" if close else f"there are: {', '.join(known) or 'none'}"
    )
