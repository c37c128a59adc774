"""What memtrace itself takes: it is told, it is kept within its budget, and it does not grow with the processes that have been."""

import contextlib
import os
import re
import select
import subprocess
from pathlib import Path

import pytest
from listening import free_port, get
from listening import wait_until as wait_for_server
from memtrace_runner import Memtrace, read_reports, traced
from targets import Target
from tracer import run_memtrace, wait_until

# Forks as many as it is told, which all end when somebody has opened the gate.
SHELL = 'while read -r n; do i=0; while [ "$i" -lt "$n" ]; do (read -r _) < "$1" & i=$((i + 1)); done; wait; echo done; done'


def collector(report):
    return report["coverage"]["collector"]


def rss_bytes(pid):
    return int(re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]) * 1024


def refresh(url):
    """Seconds after which the page asks again."""
    return int(re.search(r'http-equiv="refresh" content="(\d+)"', get(url)[2])[1])


def test_reports_tell_what_memtrace_takes(tmp_path):
    with Target.start("churn8", ["--ops", "20000"]) as target:
        report, _ = traced(tmp_path, target)
    own = collector(report)
    assert 0 < own["cpu_ratio"] < 100 and own["cpu_budget"] == 0.01
    assert own["rss_bytes"] > 1 << 20 and own["memory_budget"] >= 512 << 20
    assert own["reason"] == "" and own["interval_s"] == 5
    text = run_memtrace("report", tmp_path / "report.json").out
    assert re.search(r"memtrace itself: \S+ % of a core \(budget 1.0 %\)", text), text


def test_a_small_budget_is_kept_by_doing_less(tmp_path):
    with Target.start("site_paths", ["--sites", "20000", "--blocks", "20000"]) as target:
        options = ["--interval", "1s", "--own-cpu", "0.1%"]
        with Memtrace.attach(tmp_path, target.ready(), *options) as memtrace:
            target.go()
            report = memtrace.wait_report(lambda report: collector(report)["reason"] and report["sites"], timeout=120)
            last = memtrace.stop()
            assert "--own-cpu" in memtrace.said
    own = collector(report)
    assert "--own-cpu" in own["reason"]
    assert own["ages_s"] > 1 and own["tick_s"] > 0.2
    assert len(report["sites"]) <= own["sites_listed"] < 20_000
    listed = sum(site["live_bytes"] for site in report["sites"])
    assert report["totals"]["live_bytes"] == listed + report["totals"]["other_live_bytes"]
    # The last report has them all, as snapshots do.
    assert "other_sites" not in last["totals"] and len(last["sites"]) >= 20_000
    assert last["totals"]["live_bytes"] == sum(site["live_bytes"] for site in last["sites"])


def test_readers_are_told_how_often_reports_come_now(tmp_path):
    url = f"http://127.0.0.1:{free_port()}/"
    with Target.start("site_paths", ["--sites", "20000", "--blocks", "20000"]) as target:
        options = ["--interval", "2s", "--own-cpu", "0.1%", "--listen", url[7:-1]]
        with Memtrace.attach(tmp_path, target.ready(), *options) as memtrace:
            assert refresh(url) == 2
            target.go()
            wait_for_server(lambda: refresh(url) > 2, "fewer reports than were asked for, and the page to say so")
            assert get(url + "healthz")[0] == 200
            memtrace.stop()


def test_sites_beyond_the_memory_budget_are_one(tmp_path):
    with Target.start("site_paths", ["--sites", "20000", "--blocks", "100000", "--grow", "1"]) as target:
        options = ["--interval", "1s", "--own-memory", "32MiB"]  # less than it takes to begin with
        with Memtrace.attach(tmp_path, target.ready(), *options) as memtrace:
            memtrace.wait_said("--own-memory")
            target.go()
            full = lambda report: report["totals"]["live_objects"] >= 99_000  # noqa: E731
            memtrace.wait_report(full)
            report = memtrace.stop()
    assert len(report["sites"]) < 10_000
    assert report["totals"]["live_objects"] >= 99_000, "none is left out of the totals"
    assert report["coverage"]["counters"]["sites_folded"] > 10_000
    assert "not told apart" in collector(report)["reason"]


@pytest.mark.timeout(300)
def test_ended_processes_leave_nothing_behind(tmp_path):
    """By the hundred, as connections to PostgreSQL come and go: each lives until it has been followed."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    shell = subprocess.Popen(["/bin/sh", "-c", SHELL, "sh", gate], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(memtrace, count):
        shell.stdin.write(f"{count}\n")
        shell.stdin.flush()
        wait_followed(memtrace, count)
        while not select.select([shell.stdout], [], [], 0.02)[0]:
            with contextlib.suppress(OSError):  # nobody waits there yet, or any more
                os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        assert shell.stdout.readline() == "done\n"

    followed = set()

    def all_followed(memtrace):
        """Not by their numbers alone: on a busy machine these come again."""
        return {(report["process"]["pid"], report["process"]["start_time"]) for report in read_reports(memtrace.out)}

    def wait_followed(memtrace, count):
        """Waits until so many that were not followed before are."""

        def new():
            assert memtrace.process.poll() is None
            return all_followed(memtrace) - followed

        wait_until(lambda: len(new()) >= count, lambda: f"{len(new())} of {count} are followed")
        followed.update(new())

    with shell, Memtrace.attach(tmp_path, shell.pid, "--follow", "--interval", "500ms", "--own-cpu", "none") as memtrace:
        try:
            memtrace.wait_report(lambda report: True)
            followed |= all_followed(memtrace)
            sizes = []
            for _ in range(6):
                run(memtrace, 75)
                sizes.append(rss_bytes(memtrace.process.pid))
            reports = memtrace.stop_all(timeout=120)
        finally:
            shell.kill()
    before, after = sizes[2], sizes[-1]
    assert after < 1.3 * before, f"{before >> 20} MiB after 225 processes, {after >> 20} MiB after 450"
    assert collector(reports[0])["forgotten"] > 150
    assert 100 < len(reports) < 400, "the newest are in the last report"
