"""Which items a person meets: what they open, and what lists show them, as it travels and as it is read again."""

from collections import Counter
from collections.abc import Container
from typing import Final, NamedTuple

from schemas.events import Event, Kind, RawEvent

BETWEEN: Final = "\t"
"""What parts one item from the next; it is in no name of ours, whatever a tracker sends."""

_OPENED: Final = "+"
_SHOWN: Final = "-"
_CLICK, _EXPOSURE = Kind.CLICK, Kind.EXPOSURE


class Met(NamedTuple):
    """What somebody met in a session.

    Attributes:
        opened: the items they clicked, in the order of their names, each once.
        shown: how often lists showed them an item, in the order of the items' names.
    """

    opened: list[str]
    shown: dict[str, int]


NOTHING: Final = Met([], {})


def written(event: Event, raw: RawEvent, lists: Container[str]) -> str | None:
    r"""Write down the items of an event; None where it opens or shows none.

    Args:
        event: canonical.
        raw: as the tracker sent it: an exposure may name all items of its list.
        lists: slots whose items are counted one by one.

    >>> written(Event("k0:ada", 0, Kind.CLICK, item="a91"), RawEvent("ada", Kind.CLICK), ())
    '+a91'
    >>> seen = Event("k0:ada", 0, Kind.EXPOSURE, slot="feed", shown="a91")
    >>> written(seen, RawEvent("ada", Kind.EXPOSURE, items=["a91", "b02"]), ("feed",))
    '-a91\t-b02'
    >>> written(seen, RawEvent("ada", Kind.EXPOSURE), ("feed",)), written(seen, RawEvent("ada", Kind.EXPOSURE), ())
    ('-a91', None)
    """
    if event.kind is _CLICK:
        return f"{_OPENED}{_plain(event.item)}" if event.item else None
    if event.kind is not _EXPOSURE or event.slot not in lists:
        return None
    items = raw.items or ([event.shown] if event.shown else [])
    return BETWEEN.join(f"{_SHOWN}{_plain(item)}" for item in items) or None


def met(text: str) -> Met:
    r"""Read what `written` wrote of several events, in any order.

    >>> met("+b02\t-a91\t-b02\t+b02\t-a91\t+a91")
    Met(opened=['a91', 'b02'], shown={'a91': 2, 'b02': 1})
    >>> met("")
    Met(opened=[], shown={})
    """
    if not text:
        return NOTHING
    told = sorted(text.split(BETWEEN))
    shown = Counter(each[1:] for each in told if each[:1] == _SHOWN)
    return Met(list(dict.fromkeys(each[1:] for each in told if each[:1] == _OPENED)), dict(shown))


def _plain(item: str) -> str:
    return item.replace(BETWEEN, " ")
