"""Claim: who edits an encyclopaedia faster than any person can is taken for a robot, and hardly a person is."""

import gzip
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from msgspec import Struct, json

from jobs.wiring.keys import key_ring
from schemas.decisions import Decision, Unfit
from schemas.events import Event
from schemas.reader import pseudonym
from tests.claims.claim import Claim, Result, folder, settings, shared
from tests.claims.typed import replayed

BAR: Final = 0.85

CLAIM: Final = Claim(
    name="robots",
    sentence="Who edits Wikipedia at a robot's pace is taken for one, though nothing that comes in says so.",
    bar=f"of the flagged users with 100 events or more at least {BAR:.0%} are robots by the label",
)

BUSY: Final = 100
"""Events in the file from which on the bar counts a user."""

LIMIT: Final = 40
"""What this site sets as `robots.session_actions`.

The file holds about one edit in forty, and a session's counts begin anew after `time.session_cap`, two hours: more than
40 of its edits are some 1,600 within two hours, one in 4.5 s and never half an hour's rest. That is the pace to which
Wikipedia's bot policy of those years held robots in a hurry (an edit in four to five seconds), not one of a person who
reads what they change. The label had no say in it.
"""

LIMITS: Final = (20, 30, 40, 60, 100)


class _Edit(Struct, rename={"is_robot": "isRobot"}):
    user: str
    is_robot: bool


class Truth(NamedTuple):
    """What the file says of a user.

    Attributes:
        events: of theirs.
        robot: whether more than half of them are labelled as a robot's.
    """

    events: int
    robot: bool


class Score(NamedTuple):
    """How well users were told apart.

    Attributes:
        flagged: users taken for robots.
        precision: share of them that are.
        recall: share of the robots that are among them.
        recall_of_events: share of the robots' events that are theirs.
    """

    flagged: int
    precision: float
    recall: float
    recall_of_events: float


def run() -> Result:
    """Replay a morning of edits through the job, and hold whom it takes for a robot against the label."""
    source, out = shared("wikiticker_am/events.jsonl.gz"), folder(CLAIM.name)
    replayed((f"robots.session_actions={LIMIT}",), source, "wikiticker", out)
    [key, *_] = key_ring(settings().pseudonyms, {})
    with gzip.open(source) as file:
        known = {pseudonym(user, key.secret, key.id): truth for user, truth in truths(file).items()}
    decisions = [json.decode(line, type=Decision) for line in (out / "decisions.jsonl").read_bytes().splitlines()]
    flagged = {each.user_id for each in decisions if Unfit.ROBOT in each.unfit}
    events = (json.decode(line, type=Event) for line in (out / "events.jsonl").read_bytes().splitlines())
    told = sum(event.robot for event in events)
    longest = longest_sessions(decisions)
    everybody, busy = score(flagged, known, 1), score(flagged, known, BUSY)
    # All of these events are edits, which are actions, so the flags of another limit can be read off.
    at_limits = {limit: {user for user, events in longest.items() if events > limit} for limit in LIMITS}
    return Result(
        figure=(
            f"of {busy.flagged} flagged users with {BUSY} events or more {busy.precision:.1%} are robots (recall"
            f" {busy.recall:.1%}); of all {everybody.flagged} flagged {everybody.precision:.1%} (recall"
            f" {everybody.recall:.1%} of the robots, {everybody.recall_of_events:.1%} of their edits)"
        ),
        passed=bool(busy.flagged) and busy.precision >= BAR and at_limits[LIMIT] == flagged and not told,
        details={
            "users": len(known),
            "robots": sum(truth.robot for truth in known.values()),
            "busy_users": sum(truth.events >= BUSY for truth in known.values()),
            "busy_robots": sum(truth.robot and truth.events >= BUSY for truth in known.values()),
            "session_actions": LIMIT,
            "events_that_say_robot": told,
            "flags_as_read_off": at_limits[LIMIT] == flagged,
            "everybody": everybody._asdict(),
            "busy": busy._asdict(),
            "trade_off": {
                str(limit): {"everybody": score(found, known, 1)._asdict(), "busy": score(found, known, BUSY)._asdict()}
                for limit, found in at_limits.items()
            },
        },
    )


def truths(lines: Iterable[bytes]) -> dict[str, Truth]:
    """Read the label, user by user: the majority of their events counts.

    >>> truths([b'{"user":"a","isRobot":true}', b'{"user":"a","isRobot":false}', b'{"user":"b","isRobot":true}'])
    {'a': Truth(events=2, robot=False), 'b': Truth(events=1, robot=True)}
    """
    edits = [json.decode(line, type=_Edit) for line in lines]
    events = Counter(edit.user for edit in edits)
    robotic = Counter(edit.user for edit in edits if edit.is_robot)
    return {user: Truth(count, 2 * robotic[user] > count) for user, count in events.items()}


def longest_sessions(decisions: Iterable[Decision]) -> dict[str, int]:
    """Give the most events that any decision of a user counted in a session."""
    longest: Counter[str] = Counter()
    for decision in decisions:
        longest[decision.user_id] = max(longest[decision.user_id], decision.signals.session_events)
    return longest


def score(flagged: set[str], known: Mapping[str, Truth], least: int) -> Score:
    """Hold flags against the truth, among users with at least so many events; a share of nobody is 0."""
    users = {user for user, truth in known.items() if truth.events >= least}
    robots = {user for user in users if known[user].robot}
    found = flagged & users

    def events(of: Collection[str]) -> int:
        return sum(known[user].events for user in of)

    return Score(
        flagged=len(found),
        precision=_share(len(found & robots), len(found)),
        recall=_share(len(found & robots), len(robots)),
        recall_of_events=_share(events(found & robots), events(robots)),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
