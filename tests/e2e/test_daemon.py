"""memtrace daemon: real programs that come and go, found by name, pid file, cgroup and unit; its configuration read again; what it tells the
service manager; what it may do; and what becomes of its targets when it is killed."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from listening import Receiver
from memtrace_runner import counters, live_total, read_reports, wait_for_report
from targets import TARGETS, Target
from tracer import Tracer, breakpoints, run_memtrace, wait_until

CGROUPS = Path("/sys/fs/cgroup")
counter = itertools.count()


def program(directory, name):
    """A copy of a target under a name that no other process of the machine has."""
    path = directory / f"mt{os.getpid()}x{next(counter)}"
    shutil.copy(TARGETS / name, path)
    return path


def write_config(directory, targets, trace="", more=""):
    """`targets`: lines of TOML for each [[target]]."""
    path = directory / "memtrace.toml"
    tables = "".join(f"[[target]]\n{target}\n" for target in targets)
    path.write_text(f'[trace]\nsample = "exact"\ninterval = "300ms"\nout = "{directory}/reports.json"\noutput = "json"\n{trace}\n{tables}{more}', encoding="utf-8")
    return path


def by_comm(path, name="db", more=""):
    return f'name = "{name}"\ncomm = "{path.name}"\n{more}'


@contextlib.contextmanager
def daemon(config, *options, **popen):
    with Tracer("daemon", "--config", config, *options, **popen) as tracer:
        tracer.wait_said("looking for ")
        yield tracer


def wait_report(directory, wanted, tracer):
    return wait_for_report(directory / "reports.json", wanted, tracer.process)


def traced_to_its_end(directory, tracer, target, name):
    """A target that has been started: followed, exactly, and said to have ended."""
    tracer.wait_said(f"following process {target.ready()} ({Path(target.name).name}), target {name}")
    target.go()
    truth = target.truth()
    wait_report(directory, lambda report: report["process"]["pid"] == target.pid and live_total(report) == truth.live, tracer)
    assert target.finish() == 0
    tracer.wait_said(f"ended: process {target.pid} ({Path(target.name).name}), target {name}")


def test_targets_come_and_go_by_name(tmp_path):
    path = program(tmp_path, "churn8")
    with daemon(write_config(tmp_path, [by_comm(path)])) as tracer:
        for _ in range(2):
            with Target.start(path, ["--ops", "2000"]) as target:
                traced_to_its_end(tmp_path, tracer, target, "db")
        assert tracer.end(signal.SIGTERM).status == 0


def test_stacks_of_programs_that_have_ended_make_room_for_others(tmp_path):
    """75,000 on the heap and as many of the pages tier, of which the kernel half has room for 65,536 and 16,384 at once. memtrace is killed in the
    end: its last report would be of 0.7 GB."""
    path = program(tmp_path, "many_stacks")
    with daemon(write_config(tmp_path, [by_comm(path)], trace='own-cpu = "none"')) as tracer:
        for _ in range(5):
            with Target.start(path) as target:
                pid = target.ready()
                # Since a report of it there was a look at the maps.
                wait_report(tmp_path, lambda report, pid=pid: report["process"]["pid"] == pid, tracer)
                traced_to_its_end(tmp_path, tracer, target, "db")
        reports = [report for report in read_reports(tmp_path / "reports.json") if report["process"]["pid"] == pid]
    for key in ("stacks_full", "pages_stacks_full", "sites_full"):
        assert counters(reports[-1])[key] == 0, key
    leaking = [site for site in reports[-1]["sites"] if site["live_objects"]]
    assert leaking and not any(site["stack_truncated"] for site in leaking)


def test_what_is_there_already_is_followed_at_once(tmp_path):
    path = program(tmp_path, "churn8")
    with Target.start(path, ["--ops", "2000"]) as target:
        target.ready()
        with daemon(write_config(tmp_path, [by_comm(path)])) as tracer:
            traced_to_its_end(tmp_path, tracer, target, "db")
            assert tracer.end(signal.SIGINT).status == 0


def test_targets_by_pid_file(tmp_path):
    path = program(tmp_path, "churn8")
    stale, fresh = tmp_path / "stale.pid", tmp_path / "fresh.pid"
    config = write_config(tmp_path, [f'name = "old"\npid_file = "{stale}"', f'name = "new"\npid_file = "{fresh}"'])
    with daemon(config) as tracer, Target.start(path, ["--ops", "2000"]) as other, Target.start(path, ["--ops", "2000"]) as target:
        stale.write_text(f"{other.ready()}\n", encoding="utf-8")
        os.utime(stale, (time.time() - 3600, time.time() - 3600))  # of a process before, which had the same number
        fresh.write_text(f" {target.ready()}\nmore\n", encoding="utf-8")
        traced_to_its_end(tmp_path, tracer, target, "new")
        assert f"process {other.pid} " not in tracer.err()


@contextlib.contextmanager
def cgroup(*names):
    """A directory below another, in a hierarchy that is mounted; with them gone at the end."""
    root = next(path for path in (CGROUPS / "unified", CGROUPS / "systemd", CGROUPS) if (path / "cgroup.procs").exists())
    made = []
    for name in names:
        made.append((made[-1] if made else root) / name)
        made[-1].mkdir()
    try:
        yield made[-1]
    finally:
        for path in reversed(made):
            wait_until(lambda path=path: not (path / "cgroup.procs").read_text(), f"{path} to be empty")
            path.rmdir()


def test_targets_by_cgroup_and_below(tmp_path):
    path = program(tmp_path, "churn8")
    with cgroup(f"memtrace-{os.getpid()}", "below") as directory:
        with daemon(write_config(tmp_path, [f'name = "group"\ncgroup = "{directory.parent}"'])) as tracer:
            with Target.start(path, ["--ops", "2000"]) as target:
                (directory / "cgroup.procs").write_text(str(target.ready()), encoding="utf-8")
                traced_to_its_end(tmp_path, tracer, target, "group")


def test_targets_by_unit_wherever_its_cgroup_is(tmp_path):
    path = program(tmp_path, "churn8")
    unit = f"memtrace-{os.getpid()}@17-main"
    with daemon(write_config(tmp_path, [f'name = "unit"\nunit = "{unit}"'])) as tracer:
        for _ in range(2):  # a restart makes the directory anew
            with cgroup(f"memtrace{os.getpid()}.slice", f"{unit}.service", "below") as directory:
                with Target.start(path, ["--ops", "2000"]) as target:
                    (directory / "cgroup.procs").write_text(str(target.ready()), encoding="utf-8")
                    traced_to_its_end(tmp_path, tracer, target, "unit")


def test_children_of_a_target_that_follows_are_its_own(tmp_path):
    path = tmp_path / f"mt{os.getpid()}sh"
    shutil.copy(os.path.realpath("/bin/sh"), path)
    with daemon(write_config(tmp_path, [by_comm(path, more="follow = true")])) as tracer:
        with subprocess.Popen([path], stdin=subprocess.PIPE, text=True) as shell:
            tracer.wait_said(f"following process {shell.pid} ")
            shell.stdin.write("cat /dev/zero >/dev/null & echo $! >%s/child\n" % tmp_path)
            shell.stdin.flush()
            child = int(wait_until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), "a child"))
            wait_until(lambda: re.search(rf"following process {child} \(\w+\), target db, a child", tracer.err()), tracer.err)
            os.kill(child, signal.SIGKILL)
            tracer.wait_said(f"ended: process {child} (cat), target db")
            shell.stdin.close()
        tracer.wait_said(f"ended: process {shell.pid} ")


def test_what_cannot_be_traced_is_said_once(tmp_path):
    paths = [program(tmp_path, "churn8") for _ in range(3)]
    targets = [by_comm(path, f"db{i}") for i, path in enumerate(paths)]
    with daemon(write_config(tmp_path, targets, trace='allocator = "jemalloc"')) as tracer, contextlib.ExitStack() as running:
        pids = []
        for path in paths:  # each is seen by a later look than the one before
            pids.append(running.enter_context(Target.start(path)).ready())
            tracer.wait_said(f"process {pids[-1]} ")
        assert [tracer.err().count(f"process {pid} ") for pid in pids] == [1, 1, 1]
        assert tracer.end(signal.SIGTERM).status == 0


def test_more_processes_than_can_be_followed_wait(tmp_path):
    path = program(tmp_path, "churn8")
    with daemon(write_config(tmp_path, [by_comm(path)], trace="max-processes = 1")) as tracer:
        with Target.start(path, ["--ops", "2000"]) as first, Target.start(path, ["--ops", "2000"]) as second:
            first.ready()
            second.ready()
            tracer.wait_said("as many processes are followed as can be (1, --max-processes)")
            tracer.wait_said("following process ")
            now, later = (first, second) if f"following process {first.pid} " in tracer.err() else (second, first)
            traced_to_its_end(tmp_path, tracer, now, "db")
            traced_to_its_end(tmp_path, tracer, later, "db")
        assert tracer.err().count("as many processes") == 1


def test_a_hangup_changes_targets_and_more(tmp_path):
    paths = [program(tmp_path, "leak_rate") for _ in range(2)]
    with Target.start(paths[0], ["--duration", 600]) as old, Target.start(paths[1], ["--duration", 600]) as new:
        config = write_config(tmp_path, [by_comm(paths[0], "old")])
        old.go()
        new.ready()
        with daemon(config) as tracer:
            tracer.wait_said(f"following process {old.pid} ")
            assert breakpoints(old.pid)
            config.write_text("[[target]]\nname = \n", encoding="utf-8")
            tracer.signal(signal.SIGHUP)
            tracer.wait_said(f"the configuration stays as it was: {config}:2")
            write_config(tmp_path, [by_comm(paths[1], "new")], trace='top = 3\nmax-live = 2000\nsnapshot-dir = "%s"\nsnapshot-interval = "200ms"' % (tmp_path / "snapshots"))
            tracer.signal(signal.SIGHUP)
            tracer.wait_said(f"no longer followed: process {old.pid} ({paths[0].name}), target old")
            tracer.wait_said(f"following process {new.pid} ({paths[1].name}), target new")
            said = re.search(r"the configuration was read again; changed: (.*); these take a restart: (.*)", tracer.err())
            assert set(said[1].split(", ")) == {"snapshot-dir", "snapshot-interval", "targets", "top"}
            assert said[2] == "max-live"
            assert not breakpoints(old.pid) and old.alive()
            new.go()
            wait_report(tmp_path, lambda report: report["process"]["pid"] == new.pid and report["totals"]["live_bytes"] > 0, tracer)
            wait_until(lambda: list((tmp_path / "snapshots").glob(f"memtrace-{new.pid}-*.json")), "a snapshot")
            assert tracer.end(signal.SIGTERM).status == 0
        assert new.alive()


ALERT = """
[alerts]
defaults = false
[[alert]]
name = "grows"
when = "rss-bytes"
at_least = "1KiB"
{more}
"""


def test_alerts_go_on_where_their_rule_is_the_same(tmp_path):
    path = program(tmp_path, "leak_rate")
    with Target.start(path, ["--duration", 600]) as target:
        target.go()
        config = write_config(tmp_path, [by_comm(path)], more=ALERT.format(more=""))
        with daemon(config) as tracer:
            tracer.wait_said("alert firing grows")
            other = '[[alert]]\nname = "other"\nwhen = "rss-bytes"\nat_least = "1KiB"'
            write_config(tmp_path, [by_comm(path)], more=ALERT.format(more=other))
            tracer.signal(signal.SIGHUP)
            tracer.wait_said("alert firing other")
            write_config(tmp_path, [by_comm(path)], more=ALERT.format(more="").replace("grows", "third"))
            tracer.signal(signal.SIGHUP)
            for news in ("firing third", "resolved grows", "resolved other"):
                tracer.wait_said(f"alert {news}")
            assert tracer.err().count("alert firing grows") == 1


def test_a_hangup_changes_how_many_objects_are_heard_of(tmp_path):
    path = program(tmp_path, "told_flood")
    with Target.start(path) as target:
        target.go()
        with daemon(write_config(tmp_path, [by_comm(path)])) as tracer:
            wait_report(tmp_path, lambda report: report["references"].get("sampled_one_in") == 1, tracer)
            budgeted = write_config(tmp_path, [by_comm(path)], trace='max-overhead = "0.5%"')
            budgeted.write_text(budgeted.read_text(encoding="utf-8").replace('sample = "exact"', 'sample = "auto"'), encoding="utf-8")
            tracer.signal(signal.SIGHUP)
            tracer.wait_said("budget 0.5 %: one object in 8")
            wait_report(tmp_path, lambda report: report["references"]["sampled_one_in"] >= 8, tracer)
            write_config(tmp_path, [by_comm(path)])
            tracer.signal(signal.SIGHUP)
            tracer.wait_said("what the program tells is not sampled any more: all objects")
            wait_report(tmp_path, lambda report: report["references"]["sampled_one_in"] == 1, tracer)
            assert tracer.end(signal.SIGTERM).status == 0


def test_reports_go_on_while_alerts_are_changed_again_and_again(tmp_path):
    path = program(tmp_path, "leak_rate")
    with Target.start(path, ["--duration", 600]) as target:
        target.go()
        with daemon(write_config(tmp_path, [by_comm(path)], trace="top = 5")) as tracer:
            tracer.wait_said(f"following process {target.pid} ")
            wait_report(tmp_path, lambda report: report["totals"]["live_bytes"] > 0, tracer)
            reports = tmp_path / "reports.json"
            before = reports.stat().st_mtime_ns
            hangups = itertools.count(1)

            def goes_on():
                name = f"alert{next(hangups)}"
                write_config(tmp_path, [by_comm(path)], trace="top = 5", more=ALERT.format(more="").replace("grows", name))
                tracer.signal(signal.SIGHUP)
                tracer.wait_said("changed: alerts")
                return reports.stat().st_mtime_ns != before

            wait_until(goes_on, "a report between two hangups")


def test_reports_go_on_where_a_webhook_that_hangs_is_changed(tmp_path):
    path = program(tmp_path, "leak_rate")

    def hook(receiver):
        return ALERT.format(more=f'[[sink]]\nname = "ops"\ntype = "webhook"\nurl = "{receiver.url}"\ntimeout = "60s"')

    with Receiver(hold=True) as old, Receiver() as new, Target.start(path, ["--duration", 600]) as target:
        target.go()
        with daemon(write_config(tmp_path, [by_comm(path)], more=hook(old))) as tracer:
            wait_until(lambda: old.posts, "an attempt")
            write_config(tmp_path, [by_comm(path)], more=hook(new).replace("grows", "other"))
            tracer.signal(signal.SIGHUP)
            tracer.wait_said("changed: alerts")
            wait_report(tmp_path, lambda report: [alert["name"] for alert in report["alerts"]] == ["other"], tracer)
            wait_until(lambda: new.posts, "the message to the new one")
            assert not old.let_go.is_set() and "took too long" not in tracer.err()
            old.let_go.set()
            assert tracer.end(signal.SIGTERM).status == 0


class Manager:
    """The socket of a service manager."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.said = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def wait(self, line, count=1):
        """Until that line has been in so many datagrams."""

        def enough():
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.said.append(self.socket.recv(4096).decode())
            return sum(bool(re.search(line, text, re.MULTILINE)) for text in self.said) >= count

        wait_until(enough, lambda: f"{line!r}; said so far: {self.said}")


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(tmp_path, abstract):
    path = program(tmp_path, "churn8")
    name = f"memtrace-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with Manager("\0" + name if abstract else name) as manager:
        environment = {**os.environ, "NOTIFY_SOCKET": "@" + name if abstract else name, "WATCHDOG_USEC": "1000000"}
        with daemon(write_config(tmp_path, [by_comm(path)]), env=environment) as tracer:
            manager.wait("^READY=1$")
            manager.wait("^STATUS=waiting for ")
            manager.wait("^WATCHDOG=1$", 3)
            with Target.start(path) as target:
                target.ready()
                manager.wait("^STATUS=following 1 process$")
            tracer.signal(signal.SIGHUP)
            manager.wait(r"^RELOADING=1\nMONOTONIC_USEC=\d+$")
            manager.wait("^READY=1$", 2)
            # One that hangs is not heard of any more.
            tracer.signal(signal.SIGSTOP)
            wait_until(lambda: "State:\tT" in Path(f"/proc/{tracer.process.pid}/status").read_text(), "it to stop")
            manager.wait("^READY=1$", 2)
            fed = sum("WATCHDOG=1" in text for text in manager.said)
            tracer.signal(signal.SIGCONT)
            manager.wait("^WATCHDOG=1$", fed + 1)
            assert tracer.end(signal.SIGTERM).status == 0
            manager.wait("^STOPPING=1$")


