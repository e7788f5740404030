"""Publishes what was learned of arms: each period's sums join what was known, and make the next `policy` release."""

import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from msgspec import MsgspecError, json

from jobs.wiring import Refusal, wire
from jobs.wiring.publishing import published, refusals, shown
from jobs.wiring.store import Store
from schemas.plays import Period
from schemas.policies import Posteriors
from schemas.releases import Release
from schemas.settings import Learn, Releases, Settings
from udfs.learning.plays import grown, news

TOPIC: Final = "plays"

_WAIT_S: Final = 0.5
_AGAIN_S: Final = 5.0
_ANSWER_S: Final = 30.0


class Publisher:
    """Adds period after period to what was known, and publishes it once there is enough news."""

    def __init__(self, conf: Releases, learn: Learn) -> None:
        """Take where releases go, and how fast what was learned fades; nothing is read yet."""
        self._conf = conf
        self._learn = learn
        self._newest = ""
        self._published = self._known = Posteriors({})

    def take(self, period: Period) -> tuple[Release | None, bool]:
        """Add a period.

        Where somebody else has published since, such as a rollback, what is known is what they published.

        Returns:
            The release, where there was enough news; and whether nothing is known now but what is published.

        Raises:
            Refusal: the store cannot be read or written; the period was not added.
        """
        with refusals(self._conf):
            store = Store(self._conf.store)
            index = store.index("policy")
            if index and index[-1].version != self._newest:
                self._published = self._known = json.decode(store.read(index[-1]), type=Posteriors)
                self._newest = index[-1].version
        if period.until <= self._known.until:
            return None, self._known is self._published
        known, half_life = grown(self._known, period, self._learn.half_life), self._learn.half_life
        if news(known, self._published, half_life) < self._learn.news:
            self._known = known
            return None, False
        reason = f"plays until {shown(period.until)}"
        release = published(self._conf, "policy", json.encode(known), reason)
        self._newest, self._published, self._known = release.version, known, known
        return release, True


def follow(settings: Settings, stop: threading.Event, say: Callable[[str], None], *, once: bool = False) -> int:
    """Publish what each period adds, until `stop` is set.

    Periods are taken in the order of the topic, each once: a release says until when it counts. Where the store does
    not take one, the period is tried again; whatever ends the process, it goes on behind the last one published.

    Args:
        settings: of the broker, the store, and how fast what was learned fades.
        stop: ends it.
        say: told, in one line, of each release and of each failure.
        once: end where the topic ends now, and fail where the store does.

    Returns:
        How many releases were published.

    Raises:
        Refusal: the broker cannot be read, a record is none, or, where it runs once, the store takes no release.
    """
    count, publisher = 0, Publisher(settings.releases, settings.learn)
    with _reading(settings) as consumer:
        for message in _messages(consumer, stop, once=once):
            period = _period(message)
            while not stop.is_set():
                try:
                    release, whole = publisher.take(period)
                except Refusal as refused:
                    if once:
                        raise
                    say(f"policy: {refused}; trying again")
                    stop.wait(_AGAIN_S)
                    continue
                if release:
                    count += 1
                    say(f"policy {release.version}: {release.reason}")
                if whole:
                    consumer.commit(message=message, asynchronous=False)
                break
    return count


def _period(message: Message) -> Period:
    try:
        return json.decode(message.value() or b"", type=Period)
    except MsgspecError as error:
        raise Refusal(f"{TOPIC}, offset {message.offset()}: no sums of a period: {error}") from None


def _messages(consumer: Consumer, stop: threading.Event, *, once: bool) -> Iterator[Message]:
    """Give the topic's records from where the group was; once: to the end that it has now."""
    topic = TopicPartition(TOPIC, 0)
    (place,) = wire.patiently(lambda: consumer.committed([topic], _ANSWER_S))
    _, end = wire.patiently(lambda: consumer.get_watermark_offsets(topic, _ANSWER_S))
    start = place.offset if place.offset >= 0 else OFFSET_BEGINNING
    consumer.assign([TopicPartition(TOPIC, 0, start)])
    while not stop.is_set():
        message = consumer.poll(_WAIT_S)
        if message is None:
            continue
        error = message.error()
        if error is None:
            yield message
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's name for it
            raise KafkaException(error)
        elif once and (message.offset() or 0) >= end:
            return


@contextmanager
def _reading(settings: Settings) -> Iterator[Consumer]:
    """Open a consumer that remembers how far it came.

    Raises:
        Refusal: no broker answers, the topic is missing, or the broker stops answering.
    """
    wire.require(wire.admin(settings.kafka.bootstrap, settings.kafka.wait), [TOPIC])
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap,
            "group.id": f"{settings.kafka.group}-policy",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": wire.LARGEST_BATCH,
            "log_level": 0,
        }
    )
    try:
        yield consumer
    except KafkaException as error:
        raise Refusal(f"{TOPIC}: the broker cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(settings: Settings, arguments: list[str]) -> int:
    """Publish until SIGTERM or Ctrl-C, or to the end of the topic.

    Raises:
        Refusal: see `follow`.
    """
    parser = ArgumentParser(prog="python -m jobs policy", description=__doc__)
    parser.add_argument("--once", action="store_true", help="to the end that the topic has now, then end")
    asked = parser.parse_args(arguments)
    stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda _sign, _frame: stop.set())
    follow(settings, stop, _say, once=asked.once)
    return 0
