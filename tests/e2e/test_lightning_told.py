"""What the demo database does wrong with references and resources is found, called by its name and located to the line; and nothing is found
where it does all that rightly. The bugs: LIGHTNING_MISUSES in tests/targets/lightning/bugs.hpp.

MEMTRACE_TOLD_RUNS in the environment says how often each is tried, 1 unless said.
"""

import os
import re
import subprocess
import time
from datetime import datetime, timedelta, timezone

import pytest

from memtrace_runner import MEMTRACE, Memtrace
from test_lightning import ROOT, TARGETS, Client, Server, get, programs, put, read_batch  # noqa: F401  (programs builds the server)

RUNS = range(int(os.environ.get("MEMTRACE_TOLD_RUNS", "1")))
SOURCES = ROOT / "tests" / "targets" / "lightning"
SETTLED = timedelta(seconds=3)  # what is wrong counts when it has lasted 2 s (model/references.hpp): nothing comes up after that


def marked_lines():
    """{(bug, what): "FILE:LINE"} of the comments "BUG NAME WHAT" in the sources."""
    marks = {}
    for path in SOURCES.glob("*.cpp"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for bug, what in re.findall(r"// BUG (\S+) (\w+)", line):
                marks[bug, what] = f"{path.name}:{number}"
    return marks


MARKS = marked_lines()


def is_at(stack, server, bug, what):
    """Whether the stack passes the line that the sources mark, in the function that the server names."""
    return any(
        f"{os.path.basename(frame['file'])}:{frame['line']}" == MARKS[bug, what] and server.functions[bug] in frame["function"]
        for frame in stack
    )


def settled_report(memtrace):
    since = (datetime.now(timezone.utc) + SETTLED).isoformat(timespec="milliseconds")
    return memtrace.wait_report(lambda report: report["time"] > since)


class Told(Server):
    """A server, and memtrace that listens to it from before the first client."""

    def __init__(self, directory, *options):
        super().__init__(directory, *options)
        client = Client(self)
        rows = [line.split() for line in client.block("BUG LIST").splitlines()]
        self.functions = {row[1]: row[3] for row in rows}
        assert all(row[2] == "off" for row in rows)
        client.ask("QUIT\n")
        client.close()
        self.memtrace = Memtrace.attach(directory, self.pid, "--interval", "300ms")

    def __exit__(self, *exception):
        self.memtrace.close()
        super().__exit__(*exception)

    def wait_alone(self, client):
        """Until of all others nothing is left."""
        deadline = time.monotonic() + 20
        while client.stats()["sessions_reaped"] != self.connects - 1:
            assert time.monotonic() < deadline, "sessions do not end"
            time.sleep(0.01)

    def settled_report(self):
        return settled_report(self.memtrace)


def wrong_resources(report):
    return [resource for resource in report["resources"] if resource["verdict"] not in ("stable", "unknown", "")]


def wrong_pools(report):
    return [pool for pool in report.get("pools", []) if pool["verdict"] != "stable"]


def findings(report):
    """Everything that is said to be wrong, in a word each."""
    references = report["references"]
    return (
        [f"cycle of {len(cycle['objects'])}" for cycle in references["cycles"]]
        + [error["kind"] for error in references["errors"]]
        + [f"{resource['kind']} {resource['name']}" for resource in wrong_resources(report)]
        + [f"pool {pool['name']}" for pool in wrong_pools(report)]
        + [error["error"] for error in report.get("resource_errors", [])]
    )


# ---- what a client does where a bug may show: each returns a client that is to stay, or None


def scan(server):
    client = Client(server)
    assert put(client, "a", "1") == "OK"
    assert client.ask("SCAN OPEN -\n") == "CURSOR 1"
    keys, _ = read_batch(client, 1, 10)
    assert keys[0] == "a"
    client.close()  # the cursor is open


def quit_properly(server):
    client = Client(server)
    assert client.ask("QUIT\n") == "BYE"
    client.close()


def go_without_a_word(server):
    client = Client(server)
    assert client.ask("PING\n") == "PONG"
    client.close()


def be_turned_down(server):
    client = Client(server)
    assert client.ask("NOPE\n").startswith("ERR ")
    client.close()


def write_to_bad_keys(server):
    client = Client(server)
    answers = [put(client, "k" * 256, "1") for _ in range(9)]
    assert all(answer.startswith("ERR key") for answer in answers[:8])
    return client


# ---- what is found of it


def check_cycle(server, report, bug, size):
    assert findings(report) == [f"cycle of {size}"]
    (cycle,) = report["references"]["cycles"]
    assert cycle["verdict"] == "definite" and cycle.get("count", 1) == 1
    assert [found["type"] for found in cycle["objects"]] == ["lightning::Plan::Step"] * size
    assert len(cycle["handles"]) == size
    assert sum(is_at(handle["acquired_at"], server, bug, "acquired") for handle in cycle["handles"]) == 1
    return cycle


def check_cycle_of_2(server, report, bug):
    cycle = check_cycle(server, report, bug, 2)
    assert cycle["retained_objects"] == 3  # the steps below


def check_cycle_of_5(server, report, bug):
    cycle = check_cycle(server, report, bug, 5)
    assert sum(is_at(handle["acquired_at"], server, bug, "vector") for handle in cycle["handles"]) == 1


def check_error(server, report, bug):
    assert findings(report) == [bug.replace("-", "_")]
    (error,) = report["references"]["errors"]
    assert (error["kind"], error["type"], error["verdict"]) == (bug.replace("-", "_"), "lightning::Database", "definite")
    assert is_at(error["acquired_at"], server, bug, "acquired")
    return error


def check_double_release(server, report, bug):
    error = check_error(server, report, bug)
    frames = {what: [f"{os.path.basename(f['file'])}:{f['line']}" for f in error[f"{what}_at"]] for what in ("before", "released")}
    assert MARKS[bug, "before"] in frames["before"] and MARKS[bug, "released"] in frames["released"]


def check_resource(kind, name):
    def check(server, report, bug):
        assert findings(report) == [f"{kind} {name}"]
        (found,) = wrong_resources(report)
        assert found["verdict"] in ("definite", "probable")
        assert is_at(found["acquired_at"], server, bug, "acquired")

    return check


def check_pool(server, report, bug):
    assert findings(report) == ["pool storage"]
    (pool,) = wrong_pools(report)
    assert (pool["name"], pool["verdict"], pool["in_use"], pool["limit"]) == ("storage", "definite", 8, 8)
    assert is_at(pool["waited_at"], server, bug, "waited")


CASES = {
    "reference-cycle-2": (scan, check_cycle_of_2),
    "reference-cycle-5": (scan, check_cycle_of_5),
    "lost-release": (go_without_a_word, check_error),
    "double-release": (quit_properly, check_double_release),
    "leaked-cursor": (scan, check_resource("cursor", "")),
    "leaked-fd": (be_turned_down, check_resource("file", "db.errors")),
    "pool-exhaustion": (write_to_bad_keys, check_pool),
    "thread-never-joined": (go_without_a_word, check_resource("thread", "session")),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("bug", CASES)
def test_bug_is_found_classified_and_located(tmp_path, bug, run):
    commit, check = CASES[bug]
    with Told(tmp_path) as server:
        client = Client(server)
        for other, _ in CASES.values():  # rightly first: what follows from it is known to be usual
            kept = other(server)
            if kept:
                kept.close()
        server.wait_alone(client)
        assert client.ask(f"BUG ON {bug}\n") == "OK"
        kept = commit(server)
        report = server.settled_report()
        assert not report["coverage"]["lost"]
        check(server, report, bug)
        assert report["verdict"]["class"] == "leak" or bug == "pool-exhaustion"
        assert client.ask("PING\n") == "PONG"
        if kept:
            kept.close()
        server.end()


@pytest.mark.parametrize("run", RUNS)
def test_nothing_is_found_where_all_bugs_are_off(tmp_path, run):
    with Told(tmp_path, "--cache-bytes", "50000") as server:
        server.load(seconds=2, rate=400, keys=2000, mix="get=40,put=30,delete=5,scan=15,bad=10")
        for commit, _ in CASES.values():
            kept = commit(server)
            if kept:
                kept.close()
        report = server.settled_report()
        assert not report["coverage"]["lost"]
        assert report["coverage"]["counters"]["contract_hits"] > 5000
        assert findings(report) == []
        assert report["references"]["objects"] > 50  # of the cache
        assert {kind["kind"] for kind in report["resource_kinds"]} >= {
            "socket", "thread", "session", "cursor", "transaction", "connection", "file", "cache"
        }
        server.end()


def test_nothing_is_found_by_a_tracer_that_comes_late(tmp_path):
    with Server(tmp_path, "--cache-bytes", "50000") as server:
        options = "--seconds 600 --rate 400 --connections 3 --reconnect 20 --keys 2000 --mix get=40,put=30,delete=5,scan=15,bad=10"
        load = subprocess.Popen([TARGETS / "lightning-load", "--socket", server.path, *options.split()], stdout=subprocess.DEVNULL)
        try:
            client = Client(server)
            while client.stats()["scans"] < 20:
                time.sleep(0.05)
            with Memtrace.attach(tmp_path, server.pid, "--interval", "300ms") as memtrace:
                report = settled_report(memtrace)
                assert findings(report) == []
                assert report["references"]["objects"] > 50
                load.terminate()
                report = settled_report(memtrace)
                assert not report["coverage"]["lost"] and findings(report) == []
        finally:
            load.kill()
            load.wait()
        server.end()


def test_the_cache_gives_back_when_asked(tmp_path):
    with Server(tmp_path) as server:
        client = Client(server)
        for i in range(20):
            assert put(client, f"k{i}", "x" * 1000) == "OK"
        assert client.stats()["cache_entries"] == 20
        asked = subprocess.Popen([MEMTRACE, "cleanup", "--pid", str(server.pid), "--level", "critical"], stdout=subprocess.PIPE, text=True)
        while asked.poll() is None:
            assert client.ask("PING\n") == "PONG"
        assert re.search(r"freed 2\d{4} bytes", asked.stdout.read()) and asked.returncode == 0
        asked.stdout.close()
        assert client.stats()["cache_entries"] == 0
        assert get(client, "k3") == "x" * 1000
