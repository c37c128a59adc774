"""The resources tier: descriptors, threads and timers, against what the kernel itself says that a process holds. What `descriptors` does:
tests/targets/descriptors.c."""

import collections
import os
import re
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from memtrace_runner import Launched, Memtrace, counters, read_reports
from targets import Target, bare_name
from tracer import run_memtrace, wait_until

SURE = ("probable", "definite")


def kind_of(path):
    target = os.readlink(path)
    if target.startswith("anon_inode:"):
        return "fd:" + target.removeprefix("anon_inode:").strip("[]").replace("eventpoll", "epoll")
    if target.startswith("pidfd:"):
        return "fd:pidfd"
    if target.startswith("/memfd:"):
        return "fd:memfd"
    mode = os.stat(path).st_mode
    for is_one, kind in ((stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "pipe"), (stat.S_ISDIR, "directory"), (stat.S_ISCHR, "device")):
        if is_one(mode):
            return f"fd:{kind}"
    return "fd:file"


def held_by(pid):
    """By kind, as the kernel has them."""
    process = Path(f"/proc/{pid}")
    held = collections.Counter(kind_of(path) for path in (process / "fd").iterdir())
    held["os:thread"] = len(list((process / "task").iterdir()))
    held["os:timer"] = len(re.findall("^ID:", (process / "timers").read_text(encoding="ascii"), re.MULTILINE))
    return +held


def told(report):
    return {kind["kind"]: kind["live"] for kind in report["resource_kinds"] if kind["live"]}


def by_function(report, functions):
    found = collections.Counter()
    for site in report["resource_sites"]:
        names = [bare_name(frame["function"]) for frame in site["acquired_at"]]
        found[next((name for name in names if name in functions), "none" if not names else names[0])] += site["held"]
    return +found


def growing(report):
    return {
        bare_name(frame["function"]): site
        for site in report["resource_sites"]
        if site["verdict"] in ("suspect", *SURE)
        for frame in site["acquired_at"]
        if bare_name(frame["function"]).startswith(("leak_", "keep_", "tidy_"))
    }


def check_every_way(tmp_path, rounds):
    """`rounds`: of opening and closing in four threads at once, beside it."""
    with Target.start("descriptors", ["--rounds", rounds]) as target:
        prior = held_by(target.ready())
        with Memtrace.attach(tmp_path, target.pid) as memtrace:
            target.go()
            truth = target.truth()
            memtrace.wait_report(lambda report: told(report) == held_by(target.pid))
            report = memtrace.stop()
            held = held_by(target.pid)
        assert target.finish() == 0
    assert told(report) == held
    kept = {name: number for name, number in truth.notes.items() if number}
    found = by_function(report, truth.notes)
    assert {name: found[name] for name in kept} == kept
    assert sum(found.values()) == sum(kept.values()) + sum(prior.values())
    assert report["coverage"]["lost"] == {}
    assert counters(report)["resources_found"] == 0
    assert report["other_resources"]["descriptor_limit"] > 0
    assert "resources: descriptors, threads, timers" in report["coverage"]["sources"]


def test_every_way_in_which_they_come_and_go(tmp_path):
    check_every_way(tmp_path, 3000)


def test_those_that_become_more_and_more_are_told_with_their_place(tmp_path):
    wanted = {"leak_file", "leak_socket", "leak_event", "keep_thread", "keep_timer"}
    recording = tmp_path / "recording"
    with Target.start("descriptors", ["--leak"]) as target:
        with Memtrace.attach(tmp_path, target.ready(), "--interval", "1s", "--record", recording) as memtrace:
            target.go()
            memtrace.wait_report(lambda report: all(growing(report).get(name, {}).get("verdict") in SURE for name in wanted))
            report = memtrace.stop()
        target.send("exit")
    sites = growing(report)
    assert set(sites) == wanted
    assert "that it may have: at that rate for" in sites["leak_file"]["evidence"]
    assert "that it may have" not in sites["keep_thread"]["evidence"]
    assert [sites[name]["kind"] for name in sorted(wanted)] == ["os:thread", "os:timer", "fd:eventfd", "fd:file", "fd:socket"]
    assert sites["leak_file"]["names"] == ["descriptors"]
    assert report["verdict"]["class"] == "leak"
    assert report["verdict"]["evidence"]["growing_resources"] == "5"
    replayed = run_memtrace("replay", recording, "--fail-on", "probable")
    assert replayed.status == 3
    assert "Resources that become more and more" in replayed.out and "leak_socket" in replayed.out