def test_a_socket_that_cannot_be_is_an_error(tmp_path):
    config = write_config(tmp_path, ['name = "a"\ncomm = "nobody"'])
    run = run_memtrace("daemon", "--config", config, env={**os.environ, "NOTIFY_SOCKET": "vsock:2:1"})
    assert run.status == 1 and "NOTIFY_SOCKET" in run.error()


def test_a_kill_leaves_the_targets_running(tmp_path):
    path = program(tmp_path, "leak_rate")
    with Target.start(path, ["--duration", 600]) as target:
        target.go()
        with daemon(write_config(tmp_path, [by_comm(path)])) as tracer:
            tracer.wait_said(f"following process {target.pid} ")
            wait_report(tmp_path, lambda report: report["totals"]["live_bytes"] > 0, tracer)
            tracer.kill()
        target.send("stop")
        target.truth()
        assert target.finish() == 0


def only(*numbers):
    """What capabilities() says where all threads have these."""
    mask = sum(1 << number for number in numbers)
    return {(mask, mask, mask)}


def capabilities(pid):
    """Of each thread: effective, permitted and bounding."""
    sets = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = (thread / "status").read_text()
        sets.add(tuple(int(re.search(rf"^{name}:\s*(\w+)", status, re.MULTILINE)[1], 16) for name in ("CapEff", "CapPrm", "CapBnd")))
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
    return sets


