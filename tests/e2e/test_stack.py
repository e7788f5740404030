"""The embedded stack comes up on this machine only, and leaves nothing behind, whatever ended it."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from confluent_kafka.cimpl import NewTopic

from jobs.local import processes
from jobs.local.stack import Stack
from jobs.wiring import Refusal, wire

OWNER = """
    import sys, time
    from pathlib import Path
    from jobs.local.stack import Stack
    with Stack(Path(sys.argv[1]), jars=Path(sys.argv[2])) as stack:
        print(stack.bootstrap, flush=True)
        time.sleep(600)
"""


@contextmanager
def owner(root: Path, jars: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs a stack in `root`; it is up when the block begins."""
    command = [sys.executable, "-c", textwrap.dedent(OWNER), str(root), str(jars)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("127.0.0.1:")
        yield process
        process.kill()


def pids(root: Path) -> list[int]:
    """The processes that carry the mark of the stack in `root`, as `ps` would find them."""
    mark = f"TRIMTAB_STACK={root.resolve()}/.local".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def listening(ids: list[int]) -> set[str]:
    """Addresses on which these processes listen, in the kernel's hexadecimal: 0100007F is 127.0.0.1."""
    inodes = set()
    for pid in ids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            inodes |= set(re.findall(r"socket:\[(\d+)\]", str(link.readlink())))
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


def gone(root: Path) -> bool:
    """Whether no process and no data of the stack in `root` is left; logs and the lock file stay."""
    return not pids(root) and sorted(path.name for path in (root / ".local").iterdir()) == ["lock", "logs"]


def test_it_comes_up_and_answers_on_this_machine_only(stack: Stack, scratch: Path) -> None:
    wire.admin(stack.bootstrap, 1000)
    with redis.Redis.from_url(stack.redis_url) as client:
        assert client.ping() is True
    assert stack.environment() == {
        "TRIMTAB__KAFKA__BOOTSTRAP": stack.bootstrap,
        "TRIMTAB__REDIS__URL": stack.redis_url,
    }
    assert listening(pids(scratch / "shared")) == {"0100007F"}


def test_a_second_start_in_the_same_place_is_refused_and_names_the_process(stack: Stack, scratch: Path) -> None:
    with pytest.raises(processes.AlreadyRunning, match=f"process {os.getpid()} already runs a stack here"):
        Stack(scratch / "shared").__enter__()
    wire.admin(stack.bootstrap, 1000)


def test_an_error_in_the_block_ends_everything_and_is_passed_on(scratch: Path, jars: Path) -> None:
    root = scratch / "error"
    with pytest.raises(ZeroDivisionError), Stack(root, jars=jars):
        1 / len(pids(root)[2:])
    assert gone(root)


def test_what_the_block_started_by_itself_ends_with_it_and_its_neighbour_lives(
    stack: Stack, scratch: Path, jars: Path
) -> None:
    root = scratch / "normal"
    with Stack(root, jars=jars):
        mine = subprocess.Popen(["sleep", "600"])
    assert mine.wait(1) == -signal.SIGTERM
    assert gone(root)
    wire.admin(stack.bootstrap, 1000)


def test_the_start_after_a_kill_9_ends_what_was_left(scratch: Path, jars: Path) -> None:
    root = scratch / "killed"
    with owner(root, jars) as process:
        process.kill()
        process.wait()
        left = pids(root)
        assert len(left) == 2
        with Stack(root, jars=jars) as again:
            assert not set(left) & set(pids(root))
            wire.admin(again.bootstrap, 1000)
        assert gone(root)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_to_the_owner_ends_everything(sign: signal.Signals, scratch: Path, jars: Path) -> None:
    root = scratch / sign.name
    with owner(root, jars) as process:
        process.send_signal(sign)
        assert process.wait(20) != 0
        assert gone(root)


def test_the_cache_comes_back_empty_under_its_address_and_the_broker_with_its_records(stack: Stack) -> None:
    with redis.Redis.from_url(stack.redis_url) as client:
        client.set("k", "v")
        stack.cache.stop(0)
        with pytest.raises(redis.ConnectionError):
            client.get("k")
        stack.restart_cache()
        assert client.get("k") is None
    admin = wire.admin(stack.bootstrap, 1000)
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result()
    stack.broker.stop(0)
    with pytest.raises(wire.Unreachable, match=f"no broker answers at {stack.bootstrap} within 0.2 s"):
        wire.admin(stack.bootstrap, 200)
    stack.restart_broker()
    assert "kept" in wire.admin(stack.bootstrap, 1000).list_topics(timeout=5).topics


def test_a_paused_cache_answers_late(stack: Stack) -> None:
    with redis.Redis.from_url(stack.redis_url) as client:
        stack.cache.pause(300)
        start = time.monotonic()
        client.ping()
        assert time.monotonic() - start > 0.25


def test_absent_jars_are_told_in_one_line_with_the_remedy(scratch: Path) -> None:
    root = scratch / "bare"
    with pytest.raises(Refusal, match=r"^no broker jars in .*/bare/\.local/jars/broker: run make setup$"):
        Stack(root).__enter__()
    assert gone(root)


def test_a_broker_that_does_not_come_up_says_why(scratch: Path, jars: Path) -> None:
    root = scratch / "broken"
    (root / ".local" / "kept" / "broker").mkdir(parents=True)
    (root / ".local" / "kept" / "broker" / "meta.properties").write_text("version=99\n")
    with pytest.raises(processes.NotStarted, match=r"the broker ended at once; .*broker\.log ends: .*version"):
        Stack(root, jars=jars, keep_data=True).__enter__()
    assert pids(root) == []


def test_kept_records_are_there_the_next_time(scratch: Path, jars: Path) -> None:
    root = scratch / "keep"
    with Stack(root, jars=jars, keep_data=True) as first:
        admin = wire.admin(first.bootstrap, 1000)
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result()
    with Stack(root, jars=jars, keep_data=True) as second:
        assert "kept" in wire.admin(second.bootstrap, 1000).list_topics(timeout=5).topics