def test_those_that_are_given_back_are_no_leak(tmp_path):
    with Target.start("descriptors", ["--tidy"]) as target:
        with Memtrace.attach(tmp_path, target.ready(), "--interval", "1s") as memtrace:
            target.go()
            memtrace.wait_report(lambda report: report["duration_s"] >= 12)
            report = memtrace.stop()
        target.send("exit")
    assert growing(report) == {}
    released = {kind["kind"]: kind["released"] for kind in report["resource_kinds"]}
    assert min(released[kind] for kind in ("fd:file", "fd:socket", "fd:eventfd", "os:thread", "os:timer")) > 10
    assert "growing_resources" not in report["verdict"]["evidence"]
    assert counters(report)["resources_found"] == 0


def test_another_image_holds_what_it_inherits(tmp_path):
    with Target.start("descriptors", ["--exec"]) as target:
        with Memtrace.attach(tmp_path, target.ready()) as memtrace:
            target.go()
            target.pid = None
            held = held_by(target.ready())
            new_image = memtrace.wait_report(lambda report: report["process"]["state"] == "running" and told(report) == held)
            assert new_image["process"]["pid"] == target.pid
            target.go()
            target.truth()
            report = memtrace.stop()
            assert told(report) == held_by(target.pid)
    assert [held["os:thread"], held["os:timer"]] == [1, 1]  # timers and other threads end with the image
    assert counters(report)["resources_found"] == 0


def test_a_program_is_followed_from_its_beginning(tmp_path):
    launched = Launched.run(tmp_path, "descriptors", hold=True)
    found = by_function(launched.report, launched.truth.notes)
    kept = {name: number for name, number in launched.truth.notes.items() if number}
    del kept["keep_thread"]  # it ended with the process
    kept["keep_open"] *= 2  # once more before go
    kept["keep_timer"] *= 2
    assert {name: found[name] for name in kept} == kept
    assert found["none"] == 3  # what it was started with


def test_what_is_not_wanted_is_not_followed(tmp_path):
    with Target.start("descriptors") as target, Memtrace.attach(tmp_path, target.ready(), "--resources", "timer") as memtrace:
        target.go()
        target.truth()
        report = memtrace.stop()
    assert told(report) == {"os:timer": 2}
    assert run_memtrace("--resources", "sockets", "--pid", "1").status == 2
    with Target.start("descriptors") as target, Memtrace.attach(tmp_path, target.ready(), "--resources", "none") as memtrace:
        target.go()
        target.truth()
        report = memtrace.stop()
    assert report["resources"] == [] and "resource_kinds" not in report


def test_redis_whose_clients_come_and_go_is_healthy(tmp_path):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "redis"
        command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as server:
            try:
                wait_until(lambda: path.exists() or server.poll() is not None, "redis-server listens")
                with Memtrace.attach(tmp_path, server.pid, "--interval", "1s", "--sample", "auto") as memtrace:
                    end = time.monotonic() + 12
                    while time.monotonic() < end:
                        load = ["redis-benchmark", "-s", path, "-q", "-n", "500", "-c", "20", "-k", "0", "-t", "set,get"]
                        subprocess.run(list(map(str, load)), check=True, capture_output=True)
                    wait_until(lambda: held_by(server.pid)["fd:socket"] == 1, "redis-server closes the last clients' connections")
                    memtrace.stop()
                    held = held_by(server.pid)
            finally:
                server.terminate()
        [report] = read_reports(memtrace.out)
    assert [site for site in report["resource_sites"] if site["verdict"] in ("suspect", *SURE)] == []
    assert told(report) == held
    sockets = next(kind for kind in report["resource_kinds"] if kind["kind"] == "fd:socket")
    assert sockets["released"] >= 1000
    assert report["coverage"]["lost"] == {}