KEPT = {2: "DAC_READ_SEARCH", 19: "SYS_PTRACE", 21: "SYS_ADMIN", 38: "PERFMON", 39: "BPF"}


def test_it_keeps_only_what_tracing_takes_and_traces_on(tmp_path):
    path = program(tmp_path, "dlopen_late")
    (tmp_path / "libleaky.so").symlink_to(TARGETS / "libleaky.so")
    with daemon(write_config(tmp_path, [by_comm(path)], trace='listen = "127.0.0.1:0"')) as tracer:
        assert capabilities(tracer.process.pid) == only(*KEPT)
        for _ in range(2):  # also a second one that comes later
            with Target.start(path) as target:
                tracer.wait_said(f"following process {target.ready()} ")
                target.go()
                truth = target.truth()
                report = wait_report(
                    tmp_path,
                    lambda report, target=target, truth=truth: report["process"]["pid"] == target.pid
                    and any(site["live_objects"] == truth.leaks["leak_in_plugin"][1] for site in report["sites"]),
                    tracer,
                )
                assert any("leak_in_plugin" in frame["function"] for site in report["sites"] for frame in site["stack"])
        assert capabilities(tracer.process.pid) == only(*KEPT)
        assert tracer.end(signal.SIGTERM).status == 0


def test_a_run_keeps_only_what_tracing_takes(tmp_path):
    with Target.start("leak_rate", ["--duration", 600]) as target:
        with Tracer("--pid", target.ready(), "--out", tmp_path / "out") as tracer:
            tracer.wait_following()
            assert capabilities(tracer.process.pid) == only(*KEPT)
            assert tracer.end(signal.SIGINT).status == 0


