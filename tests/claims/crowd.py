"""A site's visitors, for claims on the running job: each does something about once a second until it is over."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count, cycle, islice
from random import Random
from typing import Any, Final

from msgspec import json

from jobs.pulse import repeat
from jobs.wiring import wire
from schemas.settings import Settings

KINDS: Final = ("view", "view", "click", "click", "hover", "search", "cart", "purchase")
BEATS: Final = 10
"""In so many parts a second's events are sent."""


@contextmanager
def crowd(settings: Settings, people: Sequence[str], also: Callable[[str], Mapping[str, Any]]) -> Iterator[None]:
    """Let people act for as long as the `with` block lasts.

    Args:
        settings: where the broker is.
        people: raw user ids.
        also: what a person's event says besides, asked anew for each event; a `kind` replaces the chance one.
    """
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(_act, settings, people, also, over)
        try:
            yield
        finally:
            over.set()
        acting.result()


def _act(
    settings: Settings, people: Sequence[str], also: Callable[[str], Mapping[str, Any]], over: threading.Event
) -> None:
    rng, numbers, turns = Random(11), count(), cycle(people)
    producer = wire.producer(settings.kafka.bootstrap)

    def act() -> None:
        for person in islice(turns, -(-len(people) // BEATS)):
            number = next(numbers)
            event: dict[str, Any] = {
                "user_id": person,
                "kind": rng.choice(KINDS),
                "event_id": f"e{number}",
                "item": f"i{number % 200}",
            }
            producer.produce("clicks", json.encode(event | dict(also(person))), key=person)
        producer.poll(0)

    repeat(act, 1 / BEATS, over.is_set, over.wait)
    producer.flush()
