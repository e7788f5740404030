"""What a team authored, held together: every rule, arm and experiment checked, every condition ready to be asked."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from msgspec import MsgspecError

from schemas.rules import Action, Case, Experiment, Rule, Rulebook, decoded
from schemas.settings import Settings
from schemas.slots import ALL, Cap, Slot
from udfs.deciding.conditions import condition, degree, is_watched
from udfs.deciding.faults import faults
from udfs.expressions import Expression
from udfs.releases import RefusedRelease

PER: Final = ("session", "day", "life")


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
        watched = is_watched(book, rule, case)
        sure = degree(case.confidence) if case.confidence else None
        cases.append(Ready(f"{name}.{key}", case, condition(case.when, watched=watched), sure, watched))
    return Spoken(name, rule, tuple(cases))


def _limit(slot: str, cap: Cap, counters: list[str]) -> Limit:
    of = cap.of or slot
    places = [place for place, each in enumerate(counters) if each == of or (of == ALL and "/" not in each)]
    return Limit(tuple(places), PER.index(cap.per), cap.shown)
