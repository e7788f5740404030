"""A page that has a list and asks for its order: the question as it travels, and as it is read again."""

from typing import Final, NamedTuple

from schemas.events import Event

_BETWEEN: Final = "\t"


class Question(NamedTuple):
    """What a page asks.

    Attributes:
        slot: whose list it is; empty: nothing is asked.
        items: as the page has them.
    """

    slot: str
    items: list[str]


NOTHING: Final = Question("", [])


def written(at: int, event: Event) -> str | None:
    r"""Write a question, the latest of several being the greatest; None where an event asks nothing.

    >>> from schemas.events import Kind
    >>> written(1_767_225_600_123, Event("k0:ada", 0, Kind.ASK, slot="feed", items=["a91", "b02"]))
    '01767225600123feed\ta91\tb02'
    """
    if not event.slot or not event.items:
        return None
    names = (event.slot, *dict.fromkeys(event.items))
    # What parts them is in no name of ours, whatever a tracker sends.
    return f"{at:014d}{_BETWEEN.join(name.replace(_BETWEEN, ' ') for name in names)}"


def question(text: str) -> Question:
    r"""Read what `written` wrote, without its time.

    >>> question("feed\ta91\tb02"), question("")
    (Question(slot='feed', items=['a91', 'b02']), Question(slot='', items=[]))
    """
    if not text:
        return NOTHING
    slot, *items = text.split(_BETWEEN)
    return Question(slot, items)
