"""Where a person is and with what: their surroundings as they were known last."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.decisions import Context
from schemas.events import Event

UNKNOWN_HOUR: Final = -1
NOWHERE: Final = Context()


def written(at: int, event: Event) -> str | None:
    """Write an event's surroundings, the latest of several being the greatest; None where it says nothing of them.

    >>> from schemas.events import Device, Kind
    >>> written(1_767_225_600_123, Event("k0:ada", 0, Kind.VIEW, device=Device.MOBILE, language="de", hour=9))
    '01767225600123mobile||de|||9'
    """
    device, connection, language, country, region, hour = (
        event.device,
        event.connection,
        event.language,
        event.country,
        event.region,
        event.hour,
    )
    if (
        device is None
        and connection is None
        and language is None
        and country is None
        and region is None
        and hour is None
    ):
        return None
    said = (
        device._value_ if device else "",
        connection._value_ if connection else "",
        language or "",
        country or "",
        region or "",
        "" if hour is None else str(hour),
    )
    return f"{at:014d}{'|'.join(said)}"


@lru_cache(maxsize=10_000)  # a site's visitors share a few thousand of them
def surroundings(text: str) -> tuple[Context, int]:
    """Read what `written` wrote, without its time.

    Returns:
        The texts, and the hour of the day; -1 where it is not known.

    >>> surroundings("mobile|slow|de||BY|9")
    (Context(device='mobile', connection='slow', language='de', country='', region='BY'), 9)
    >>> surroundings("")
    (Context(device='', connection='', language='', country='', region=''), -1)
    """
    if not text:
        return NOWHERE, UNKNOWN_HOUR
    *texts, hour = text.split("|")
    return Context(*texts), int(hour) if hour else UNKNOWN_HOUR


def hours(texts: Sequence[str]) -> NDArray[np.int64]:
    """Read the hours alone, (n,)."""
    return np.array([surroundings(text)[1] for text in texts], dtype=np.int64)


def contexts(texts: Sequence[str]) -> list[Context]:
    """Read the texts alone."""
    return [surroundings(text)[0] for text in texts]


def columns(read: Sequence[Context]) -> dict[str, NDArray[np.object_]]:
    """Give a column for each of the texts, (n,).

    >>> {name: column.tolist() for name, column in columns(contexts(["mobile|slow|de||BY|9"])).items()}
    {'device': ['mobile'], 'connection': ['slow'], 'language': ['de'], 'country': [''], 'region': ['BY']}
    """
    return {
        name: np.array([getattr(each, name) for each in read], dtype=np.object_) for name in Context.__struct_fields__
    }
