"""What memtrace itself takes: it is told, it is kept within its budget, and it does not grow with the processes that have been."""

import re
import subprocess
from pathlib import Path

from memtrace_runner import MEMTRACE, Memtrace, traced
from targets import Target

SHELL = 'while read -r n; do i=0; while [ "$i" -lt "$n" ]; do /bin/true; i=$((i + 1)); done; echo done; done'


def collector(report):
    return report["coverage"]["collector"]


def rss_bytes(pid):
    return int(re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]) * 1024


def test_reports_tell_what_memtrace_takes(tmp_path):
    with Target.start("churn8", ["--ops", "20000"]) as target:
        report, _ = traced(tmp_path, target)
    own = collector(report)
    assert 0 < own["cpu_ratio"] < 100 and own["cpu_budget"] == 0.01
    assert own["rss_bytes"] > 1 << 20 and own["memory_budget"] >= 512 << 20
    assert own["reason"] == "" and own["interval_s"] == 5
    text = subprocess.run([MEMTRACE, "report", tmp_path / "report.json"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"memtrace itself: \S+ % of a core \(budget 1 %\)", text), text


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


def test_ended_processes_leave_nothing_behind(tmp_path):
    """By the hundred, as connections to PostgreSQL come and go."""
    shell = subprocess.Popen(["/bin/sh", "-c", SHELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(count):
        shell.stdin.write(f"{count}\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == "done\n"

    def of_shell(memtrace, forgotten):
        wanted = lambda report: report["process"]["pid"] == shell.pid and collector(report)["forgotten"] >= forgotten  # noqa: E731
        return collector(memtrace.wait_report(wanted, timeout=120))["forgotten"]

    with shell, Memtrace.attach(tmp_path, shell.pid, "--follow", "--interval", "1s") as memtrace:
        try:
            run(400)
            first = of_shell(memtrace, 50)
            before = rss_bytes(memtrace.process.pid)
            run(1200)
            of_shell(memtrace, first + 500)
            after = rss_bytes(memtrace.process.pid)
            reports = memtrace.stop_all(timeout=120)
        finally:
            shell.kill()
    assert after < 1.3 * before, f"{before >> 20} MiB after 400 processes, {after >> 20} MiB after 1,600"
    assert 100 < len(reports) < 400, "the newest are in the last report"
