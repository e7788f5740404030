"""Claim: who is erased has no card and no decision within seconds, whatever they and the job's processes do."""

import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import json

from jobs.pulse import repeat
from jobs.wiring import Refusal
from jobs.wiring.keys import key_ring
from schemas.control import Receipt, State
from schemas.reader import pseudonym
from tests.claims.claim import REPOSITORY, Claim, Result, folder
from tests.claims.crowd import crowd
from tests.claims.live import Live, live
from udfs.erasure import erasure

CLEAN_S: Final = 30.0
AFTER_S: Final = 60.0

CLAIM: Final = Claim(
    name="erase",
    sentence=(
        "While the job runs, an erased person loses card and decisions at once, and every store is clean or leaves by"
        " age; what they go on doing brings nothing back, nor does a kill -9 of all Python workers, once that has"
        " repeated what it repeats; nobody else notices."
    ),
    bar=(
        f"no store dirty within {CLEAN_S:g} s of the command; 0 keys seen again in the {AFTER_S:g} s afterwards;"
        " 0 decisions from the erasure's slice on; 0 keys left by a restart that repeats it; all others' cards renewed"
    ),
)

MARK: Final = "raw-person-"
"""How every raw id begins, so that it is found wherever it leaks."""

PEOPLE: Final = tuple(f"{MARK}{number}" for number in range(120))
MEMBER: Final = PEOPLE[0]
ACCOUNT: Final = f"{MARK}0@home"
FIRST: Final = (*PEOPLE[:3], ACCOUNT)
"""Erased first: three people, one of whom has an account, which is a second id."""

SECOND: Final = PEOPLE[3:6]
"""Erased right before the workers are killed, so that the restart repeats their erasure."""

CHECKPOINT_S: Final = 20
LOOK_S: Final = 0.1
BOUND_S: Final = 120.0
SETTLED_S: Final = 10.0


class Look(NamedTuple):
    """What a page would have seen.

    Attributes:
        at: monotonic seconds.
        seen: keys of erased people that Redis held.
    """

    at: float
    seen: frozenset[str]


class Erased(NamedTuple):
    """What the verb did.

    Attributes:
        began: when it was called, monotonic seconds.
        clean_s: seconds until `--check` found no store dirty.
        receipts: what it then said.
        said: everything it wrote, to whatever place.
    """

    began: float
    clean_s: float
    receipts: list[Receipt]
    said: str


def run() -> Result:
    """Erase people who do not stop, watch their keys, kill the workers, and look into the topics at last."""
    place = folder(CLAIM.name)
    with (
        live(place / "live", f"flink.checkpoint={CHECKPOINT_S}s") as running,
        crowd(running.settings, PEOPLE, _account),
        _watched(running, (*FIRST, *SECOND)) as looks,
    ):
        every = [_key(running, person) for person in (*PEOPLE, ACCOUNT)]
        running.wait(lambda: running.redis.exists(*every) == len(every), BOUND_S, "everybody's card")
        first = _erase(running, FIRST, place)
        others = sorted(set(PEOPLE) - {*FIRST, *SECOND})
        before = _seqs(running, others)
        time.sleep(AFTER_S)
        after = _seqs(running, others)
        quiet = time.monotonic()
        _await_checkpoint(running)
        second = _erase(running, SECOND, place)
        killed_at, killed = time.time(), running.kill_workers()
        running.wait(lambda: running.heartbeat() > killed_at * 1000, BOUND_S, "decisions after the kill")
        recovered_s = time.time() - killed_at
        settled = time.monotonic()
        time.sleep(SETTLED_S)
        at_the_end = _seqs(running, others)
        held = _held(running, (*FIRST, *SECOND))
        stores = _states([*first.receipts, *second.receipts])
        watched = _between(looks, first.began + first.clean_s, quiet)
        repetition = _between(looks, second.began + second.clean_s, settled)
        facts = {
            "clean_s": [round(each.clean_s, 1) for each in (first, second)],
            "looks": len(watched),
            "longest_between_looks_s": round(max(b.at - a.at for a, b in pairwise(watched)), 2),
            "seen_again": _keys(watched, running, FIRST),
            "seen_in_repetition": _keys(repetition, running, (*FIRST, *SECOND)),
            "seen_in_repetition_s": _lasted(repetition),
            "seen_when_settled": _keys(_between(looks, settled, float("inf")), running, (*FIRST, *SECOND)),
            "held_at_the_end": len(held),
            "others": len(others),
            "others_renewed": sum(after[other] > before[other] for other in others),
            "others_renewed_after_the_kill": sum(at_the_end[other] > killed_at * 1000 for other in others),
            "killed": killed,
            "recovered_s": round(recovered_s, 1),
            "restarts": running.restarts(),
            "states": stores,
            "clean": [store for store, states in stores.items() if states == [State.CLEAN.value]],
            "raw_ids_said": sum(MARK in each.said for each in (first, second)),
        }
        return _judged(facts | _told(running, [*first.receipts, *second.receipts], others))


