"""A partition that has no leader for a moment is asked again; what does not pass is said."""

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from jobs.wiring.reading import Reader


class Busy:
    """A broker whose partition has no leader for some questions."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)

    def list_topics(self, topic: str, wait: float) -> Any:
        del wait
        return type("Topics", (), {"topics": {topic: type("Topic", (), {"partitions": {0: None}})}})

    def get_watermark_offsets(self, partition: TopicPartition, wait: float) -> tuple[int, int]:
        del partition, wait
        if self.answers:
            raise KafkaException(KafkaError(self.answers.pop(0)))
        return 3, 10


def test_a_partition_without_a_leader_is_asked_again() -> None:
    busy = Busy(KafkaError._UNKNOWN_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
    assert Reader(cast("Consumer", busy)).length("decisions") == 7


def test_what_does_not_pass_is_said() -> None:
    busy = Busy(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        Reader(cast("Consumer", busy)).length("decisions")
