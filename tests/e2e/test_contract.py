"""The contract tier: what a program tells of itself by the probes of include/memtrace/probes.h arrives, once and in order, as events of
the recording; its semaphores are raised while it is traced and no longer. What `contract` does: tests/targets/contract.c."""

import os
import re
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from memtrace_runner import MEMTRACE, Launched, Memtrace, counters
from targets import Target
from tracer import wait_until

STARTED, OBJECT, REFERENCE, RESOURCE, POOL, CLEANUP, THREAD_END = range(18, 25)
FILE_HEADER, RECORD_HEADER = 12, 12
OBJECTS = 8


class Payload:
    def __init__(self, data):
        self.data = data

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data)
        self.data = self.data[struct.calcsize("<" + form):]
        return values if len(values) > 1 else values[0]

    def string(self):
        size = self.take("I")
        text, self.data = self.data[:size], self.data[size:]
        return text.decode()


def recorded(path):
    """(kind, Payload) of each record that the file has."""
    data = Path(path).read_bytes()
    at = FILE_HEADER
    while at < len(data):
        kind, _, size, _ = struct.unpack_from("<HHII", data, at)
        at += RECORD_HEADER + size
        yield kind, Payload(data[at - size:at])


def decoded(path):
    """The contract's events in their order: dicts."""
    events = []
    for kind, payload in recorded(path):
        event = {"kind": kind}
        if kind == STARTED:
            event["process"] = payload.take("I")
            event["sources"] = [payload.string() for _ in range(payload.take("I"))]
            event["sampled_one_in"] = payload.take("I")
        elif kind == THREAD_END:
            event["process"], event["time"], event["tid"] = payload.take("IQi")
        elif STARTED < kind < THREAD_END:
            event["process"], event["time"], event["tid"], event["stack"] = payload.take("IQiI")
            event["action"] = payload.take("B")
            if kind == OBJECT:
                event["address"], event["bytes"] = payload.take("QQ")
                event["type"] = payload.string()
                event["strong"], event["weak"] = payload.take("QQ")
            elif kind == REFERENCE:
                event["object"], event["handle"], event["from"], event["strong"], event["count"] = payload.take("QQQBQ")
            elif kind == RESOURCE:
                event["name_of_kind"] = payload.string()
                event["id"], event["parent"], event["bytes"] = payload.take("QQQ")
                event["name"] = payload.string()
                event["age"], event["idle"] = payload.take("QQ")
                if payload.take("B"):  # the kernel's: see test_descriptors.py
                    continue
            elif kind == POOL:
                event["pool"] = payload.take("Q")
                event["name"] = payload.string()
                event["in_use"], event["limit"] = payload.take("QQ")
        else:
            continue
        events.append(event)
    return events


def of(events, kind, action=None):
    return [event for event in events if event["kind"] == kind and action in (None, event.get("action"))]


def semaphore(pid, address):
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return struct.unpack("<H", os.pread(memory.fileno(), 2, address))[0]


def text_of(pid):
    """The program's code as it is in memory."""
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="ascii").splitlines():
        if "r-xp" in line and line.endswith("/contract"):
            begin, end = (int(number, 16) for number in line.split()[0].split("-"))
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                return os.pread(memory.fileno(), end - begin, begin)
    raise AssertionError("no code")


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """Everything once: attached late, two older objects, three threads."""
    directory = tmp_path_factory.mktemp("contract")
    recording = directory / "contract.rec"
    with Target.start("contract", ["--older", "2", "--threads", "3"]) as target:
        with Memtrace.attach(directory, target.ready(), "--record", recording) as memtrace:
            target.go()
            truth = target.truth()
            report = memtrace.stop()
    return decoded(recording), truth, report


