"""Brings the broker's topics in line with conf/topics.toml, and takes nothing away that is there."""

from argparse import ArgumentParser
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its documented names, exported by no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from jobs.wiring import Refusal, wire
from schemas.settings import Settings, Topic

if TYPE_CHECKING:
    from concurrent.futures import Future

_ANSWER_S: Final = 30.0
_REPLICAS: Final = 3


class NotTaken(Refusal):
    """The broker did not take a change; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Actual:
    """A topic as the broker has it."""

    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Create:
    """The topic is missing."""

    topic: str
    partitions: int
    config: Mapping[str, str]

    def __str__(self) -> str:
        settings = "".join(f", {key}={value}" for key, value in sorted(self.config.items()))
        return f"create: {self.topic}, {self.partitions} partitions{settings}"


@dataclass(frozen=True, slots=True)
class Grow:
    """The topic has too few partitions; keys find other partitions from then on."""

    topic: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"more partitions: {self.topic}, {self.before} -> {self.after}; keys move to other partitions"


@dataclass(frozen=True, slots=True)
class Configure:
    """The topic's settings differ."""

    topic: str
    before: Mapping[str, str | None]
    after: Mapping[str, str]

    def __str__(self) -> str:
        changes = ", ".join(f"{key} {self.before[key]} -> {self.after[key]}" for key in sorted(self.after))
        return f"changed config: {self.topic}, {changes}"


@dataclass(frozen=True, slots=True)
class Kept:
    """The topic has more partitions than declared; taking some away would lose records."""

    topic: str
    actual: int
    declared: int

    def __str__(self) -> str:
        return f"kept: {self.topic}, {self.actual} partitions though {self.declared} are declared"


Change = Create | Grow | Configure | Kept


def difference(declared: Mapping[str, Topic], actual: Mapping[str, Actual]) -> list[Change]:
    """What must change on the broker; topics and settings that are not declared are nobody's business here.

    >>> clicks = Topic(about="", partitions=4, config={"retention.ms": "1000"})
    >>> def show(actual):
    ...     for change in difference({"clicks": clicks}, actual):
    ...         print(change)
    >>> show({})
    create: clicks, 4 partitions, retention.ms=1000
    >>> show({"clicks": Actual(2, {"retention.ms": "500"})})
    more partitions: clicks, 2 -> 4; keys move to other partitions
    changed config: clicks, retention.ms 500 -> 1000
    >>> show({"clicks": Actual(8, {"retention.ms": "1000", "cleanup.policy": "delete"}), "other": Actual(1, {})})
    kept: clicks, 8 partitions though 4 are declared
    >>> show({"clicks": Actual(4, {"retention.ms": "1000"})})
    """
    return [change for name, topic in declared.items() for change in _changes(name, topic, actual.get(name))]


def _changes(name: str, topic: Topic, actual: Actual | None) -> list[Change]:
    if actual is None:
        return [Create(name, topic.partitions, topic.config)]
    changes: list[Change] = []
    if actual.partitions < topic.partitions:
        changes.append(Grow(name, actual.partitions, topic.partitions))
    if actual.partitions > topic.partitions:
        changes.append(Kept(name, actual.partitions, topic.partitions))
    after = {key: value for key, value in topic.config.items() if actual.config.get(key) != value}
    if after:
        changes.append(Configure(name, {key: actual.config.get(key) for key in after}, after))
    return changes


def actual_topics(admin: AdminClient, names: Collection[str]) -> dict[str, Actual]:
    """Ask the broker which of the named topics it has, and how they are set up.

    Raises:
        NotTaken: the broker does not tell.
    """
    partitions = {
        name: len(topic.partitions)
        for name, topic in admin.list_topics(timeout=_ANSWER_S).topics.items()
        if name in names and not topic.error
    }
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in partitions]
    answers = admin.describe_configs(resources, request_timeout=_ANSWER_S) if resources else {}
    configs = {
        resource.name: _taken(f"reading the config of {resource.name}", answers[resource]) for resource in answers
    }
    return {
        name: Actual(count, {key: entry.value for key, entry in configs[name].items()})
        for name, count in partitions.items()
    }


def apply(admin: AdminClient, changes: Iterable[Change]) -> None:
    """Make the changes, one after the other; what is kept stays as it is.

    New topics get three replicas, or as many as there are brokers.

    Raises:
        NotTaken: the broker did not take a change; the ones before it are made, and a repetition is harmless.
    """
    replicas = min(_REPLICAS, len(admin.list_topics(timeout=_ANSWER_S).brokers))
    for change in changes:
        for future in _request(admin, change, replicas).values():
            _taken(str(change), future)


def _request(admin: AdminClient, change: Change, replicas: int) -> Mapping[Any, "Future[Any]"]:
    # The broker answers when all brokers know of the change, so that a job may start right after.
    match change:
        case Create(topic, partitions, config):
            new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, config=dict(config))
            return admin.create_topics([new], operation_timeout=_ANSWER_S, request_timeout=_ANSWER_S)
        case Grow(topic, _, after):
            return admin.create_partitions(
                [NewPartitions(topic, after)], operation_timeout=_ANSWER_S, request_timeout=_ANSWER_S
            )
        case Configure(topic, _, after):
            entries = [
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in after.items()
            ]
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
            return admin.incremental_alter_configs([resource], request_timeout=_ANSWER_S)
        case Kept():
            return {}


def _taken(what: str, future: "Future[Any]") -> Any:
    try:
        return future.result()
    except KafkaException as error:
        raise NotTaken(f"{what}: the broker answers: {error.args[0].str()}") from error


def main(settings: Settings, arguments: list[str]) -> int:
    """Print the difference between conf/topics.toml and the broker, and apply it unless `--dry-run` is given."""
    parser = ArgumentParser(prog="python -m jobs topics", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print the difference, change nothing")
    options = parser.parse_args(arguments)
    admin = wire.admin(settings.kafka.bootstrap, settings.kafka.wait)
    changes = difference(settings.topics, actual_topics(admin, settings.topics))
    for change in changes:
        print(change)
    if not changes:
        print(f"{len(settings.topics)} topics are as declared")
    if not options.dry_run:
        apply(admin, changes)
    return 0