def test_what_only_another_user_may_write_is_written(tmp_path):
    """Root without CAP_DAC_OVERRIDE may not: it is kept for that."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, 65534, 65534)
    with Target.start("leak_rate", ["--duration", 600]) as target:
        with Tracer("--pid", target.ready(), "--out", theirs / "report") as tracer:
            tracer.wait_following()
            assert capabilities(tracer.process.pid) == only(*KEPT, 1)
            assert tracer.end(signal.SIGINT).status == 0
        assert "leak_rate" in (theirs / "report").read_text()


def test_snapshots_at_a_time_of_day(tmp_path):
    path = program(tmp_path, "leak_rate")
    with Target.start(path, ["--duration", 600]) as target:
        target.go()
        often = ", ".join(f'"*:{minute:02}:{second:02}"' for minute in range(60) for second in range(0, 60, 10))
        trace = f'snapshot-dir = "{tmp_path}/snapshots"\nsnapshot-at = [{often}]'
        with daemon(write_config(tmp_path, [by_comm(path)], trace=trace)) as tracer:
            tracer.wait_said(f"following process {target.pid} ")
            file = wait_until(lambda: sorted((tmp_path / "snapshots").glob("memtrace-*.json")), "a snapshot")[0]
            assert read_reports(file)[0]["process"]["pid"] == target.pid
            tracer.kill()


WRONG = [
    ('[[target]]\nname = "a"\n', 1, "needs one of pid_file, comm, cgroup and unit"),
    ('[[target]]\nname = "a"\ncomm = "b"\nunit = "c"\n', 4, "two ways"),
    ('[[target]]\nname = "a"\ncomm = "longer than fifteen"\n', 3, "15 characters"),
    ('[[target]]\nname = "a"\ncomm = "b"\nfollows = true\n', 4, "unknown"),
    ('[[target]]\nname = "a"\npid_file = "relative"\n', 3, "no path from the root"),
    ('[[target]]\nname = "a"\ncomm = "b"\n[[target]]\nname = "a"\ncomm = "c"\n', 4, "already"),
    ('[target]\nname = "a"\n', 1, "is written [[target]]"),
    ('[trace]\nintervall = "5s"\n[[target]]\nname = "a"\ncomm = "b"\n', 2, "intervall is unknown"),
    ('[trace]\ninterval = "soon"\n[[target]]\nname = "a"\ncomm = "b"\n', 2, "no duration"),
    ('[trace]\nsnapshot-at = ["25:00"]\n[[target]]\nname = "a"\ncomm = "b"\n', 2, "no time of the calendar"),
    ('[trace]\ntop = {}\n[[target]]\nname = "a"\ncomm = "b"\n', 2, "is a text or a number"),
    ('[trace]\npid = 1\n[[target]]\nname = "a"\ncomm = "b"\n', 2, "unknown"),
    ('[other]\n[[target]]\nname = "a"\ncomm = "b"\n', 1, "not other"),
    ("= nonsense", 1, ""),
]


@pytest.mark.parametrize("text, line, reason", WRONG)
def test_a_wrong_configuration_is_one_line_that_says_where(tmp_path, text, line, reason):
    config = tmp_path / "memtrace.toml"
    config.write_text(text, encoding="utf-8")
    run = run_memtrace("daemon", "--config", config)
    assert run.status == 1 and run.out == ""
    assert f"{config}:{line}: " in run.error() and reason in run.error()


def test_bad_usage(tmp_path):
    config = write_config(tmp_path, ['name = "a"\ncomm = "b"'])
    for words, reason in [
        (["daemon"], "needs --config"),
        (["--pid", "1", "daemon", "--config", config], "targets are in its configuration"),
        (["daemon", "--config", config, "--pid", "1"], "--pid"),
        (["daemon", "--config", config, "--interval", "1ms"], ""),
    ]:
        run = run_memtrace(*words)
        assert run.status in (1, 2) and reason in run.error(), run.err
    empty = tmp_path / "empty.toml"
    empty.write_text("[trace]\ntop = 1\n", encoding="utf-8")
    assert "no [[target]]" in run_memtrace("daemon", "--config", empty).error()


def test_the_command_line_wins(tmp_path):
    path = program(tmp_path, "churn8")
    with daemon(write_config(tmp_path, [by_comm(path)]), "--out", tmp_path / "other.json") as tracer:
        wait_until((tmp_path / "other.json").exists, "a report")
        assert not (tmp_path / "reports.json").exists()
        assert tracer.end(signal.SIGTERM).status == 0