def test_all_that_is_told_arrives_once(traced):
    events, _, report = traced
    created, destroyed = of(events, OBJECT, 0), of(events, OBJECT, 2)
    assert len(created) == OBJECTS
    assert {(event["bytes"], event["type"]) for event in created} == {(64, "Session")}
    assert [event["address"] for event in destroyed] == [created[0]["address"]]
    assert len(of(events, REFERENCE, 0)) == OBJECTS + 3
    assert len(of(events, REFERENCE, 1)) == 1
    assert len(of(events, REFERENCE, 2)) == 1
    assert [event["name_of_kind"] for event in of(events, RESOURCE, 0)] == ["cursor", "cursor"]
    assert [(event["id"], event["parent"], event["bytes"], event["name"]) for event in of(events, RESOURCE, 0)] == [
        (1, 0, 4096, "select 1"),
        (2, 1, 512, ""),
    ]
    assert [event["id"] for event in of(events, RESOURCE, 2)] == [1]
    assert [event["id"] for event in of(events, RESOURCE, 3)] == [2]
    assert [(event["action"], event["in_use"], event["limit"]) for event in of(events, POOL)] == [
        (3, 0, 2),
        (0, 1, 2),
        (0, 2, 2),
        (2, 2, 2),
        (1, 1, 2),
    ]
    assert {event["name"] for event in of(events, POOL)} == {"connections"}
    assert report["coverage"]["lost"] == {}
    assert counters(report)["contract_hits"] == len([e for e in events if e["kind"] not in (STARTED, THREAD_END)]) + 2


def test_references_say_who_holds_whom(traced):
    events, truth, _ = traced
    created = of(events, OBJECT, 0)
    acquired, (released,), (moved,) = (of(events, REFERENCE, action) for action in (0, 1, 2))
    assert truth.notes["object_address"] == created[1]["address"]
    assert [event["object"] for event in acquired[:OBJECTS]] == [event["address"] for event in created]
    assert {(event["strong"], event["count"]) for event in acquired[:OBJECTS]} == {(1, 1)}
    assert [event["count"] for event in acquired[OBJECTS:]] == [2, 3, 4]
    assert len({event["handle"] for event in acquired}) == len(acquired)
    assert moved["from"] == acquired[0]["handle"] and moved["handle"] == released["handle"] != moved["from"]
    assert released["count"] == 0


def test_events_come_in_order_with_stacks(traced):
    events, _, _ = traced
    first = events[0]
    assert first["kind"] == STARTED and first["sampled_one_in"] == 1
    assert re.match(r"memtrace: .*object_create, .*ref_acquire", first["sources"][0])
    times = [event["time"] for event in events if "time" in event]
    assert times == sorted(times)
    assert all(event["stack"] for event in events if "stack" in event)
    assert len({event["process"] for event in events}) == 1


def test_threads_that_end_are_told_of(traced):
    events, _, _ = traced
    holders = [event["tid"] for event in of(events, REFERENCE, 0)[OBJECTS:]]
    ends = [event["tid"] for event in of(events, THREAD_END)]
    assert len(set(holders)) == 3
    assert ends == holders


def test_what_is_older_is_announced_once(traced):
    events, _, _ = traced
    alive = of(events, OBJECT, 1)
    assert [(event["type"], event["bytes"], event["strong"], event["weak"]) for event in alive] == [("Older", 64, 1, 0)] * 2
    sessions = of(events, RESOURCE, 1)
    assert [(event["id"], event["bytes"], event["name"], event["age"], event["idle"]) for event in sessions] == [
        (100, 10, "older session", 5_000_000_000, 1_000_000_000),
        (101, 10, "older session", 5_000_000_000, 1_000_000_000),
    ]
    assert events.index(sessions[-1]) < events.index(of(events, OBJECT, 0)[0])


def test_another_version_of_the_contract_is_said_once_and_left_out(tmp_path):
    recording = tmp_path / "other.rec"
    with Target.start("contract_other", ["--older", "2", "--threads", "3"]) as target:
        with Memtrace.attach(tmp_path, target.ready(), "--record", recording) as memtrace:
            target.go()
            target.truth()
            report = memtrace.stop()
            said = memtrace.said
    assert said.count("version 99") == 1 and "what it tells is left out" in said
    assert [event for event in decoded(recording) if event["kind"] not in (STARTED, THREAD_END)] == []
    assert report["references"]["objects"] == 0
    assert counters(report)["contract_hits"] > OBJECTS


