"""Every signal of one person, worked out from the list of their events with nothing clever: what the job is held to."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

from schemas.settings import Settings

Event = Mapping[str, Any]
"""A record of the topic `events`: at, kind, and what else it says."""

COUNTED = (
    *("view", "click", "scroll", "hover", "dwell", "search", "cart", "purchase", "rate", "form", "rage", "error"),
    *("exposure", "back", "sentiment"),
)
DEPTHS = 6
GROUPS = 12


@dataclass(frozen=True)
class Oracle:
    """What the signals of one person are by definition.

    Attributes:
        settings: horizons, weights, durations.
        interests: item -> place of its interest among `signals.interests`; empty without a catalogue.
    """

    settings: Settings
    interests: Mapping[str, int]

    def slices(self, events: Sequence[Event]) -> list[tuple[int, list[Event]]]:
        """Events by slice end, in order."""
        length, grouped = self.settings.time.slice, defaultdict(list)
        for event in events:
            grouped[(event["at"] // length + 1) * length].append(event)
        return sorted(grouped.items())

    def milli_points(self, events: Sequence[Event]) -> int:
        """Engagement of one slice, thousandths of a point."""
        points = self.settings.signals.points
        counted = sum(round(getattr(points, event["kind"], 0) * 1000) for event in events if event["kind"] in POINTED)
        dwell = math.trunc(sum(event.get("dwell_ms", 0) for event in events) * points.dwell_second)
        deepest = max((round(event.get("scroll", 0) * 1000) for event in events), default=0)
        total: int = counted + dwell + math.trunc(deepest * points.scroll_page)
        return total

    def silences(self, events: Sequence[Event], until: float = math.inf) -> tuple[dict[int, set[str]], list[int]]:
        """Slice ends at which a silence is told, with its sorts, and those at which the person is forgotten.

        Args:
            events: of the person, ascending.
            until: event time of the newest record of all, ms since 1970.
        """
        time, quiet, found = self.settings.time, self.settings.quiet, defaultdict(set)
        stride = quiet.pause // 2
        strides = sorted({(event["at"] // stride + 1) * stride - 1 for event in events})
        forgotten: list[int] = []
        for sort, moments in (
            ("paused", _ends(strides, quiet.pause)),
            ("departed", _ends(strides, time.session_gap)),
            ("gone", _ends(strides, quiet.gone)),
        ):
            for moment in moments:
                if moment > until:
                    continue
                found[(moment // time.slice + 1) * time.slice].add(sort)
        forgotten += [
            (moment // time.slice + 1) * time.slice for moment in _ends(strides, time.memory) if moment <= until
        ]
        return found, forgotten

    def signals(self, events: Sequence[Event], end: int, forgotten: Sequence[int]) -> dict[str, float]:
        """Signals at the slice that ends at `end`, from all events before it.

        Args:
            events: of the person, ascending.
            end: of the slice, ms since 1970.
            forgotten: slice ends at which memory ended.
        """
        conf, time = self.settings.signals, self.settings.time
        ended = max((each for each in forgotten if each <= end), default=0)
        life = self.slices([event for event in events if ended <= event["at"] < end])
        now = life[-1][1] if life and life[-1][0] == end else []
        before = life[:-1] if now else life
        prev_ms = before[-1][1][-1]["at"] if before else 0
        sessions = self._sessions(life)
        began = sessions[-1][0][1][0]["at"]
        landmark = began // time.slice * time.slice
        landmark += (end - 1 - landmark) // time.session_cap * time.session_cap
        if not now and end - prev_ms > time.session_gap + 2 * self.settings.quiet.pause:
            landmark = end - time.slice
        session = [(at, part) for at, part in sessions[-1] if at > landmark]
        start = max(began, landmark)
        flat = [event for _, part in session for event in part]
        row: dict[str, float] = {f"n_{kind}": sum(event["kind"] == kind for event in now) for kind in COUNTED}
        row |= {
            "events": len(now),
            "dwell_s": sum(event.get("dwell_ms", 0) for event in now) / 1000,
            "scroll": max((round(event.get("scroll", 0) * 1000) for event in now), default=0) / 1000,
            "engagement": self.milli_points(now) / 1000,
            "gap_s": (now[0]["at"] - prev_ms) / 1000 if now and prev_ms else 0,
            "silence_s": 0 if now else (end - prev_ms) / 1000,
            "session_age_s": (end - start) / 1000,
            "session_depth": len(session),
            "session_events": len(flat),
            "session_dwell_s": sum(event.get("dwell_ms", 0) for event in flat) / 1000,
        }
        row |= self._fading(session, end, landmark)
        earlier = [self.milli_points(part) / 1000 for _, part in before]
        row |= self._baseline(earlier, row["engagement"] if now else None)
        row |= self._visits(sessions, life, end)
        row |= self._reading(session, flat, end, start)
        row |= self._trouble(life, session, flat, end, landmark)
        row |= self._shop(life, flat, end)
        row |= self._tastes(life, flat)
        row |= self._chart(session, end, row)
        expected = (conf.expected_gap + 1000 * row.pop("gaps_s")) / max(len(sessions), 1)
        row["expected_gap_s"] = expected / 1000
        risk = (expected / (expected + 1000 * row["silence_s"] / max(len(sessions), 1))) ** max(len(sessions), 1)
        row["churn_risk"] = 1 - risk
        return row

    def _sessions(self, life: Sequence[tuple[int, list[Event]]]) -> list[list[tuple[int, list[Event]]]]:
        sessions = [[life[0]]]
        for earlier, later in pairwise(life):
            if later[1][0]["at"] - earlier[1][-1]["at"] > self.settings.time.session_gap:
                sessions.append([])
            sessions[-1].append(later)
        return sessions

    def _fading(self, session: Sequence[tuple[int, list[Event]]], end: int, landmark: int) -> dict[str, float]:
        conf = self.settings.signals
        taus = {"rate_fast": conf.fast, "rate_mid": conf.mid, "rate_slow": conf.slow}
        recent = [(at, self.milli_points(part) / 1000) for at, part in session]
        rates = {name: _rate(recent, end, landmark, tau) for name, tau in taus.items()}
        fast, mid, slow = rates.values()
        rates |= {"velocity": fast - slow, "surge": fast - mid, "drift": mid - slow}
        return rates | {"acceleration": (fast - mid) - (mid - slow)}

    def _baseline(self, earlier: Sequence[float], now: float | None) -> dict[str, float]:
        if len(earlier) < max(self.settings.signals.baseline_slices, 2):
            return {"baseline": 0, "spread": 0, "zscore": 0}
        mean = sum(earlier) / len(earlier)
        spread = math.sqrt(sum((each - mean) ** 2 for each in earlier) / (len(earlier) - 1))
        known = spread > 1e-9 and now is not None
        return {"baseline": mean, "spread": spread, "zscore": (now - mean) / spread if known and now is not None else 0}

    def _visits(
        self, sessions: Sequence[Sequence[tuple[int, list[Event]]]], life: Sequence[tuple[int, list[Event]]], end: int
    ) -> dict[str, float]:
        born = life[0][1][0]["at"]
        gaps = [later[0][1][0]["at"] - earlier[-1][1][-1]["at"] for earlier, later in pairwise(sessions)]
        return {
            "sessions": len(sessions),
            "frequency": len(sessions) / max((end - born) / 86_400_000, 1),
            "recency_s": gaps[-1] / 1000 if gaps else 0,
            "gaps_s": sum(gaps) / 1000,
        }

    def _reading(
        self, session: Sequence[tuple[int, list[Event]]], flat: Sequence[Event], end: int, start: int
    ) -> dict[str, float]:
        deepest = [max(round(event.get("scroll", 0) * 1000) for event in part) for _, part in session]
        classes = Counter(min((depth - 1) // -(-1000 // DEPTHS), DEPTHS - 1) for depth in deepest if depth)
        dwell = sum(event.get("dwell_ms", 0) for event in flat)
        return {
            "scroll_p50": _grouped_quantile([classes[place] for place in range(DEPTHS)], 0.5),
            "scroll_p90": _grouped_quantile([classes[place] for place in range(DEPTHS)], 0.9),
            "dwell_share": min(dwell / (end - start), 1),
        }

    def _trouble(
        self,
        life: Sequence[tuple[int, list[Event]]],
        session: Sequence[tuple[int, list[Event]]],
        flat: Sequence[Event],
        end: int,
        landmark: int,
    ) -> dict[str, float]:
        reactions = {at: self._reaction(life, place) for place, (at, _) in enumerate(life)}
        clicked = [reactions[at][0] for at, _ in session if reactions[at][0] >= 0]
        back = [reactions[at][1] for at, _ in session]
        troubles = [
            (at, sum(event["kind"] in ("rage", "error") for event in part) + reactions[at][1]) for at, part in session
        ]
        counts = Counter(event["kind"] for event in flat)
        edited = [event["item"] for event in flat if event["kind"] == "form" and event.get("item")]
        empty = max(GROUPS - len({crc32(item.encode()) % GROUPS for item in edited}), 0.5) / GROUPS
        looked = counts["hover"] + counts["click"]
        return {
            "response_s": reactions[end][0] / 1000 if reactions.get(end, (-1, 0))[0] >= 0 else -1,
            "session_response_s": sum(clicked) / len(clicked) / 1000 if clicked else 0,
            "hover_share": counts["hover"] / looked if looked else 0,
            "form_edits": counts["form"],
            "form_reedits": max(counts["form"] + GROUPS * math.log(empty), 0),
            "frustration": 60 * _rate(troubles, end, landmark, self.settings.signals.mid),
            "session_rages": counts["rage"],
            "session_errors": counts["error"],
            "session_backs": sum(back),
            "session_clicks": counts["click"],
            "session_views": counts["view"],
        }

    def _reaction(self, life: Sequence[tuple[int, list[Event]]], place: int) -> tuple[int, int]:
        """Time to the slice's first click, -1 without one, and whether a quick return is in it."""
        now = life[place][1]
        views = [event["at"] for event in now if event["kind"] == "view"]
        earlier = [event["at"] for _, part in life[:place] for event in part if event["kind"] == "view"]

        def since_page(kind: str) -> int:
            did = [event["at"] for event in now if event["kind"] == kind]
            page = views[0] if did and views and views[0] <= did[0] else max(earlier, default=None)
            return did[0] - page if did and page is not None else -1

        back = since_page("back")
        return since_page("click"), int(0 <= back <= self.settings.signals.quick_back)

    def _shop(self, life: Sequence[tuple[int, list[Event]]], flat: Sequence[Event], end: int) -> dict[str, float]:
        cart, cart_ms = 0, 0
        latest = {"search": 0, "click": 0}
        for _, part in life:
            counts = Counter(event["kind"] for event in part)
            # What is bought within the slice in which it is put into the cart is bought.
            cart = 0 if counts["purchase"] else cart + counts["cart"]
            cart_ms = part[-1]["at"] if counts["cart"] else cart_ms
            latest |= {kind: part[-1]["at"] for kind in latest if counts[kind]}
        counts = Counter(event["kind"] for event in flat)
        return {
            "session_searches": counts["search"],
            "searching": int(latest["search"] > latest["click"]),
            "cart_items": cart,
            "cart_age_s": (end - cart_ms) / 1000 if cart else 0,
            "session_purchases": counts["purchase"],
        }

    def _tastes(self, life: Sequence[tuple[int, list[Event]]], flat: Sequence[Event]) -> dict[str, float]:
        remembered = [event for _, part in life for event in part]
        now, ever = self._shares(flat), self._shares(remembered)
        middle = [(p + q) / 2 for p, q in zip(now, ever, strict=True)]
        apart = _entropy(middle) - (_entropy(now) + _entropy(ever)) / 2
        moods, of_session = [self._mood(event) for event in remembered], [self._mood(event) for event in flat]
        told, told_now = ([mood for mood in each if mood is not None] for each in (moods, of_session))
        return {
            "taste": max(now),
            "diversity": _entropy(ever) / math.log2(len(ever)),
            "shift": min(max(apart, 0), 1) if sum(now) and sum(ever) else 0,
            "rating": sum(told) / (len(told) + 1) / 1000,
            "session_rating": sum(told_now) / len(told_now) / 1000 if told_now else 0,
        }

    def _mood(self, event: Event) -> int | None:
        value: float | None = event.get("value")
        if value is None or event["kind"] not in ("rate", "sentiment"):
            return None
        lowest, highest = self.settings.signals.rating
        said: float = 2 * (value - lowest) / (highest - lowest) - 1 if event["kind"] == "rate" else value
        return round(1000 * min(max(said, -1), 1))

    def _shares(self, events: Sequence[Event]) -> list[float]:
        liking = [0] * 16
        for event in events:
            place, mood = self.interests.get(event.get("item", "")), self._mood(event)
            if place is not None and (mood is None or mood >= 0):
                liking[place] += getattr(self.settings.signals.liking, event["kind"], 0)
        return [each / max(sum(liking), 1) for each in liking]

    def _chart(
        self, session: Sequence[tuple[int, list[Event]]], end: int, row: Mapping[str, float]
    ) -> dict[str, float]:
        tau = self.settings.signals.mid
        weights = [math.exp((at - end) / tau) for at, _ in session]
        if row["spread"] <= 0 or not weights:
            return {"chart": 0}
        points = [self.milli_points(part) / 1000 for _, part in session]
        mean = sum(w * p for w, p in zip(weights, points, strict=True)) / sum(weights)
        error = row["spread"] * math.sqrt(sum(w * w for w in weights)) / sum(weights)
        return {"chart": (mean - row["baseline"]) / error}


POINTED = ("view", "click", "hover", "search", "cart", "purchase", "rate", "form", "rage", "error")

WITHOUT = frozenset({"unusual", "hour", "anomaly"})
"""Signals that are held to something else: read off counters within a stated error, said by the event, scored."""


def _ends(moments: Sequence[int], gap: int) -> Iterator[int]:
    """When a silence of a length is told after moments, ascending, that are further apart than it."""
    for earlier, later in pairwise([*moments, math.inf]):
        if later - earlier > gap:
            yield int(earlier) + gap - 1


def _rate(values: Sequence[tuple[int, float]], end: int, landmark: int, tau: float) -> float:
    faded = sum(value * math.exp((at - end) / tau) for at, value in values)
    return faded / (tau / 1000 * (1 - math.exp((landmark - end) / tau)))


def _entropy(shares: Sequence[float]) -> float:
    return -sum(share * math.log2(share) for share in shares if share > 0)


def _grouped_quantile(counts: Sequence[int], q: float) -> float:
    wanted, below = q * sum(counts), 0
    for place, count in enumerate(counts):
        if below + count >= wanted and count:
            return (place + (wanted - below) / count) / len(counts)
        below += count
    return 0