def _judged(facts: Mapping[str, Any]) -> Result:
    nothing = (
        "seen_again",
        "seen_when_settled",
        "held_at_the_end",
        "decided",
        "raw_ids_said",
        "raw_ids_in_control",
    )
    slowest = max(facts["clean_s"])
    renewed = min(facts["others_renewed"], facts["others_renewed_after_the_kill"])
    return Result(
        figure=(
            f"no store dirty after {slowest:g} s (clean: {', '.join(facts['clean'])}; the others leave by age); in"
            f" {AFTER_S:g} s and {facts['looks']} looks keys seen again: {facts['seen_again']};"
            f" {facts['decided']} decisions from the erasure on, though {facts['events_afterwards']} events came;"
            f" {renewed} of {facts['others']} others renewed; a kill -9 right after the erasure repeated"
            f" {facts['decisions_repeated']} earlier decisions, keys seen for {facts['seen_in_repetition_s']:g} s of"
            f" that, {facts['seen_when_settled']} afterwards"
        ),
        passed=not any(facts[name] for name in nothing)
        and slowest <= CLEAN_S
        and renewed == facts["others"]
        # Else nothing was put to the test.
        and all(facts[name] for name in ("events_afterwards", "killed", "restarts", "decisions_repeated")),
        details=facts,
    )


def _account(person: str) -> Mapping[str, Any]:
    """Let one person be known by an account, too."""
    return {"account_id": ACCOUNT} if person == MEMBER else {}


def _erase(running: Live, ids: Sequence[str], place: Path) -> Erased:
    """Erase people, and ask until no store is dirty."""
    file = place / f"receipt-{len(ids)}.json"
    began = time.monotonic()
    said = [_verb(running, ids, file)]
    while (code := said[-1][0]) != 0:
        if code != 1 or time.monotonic() - began > BOUND_S:
            raise Refusal(f"erase: exit code {code}: {said[-1][1]}")
        said.append(_verb(running, ids, file, "--check"))
    said.append(_verb(running, ids, file, "--check"))
    clean_s = time.monotonic() - began
    if said[-1][0]:
        raise Refusal(f"erase: what was clean is so no more: {said[-1][1]}")
    receipts = json.decode(file.read_bytes(), type=list[Receipt])
    return Erased(began, clean_s, receipts, "\n".join(text for _, text in said) + file.read_text())


