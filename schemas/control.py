"""What operators tell the running jobs: forget a person."""

from enum import Enum
from typing import Annotated, Final

from msgspec import Meta, Struct


class Action(Enum):
    """What is to be done."""

    ERASE = "erase"


ACTIONS: Final = {Action.ERASE: "Forget the person."}


class Command(Struct, frozen=True):
    """A record of the topic `control`, keyed by the person; it takes effect at the slice of its Kafka timestamp."""

    action: Action
    user_id: Annotated[str, Meta(description="Pseudonym: key id, colon, keyed hash.")]


class State(Enum):
    """How a store stands to a person who was erased."""

    CLEAN = "clean"
    LEAVING = "leaving"
    DIRTY = "dirty"


STATES: Final = {
    State.CLEAN: "Nothing of the person is there.",
    State.LEAVING: "What is there is used no more, and goes by itself.",
    State.DIRTY: "Something is there that nobody takes away; what to do is said beside it.",
}


class Remains(Struct, frozen=True, omit_defaults=True):
    """What one store still holds of a person."""

    store: Annotated[str, Meta(description="`redis`, `job state`, or a topic.")]
    state: State
    why: str = ""
    seconds: Annotated[int | None, Meta(description="Until clean, at the latest; absent where nobody can tell.")] = None


class Receipt(Struct, frozen=True, omit_defaults=True):
    """What became of one erased person, as `python -m jobs erase` saw it."""

    user_id: Annotated[str, Meta(description="Pseudonym: one receipt for each key that is still known.")]
    seen_at: Annotated[int, Meta(description="When it was looked at, ms since 1970.")]
    stores: list[Remains]
    erased_at: Annotated[int | None, Meta(description="Kafka timestamp of the command; absent: there is none.")] = None
