"""Puts each decision where pages read it: one Redis key per user, newer replacing older, never the reverse."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from schemas.settings import Redis as RedisSettings

# The value stays a plain string that `redis-cli GET` shows, so its `seq` is read from its first 40 bytes.
COMPARE_AND_SET = """
local done = {}
for i, key in ipairs(KEYS) do
  local seq, expires, value = string.match(ARGV[i], '^(%d+) (%d+) (.*)$')
  local held = string.match(redis.call('GETRANGE', key, 0, 39), '^{"v":%d+,"seq":(%d+)')
  if held and tonumber(held) > tonumber(seq) then
    done[i] = '-'
  elseif value == '' then
    redis.call('DEL', key)
    done[i] = '+'
  else
    redis.call('SET', key, value, 'PXAT', expires)
    done[i] = '+'
  end
end
return table.concat(done)
"""
"""One argument per key and one answer for all: what crosses the wire costs the client more than what it says."""

LAG_TTL_S = 3600
LAGS_EVERY_S = 1.0

_WRITTEN: Final = ord("+")

TROUBLES = (RedisError, RedisClusterException)
"""What a server's absence or refusal looks like; the second is no kind of the first."""


class Fate(Enum):
    """What became of one write."""

    WRITTEN = "written"
    OLDER = "older"  # Redis holds a newer one
    FAILED = "failed"
    SKIPPED = "skipped"  # Redis had just failed


SEVERITY: Final = (Fate.OLDER, Fate.WRITTEN, Fate.SKIPPED, Fate.FAILED)
"""Of several writes for one row the last of these counts."""


class Entry(NamedTuple):
    """One value to write; None takes the key away."""

    key: str
    seq: int
    expires: int
    value: str | None


def connect(conf: RedisSettings) -> Any:
    """Open a client with bounded waits and no retries of its own; a cluster is recognised by its INFO.

    Raises:
        RedisError: it does not answer.
    """
    bounds: dict[str, Any] = {
        "socket_connect_timeout": conf.connect_timeout / 1000,
        "socket_timeout": conf.command_timeout / 1000,
    }
    client: Any = Redis.from_url(conf.url, retry=Retry(NoBackoff(), 0), **bounds)
    if client.info("cluster").get("cluster_enabled"):
        client.close()
        return RedisCluster.from_url(conf.url, **bounds)
    return client


class Cards:
    """Writes that never raise: an outage costs freshness, not the job."""

    def __init__(self, conf: RedisSettings, monotonic: Callable[[], float]) -> None:
        """Take the connection's settings and a clock in seconds."""
        self._conf = conf
        self._monotonic = monotonic
        self._closed_until = float("-inf")
        self._script: Any = None
        self._client: Any = None  # Redis or RedisCluster; redis-py types its answers as if they might be awaited
        self._per_call = conf.keys_per_call
        self._lags: dict[int, Counter[int]] = {}
        self._lags_due = float("-inf")
        self.trouble = ""
        """What Redis last said, empty while it answers."""

    def key(self, user_id: str) -> str:
        """Name a user's key; the braces keep all of a user's keys in one cluster slot.

        The pseudonym holds no brace, so the tag cannot be split.
        """
        return f"{self._conf.prefix}:{{{user_id}}}:d"

    def membership_key(self, user_id: str, by: str) -> str:
        """Name the key that says in which segment a user is, and since when."""
        return f"{self._conf.prefix}:{{{user_id}}}:s:{by}"

    @property
    def default_key(self) -> str:
        """The key of the card for everybody who has none of their own."""
        return f"{self._conf.prefix}:default:d"

    def segment_key(self, segment: str) -> str:
        """Name the key of the card for those in a rule segment who have none of their own."""
        return f"{self._conf.prefix}:seg:{segment}:d"

    @property
    def policy_key(self) -> str:
        """The key of the table that pages draw from themselves."""
        return f"{self._conf.prefix}:policy"

    @property
    def heartbeat_key(self) -> str:
        """The key that says how far the pipeline has come."""
        return f"{self._conf.prefix}:meta"

    def lag_key(self, minute: int) -> str:
        """The hash that counts delays of one minute since 1970."""
        return f"{self._conf.prefix}:lag:{minute}"

    def put(self, entries: Sequence[Entry]) -> list[Fate]:
        """Write entries, each unless Redis holds a greater `seq`; says what became of each, in order."""
        fates: list[Fate] = []
        while len(fates) < len(entries):
            fates += self._call(entries[len(fates) :])
        return fates

    def count_lags(self, minute: int, counts: Mapping[int, int]) -> None:
        """Add to the minute's histogram of delays, or nothing; what was counted is sent once a second."""
        self._lags.setdefault(minute, Counter()).update(counts)
        if self._monotonic() >= self._lags_due:
            self._send_lags()

    def close(self) -> None:
        """Send what was counted and waits."""
        self._send_lags()

    def _send_lags(self) -> None:
        """Send the histograms; they are lost without a word while Redis does not answer."""
        lags, self._lags = self._lags, {}
        self._lags_due = self._monotonic() + LAGS_EVERY_S
        if self._client is None or self._monotonic() < self._closed_until:
            return
        pipeline = self._client.pipeline(transaction=False)
        for minute, counts in lags.items():
            for upper, count in counts.items():
                pipeline.hincrby(self.lag_key(minute), str(upper), count)
            pipeline.expire(self.lag_key(minute), LAG_TTL_S)  # of one without counts it does nothing
        try:
            pipeline.execute()
        except TROUBLES as error:
            self._close(error)

    def _call(self, left: Sequence[Entry]) -> list[Fate]:
        """Write as many of the entries left as one call takes."""
        if self._monotonic() < self._closed_until:
            return [Fate.SKIPPED] * len(left)
        batch = left[: self._per_call]
        try:
            if self._client is None:
                self._open()
                batch = left[: self._per_call]
            arguments = [f"{entry.seq} {entry.expires} {entry.value or ''}" for entry in batch]
            done = self._script(keys=[entry.key for entry in batch], args=arguments)
        except TROUBLES as error:
            self._close(error)
            return [Fate.FAILED] * len(batch)
        self.trouble = ""
        return [Fate.WRITTEN if one == _WRITTEN else Fate.OLDER for one in done]

    def _open(self) -> None:
        self._client = connect(self._conf)
        self._script = self._client.register_script(COMPARE_AND_SET)
        # The keys of two users lie in two slots, which no cluster takes in one call.
        self._per_call = 1 if isinstance(self._client, RedisCluster) else self._conf.keys_per_call

    def _close(self, error: Exception) -> None:
        """Leave Redis alone for a while: a server that is down or slow must not slow the scoring."""
        self.trouble = f"{type(error).__name__}: {error}"
        self._closed_until = self._monotonic() + self._conf.pause / 1000
        # A timed-out answer may still arrive; a fresh connection cannot mistake it for its own.
        if self._client is not None:
            self._client.close()
            self._client = None