def _verb(running: Live, ids: Sequence[str], receipt: Path, *words: str) -> tuple[int, str]:
    conf = running.settings
    sets = (f"kafka.bootstrap={conf.kafka.bootstrap}", f"redis.url={conf.redis.url}")
    options = [word for each in sets for word in ("--set", each)]
    done = subprocess.run(
        [sys.executable, "-m", "jobs", *options, "erase", "-", "--receipt", str(receipt), *words],
        cwd=REPOSITORY,
        input="\n".join(ids),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@contextmanager
def _watched(running: Live, ids: Sequence[str]) -> Iterator[list[Look]]:
    """Look for people's keys all the time."""
    over = threading.Event()
    looks: list[Look] = []
    keys = [_key(running, person) for person in ids]

    def look() -> None:
        values = running.redis.mget(keys)
        seen = frozenset(key for key, value in zip(keys, values, strict=True) if value is not None)
        looks.append(Look(time.monotonic(), seen))

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(repeat, look, LOOK_S, over.is_set, over.wait)
        try:
            yield looks
        finally:
            over.set()
        watching.result()


def _await_checkpoint(running: Live) -> None:
    """Wait for the moment from which a restart repeats all that follows."""
    done = running.checkpoints()
    running.wait(lambda: running.checkpoints() > done, BOUND_S, "a checkpoint")


def _between(looks: Iterable[Look], since: float, until: float) -> list[Look]:
    return [look for look in looks if since <= look.at < until]


def _keys(looks: Iterable[Look], running: Live, ids: Collection[str]) -> int:
    """Count how often a key was seen: looks times keys."""
    asked = {_key(running, person) for person in ids}
    return sum(len(look.seen & asked) for look in looks)


def _lasted(looks: Iterable[Look]) -> float:
    """Say for how long some key was there, seconds, to the next look."""
    times = [look.at for look in looks if look.seen]
    return round(max(times) - min(times) + LOOK_S, 1) if times else 0.0


def _told(running: Live, receipts: Iterable[Receipt], others: Collection[str]) -> dict[str, Any]:
    """Look into the topics: what came of the erased after their erasure, and whether others were still decided."""
    since = {receipt.user_id: erasure(receipt.erased_at or 0, running.settings).slice_end for receipt in receipts}
    decisions = [json.decode(taken.body or b"") for taken in running.taken("decisions")]
    mine = [(each["user_id"], each["seq"]) for each in decisions if each["user_id"] in since]
    named = [(each["account"], each["seq"]) for each in decisions if each.get("account") in since]
    events = [json.decode(taken.body or b"") for taken in running.taken("events")]
    decided = {each["user_id"] for each in decisions}
    return {
        "decided": sum(seq >= since[user_id] for user_id, seq in (*mine, *named)),
        "decisions_before": len(set(mine)),
        "decisions_repeated": len(mine) - len(set(mine)),
        "events_afterwards": sum(each["at"] >= since.get(each["user_id"], float("inf")) for each in events),
        "others_never_decided": sum(_hidden(running, other) not in decided for other in others),
        "raw_ids_in_control": sum(MARK.encode() in (taken.body or b"") for taken in running.taken("control")),
    }


def _states(receipts: Iterable[Receipt]) -> dict[str, list[str]]:
    """Collect how each store stands to all of them."""
    found: dict[str, set[str]] = {}
    for receipt in receipts:
        for remains in receipt.stores:
            found.setdefault(remains.store, set()).add(f"{remains.state.value}: {remains.why}".rstrip(": "))
    return {store: sorted(states) for store, states in found.items()}


def _seqs(running: Live, ids: Sequence[str]) -> dict[str, int]:
    """Read people's cards: the slice end of each, 0 where there is none."""
    values = running.redis.mget([_key(running, person) for person in ids])
    return {person: int(json.decode(value)["seq"]) if value else 0 for person, value in zip(ids, values, strict=True)}


def _held(running: Live, ids: Sequence[str]) -> list[str]:
    """Name every key, of whatever kind, in which one of the people is named."""
    hidden = [_hidden(running, person) for person in ids]
    keys = [key.decode() for key in running.redis.scan_iter(count=1000)]
    return [key for key in keys if any(name in key for name in hidden)]


def _key(running: Live, person: str) -> str:
    return running.cards.key(_hidden(running, person))


def _hidden(running: Live, person: str) -> str:
    key = key_ring(running.settings.pseudonyms, {})[0]
    return pseudonym(person, key.secret, key.id)