def test_a_program_that_memtrace_starts(tmp_path):
    recording = tmp_path / "launched.rec"
    Launched.run(tmp_path, "contract", ["--threads", "1"], ["--record", recording], hold=True)
    events = decoded(recording)
    assert len(of(events, OBJECT, 0)) == OBJECTS
    assert len(of(events, REFERENCE, 0)) == OBJECTS + 1


def test_what_finds_no_room_in_the_ring_is_counted(tmp_path):
    recording = tmp_path / "loss.rec"
    pairs = 150_000
    with Target.start("contract", ["--pairs", pairs]) as target:
        with Memtrace.attach(tmp_path, target.ready(), "--record", recording) as memtrace:
            memtrace.process.send_signal(signal.SIGSTOP)  # it reads nothing
            target.go()
            target.truth()
            memtrace.process.send_signal(signal.SIGCONT)
            report = memtrace.stop()
    events = decoded(recording)
    lost = report["coverage"]["lost"]["contract_records_lost"]
    told = len(of(events, REFERENCE, 0)) + len(of(events, REFERENCE, 1))
    assert lost > 0 and told + lost == 2 * pairs + OBJECTS + 1
    assert counters(report)["contract_hits"] == lost + len([e for e in events if e["kind"] not in (STARTED, THREAD_END)]) + 2


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_the_program_is_as_before_when_memtrace_has_ended(tmp_path, end):
    with Target.start("contract") as target:
        pid = target.ready()
        target.go()
        notes = target.truth().notes
        addresses = [notes["semaphore_acquire"], notes["semaphore_announce"]]
        before = text_of(pid)
        assert [semaphore(pid, address) for address in addresses] == [0, 0]
        with Memtrace.attach(tmp_path, pid) as memtrace:
            assert [semaphore(pid, address) for address in addresses] == [1, 1]
            assert text_of(pid) != before
            memtrace.process.send_signal(end)
            memtrace.process.wait()
        wait_until(lambda: [semaphore(pid, address) for address in addresses] == [0, 0], "the semaphores fall")
        wait_until(lambda: text_of(pid) == before, "the probes go")
        assert target.finish() == 0


def cleanup(pid, *options):
    return subprocess.run([MEMTRACE, "cleanup", "--pid", str(pid), *options], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("level", ["low", "high", "critical"])
def test_a_program_is_asked_to_clean_up(level):
    with Target.start("contract") as target:
        pid = target.ready()
        target.go()
        target.truth()
        done = cleanup(pid, "--level", level)
        assert done.returncode == 0, done.stderr
        assert re.fullmatch(
            rf"process {pid} \(contract\) freed 32768 bytes, in 3 resources, [\d.]+ ms after it was asked; [\d.]+ ms of them to free\n",
            done.stdout,
        )
        assert target.finish() == 0


def test_a_program_that_cannot_be_asked_is_an_error():
    with Target.start("prior_blocks") as target:
        done = cleanup(target.ready())
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no probe memtrace:emergency_high" in done.stderr and done.stderr.count("\n") == 1


def test_a_program_that_does_not_answer_is_an_error():
    with Target.start("contract") as target:  # it looks for requests after "go" only
        done = cleanup(target.ready(), "--timeout", "200ms")
    assert (done.returncode, done.stdout) == (1, "")
    assert "did not answer the request in time" in done.stderr and done.stderr.count("\n") == 1


def test_probes_lists_what_it_would_attach_to():
    with Target.start("contract") as target:
        done = subprocess.run(
            [MEMTRACE, "probes", "--pid", str(target.ready())], capture_output=True, text=True, check=False, timeout=60
        )
    assert "provider memtrace" in done.stdout
    assert re.search(r"^    ref_acquire +1 place$", done.stdout, re.MULTILINE)
