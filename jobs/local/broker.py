"""The embedded Kafka broker: one node, on this machine only, from jars that `make setup` fetched."""

import os
import shutil
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final

from jobs.local import processes
from jobs.local.processes import NotStarted
from jobs.wiring import wire

_JAVA_FLAGS: Final = ("-Xmx512m", "-XX:+UseSerialGC", "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true")
_SHORT_LIVED: Final = ("-XX:TieredStopAtLevel=1", "-Xshare:auto")
_LOG_FLAGS: Final = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
_POLL_MS: Final = 200


class Broker:
    """A broker whose port stays the same however often it is stopped and started.

    Args:
        root: the stack's root; logs go to its home.
        data: folder for the broker's records; it survives `stop`.
        jars: folder with the broker's jars.
        ports: of 127.0.0.1, for clients and for the controller.
    """

    def __init__(self, root: Path, data: Path, jars: Path, ports: tuple[int, int]) -> None:
        self._root = root
        self._data = data
        self._jars = jars
        self._child: processes.Child | None = None
        self._port, self._controller_port = ports

    @property
    def bootstrap(self) -> str:
        """Its address, `host:port`."""
        return f"127.0.0.1:{self._port}"

    def launch(self) -> None:
        """Prepare the folder where it is new, and start the process without waiting for it to answer.

        Raises:
            NotStarted: there are no jars, no Java, or the folder cannot be used.
        """
        if not any(self._jars.glob("kafka_*.jar")):
            raise NotStarted(f"no broker jars in {self._jars}: run make setup")
        self._data.mkdir(parents=True, exist_ok=True)
        properties = self._data.with_suffix(".properties")
        properties.write_text(self._properties(), encoding="utf-8")
        if not (self._data / "meta.properties").exists():
            self._format(properties)
        self._child = self._java("broker", _JAVA_FLAGS, "kafka.Kafka", properties)

    def await_ready(self, wait_ms: int) -> None:
        """Return as soon as it answers.

        Raises:
            NotStarted: it ended, or did not answer within `wait_ms` milliseconds.
        """
        child = self._started()
        deadline = time.monotonic() + wait_ms / 1000
        while not child.ended() and time.monotonic() < deadline:
            try:
                wire.admin(self.bootstrap, _POLL_MS)
            except wire.Unreachable:
                continue
            return
        why = "ended at once" if child.ended() else f"does not answer after {wait_ms / 1000:g} s"
        raise NotStarted(f"the broker {why}; {child.last_words()}")

    def stop(self, wait_ms: int) -> None:
        """End it; 0 milliseconds is the death that failure tests want."""
        if self._child:
            self._child.stop(wait_ms)

    def _format(self, properties: Path) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
        # In one word: an id may begin with a dash, and would be read as an option.
        child = self._java(
            "broker-format",
            _SHORT_LIVED,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",
            "-c",
            properties,
        )
        if child.process.wait() != 0:
            raise NotStarted(f"the broker's folder {self._data} cannot be prepared; {child.last_words()}")

    def _java(self, name: str, flags: tuple[str, ...], *words: str | Path) -> processes.Child:
        return processes.start(
            name, [_java_program(), *flags, *_LOG_FLAGS, "-cp", f"{self._jars}/*", *words], self._root
        )

    def _started(self) -> processes.Child:
        if self._child is None:
            raise NotStarted("the broker was not launched")
        return self._child

    def _properties(self) -> str:
        facts = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"CLIENTS://{self.bootstrap},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"CLIENTS://{self.bootstrap}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self._data,
            # After a kill -9 the controller lets the same broker in again only when its old session has run out.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            "auto.create.topics.enable": "false",
            "message.max.bytes": wire.LARGEST_BATCH,
            "replica.fetch.max.bytes": wire.LARGEST_BATCH,
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
        }
        return "".join(f"{key}={value}\n" for key, value in facts.items())


def _java_program() -> str:
    configured = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{configured}/bin") if configured else shutil.which("java")
    if not found:
        raise NotStarted(
            f"no java program {f'in JAVA_HOME={configured}' if configured else 'on the PATH'}: install Java 17"
        )
    return found
