"""Keeps every partition's clock running: a silent partition would otherwise hold back everybody's decisions."""

import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from jobs.wiring import Refusal, wire
from schemas.events import PULSE_BODY
from schemas.settings import Settings

TOPICS: Final = ("clicks", "control")
"""What jobs read before they slice: their slowest partition sets the pace of all."""

_FOLLOW_MS: Final = 5_000
_ANSWER_S: Final = 1.0
_GIVE_UP_MS: Final = 5_000  # an old pulse says nothing that a new one does not


class NoTopic(Refusal):
    """The topic to keep alive does not exist; the message is one line and says what to do."""


class Pulse:
    """Writes one tiny record to every partition of a topic, also to partitions that are added later.

    Args:
        producer: writes the records.
        topic: whose partitions are kept alive.
        follow_every: after how many beats the number of partitions is asked for again.
        say: told, in one line, when delivery starts to fail and when it works again.

    Raises:
        NoTopic: the topic does not exist.
    """

    def __init__(self, producer: Producer, topic: str, follow_every: int, say: Callable[[str], None]) -> None:
        self._producer = producer
        self._topic = topic
        self._follow_every = follow_every
        self._say = say
        self._beats = 0
        self._silent: set[int] = set()
        self._partitions = self._count_partitions()
        if not self._partitions:
            raise NoTopic(f"the broker has no topic {topic}: run python -m jobs topics")

    def beat(self) -> None:
        """Write one pulse to every partition, and hear how earlier ones fared."""
        self._beats += 1
        if self._beats % self._follow_every == 0:
            with suppress(KafkaException):  # while the broker is away, the deliveries tell
                self._partitions = max(self._partitions, self._count_partitions())
        for partition in range(self._partitions):
            self._producer.produce(self._topic, PULSE_BODY, partition=partition, on_delivery=self._delivered)
        self._producer.poll(0)

    def _count_partitions(self) -> int:
        return len(self._producer.list_topics(self._topic, timeout=_ANSWER_S).topics[self._topic].partitions)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        partition = message.partition()
        if partition is None:
            return
        if error and not self._silent:
            self._say(f"pulse: {self._topic}, partition {partition} takes no pulses: {error.str()}")
        if error:
            self._silent.add(partition)
        elif partition in self._silent:
            self._silent.remove(partition)
            if not self._silent:
                self._say(f"pulse: every partition of {self._topic} takes pulses again")


def repeat(
    act: Callable[[], None],
    every_s: float,
    ended: Callable[[], bool],
    sleep: Callable[[float], object],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Act at a steady pace until it is ended; what a stall missed is not made up for in a burst.

    Args:
        act: what to do; time it takes does not slow the pace.
        every_s: the pace, seconds.
        ended: asked before each act.
        sleep: waits so many seconds, or less when it is ended.
        clock: seconds that never run backwards.

    >>> now, acts = 0.0, []
    >>> def act():
    ...     global now
    ...     acts.append(now)
    ...     now += 7.25 if now == 0.5 else 0.0625  # the second one stalls
    >>> def sleep(seconds):
    ...     global now
    ...     now += seconds
    >>> repeat(act, 0.5, lambda: now > 9, sleep, lambda: now)
    >>> acts
    [0.0, 0.5, 7.75, 8.25, 8.75]
    """
    due = clock()
    while not ended():
        act()
        due = max(due + every_s, clock())
        sleep(due - clock())


def keep_alive(settings: Settings, stop: threading.Event) -> None:
    """Send pulses to every topic that jobs read until `stop` is set.

    Raises:
        Unreachable: no broker answers.
        NoTopic: one of the topics does not exist.
    """
    wire.admin(settings.kafka.bootstrap, settings.kafka.wait)
    producer = wire.producer(settings.kafka.bootstrap, give_up_ms=_GIVE_UP_MS)
    period_ms = settings.time.pulse
    pulses = [Pulse(producer, topic, max(1, _FOLLOW_MS // period_ms), _say) for topic in TOPICS]

    def beat() -> None:
        for pulse in pulses:
            pulse.beat()

    repeat(beat, period_ms / 1000, stop.is_set, stop.wait)
    producer.flush(_ANSWER_S)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(settings: Settings, arguments: list[str]) -> int:
    """Send pulses until SIGTERM or Ctrl-C."""
    ArgumentParser(prog="python -m jobs pulse", description=__doc__).parse_args(arguments)
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda _sign, _frame: stop.set())
    keep_alive(settings, stop)
    return 0
