"""When something really happened, whatever the clock of the device says."""


def happened(
    at: int, occurred_at: int | None, sent_at: int | None = None, received_at: int | None = None
) -> int | None:
    """Set a device's clock right, ms since 1970; None where the device says nothing.

    What the device's clock shows between the event and its sending has really gone by, so the event happened that long
    before it was received (Snowplow's `derived_tstamp`, Segment's `timestamp`). Without a time of sending the device's
    clock has to be believed. Nothing happens after its own record was written.

    Args:
        at: the record's Kafka timestamp.
        occurred_at: the device's clock at the event.
        sent_at: the device's clock at its sending.
        received_at: the collector's clock; where it is missing, the record's timestamp stands in.

    >>> happened(10_000, 2_000)
    2000
    >>> happened(10_000, 502_000, sent_at=505_000, received_at=9_000)  # a clock far ahead; sent after 3 s
    6000
    >>> happened(10_000, 99_000), happened(10_000, None, sent_at=5_000)
    (10000, None)
    """
    if occurred_at is None:
        return None
    if sent_at is not None:
        received = at if received_at is None else received_at
        occurred_at = max(received - max(sent_at - occurred_at, 0), 0)
    return min(occurred_at, at)
