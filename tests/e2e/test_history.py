"""The history of real runs: what is in it, that no end of memtrace harms it, that no trouble with its file keeps tracing from going on."""

import json
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import datetime, timezone

import pytest

from targets import Target
from tracer import Tracer, run_memtrace, small_disk, wait_until

FAST = ("--interval", "100ms", "--output", "json")


@pytest.fixture
def leaking():
    with Target.start("leak_rate", ["--duration", "3600"]) as target:
        target.go()
        yield target


def query(path, sql, *values):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        return database.execute(sql, values).fetchall()


def count(path, table="sample"):
    return query(path, f"SELECT count(*) FROM {table}")[0][0]


def written(path, tracer, at_least=1, table="sample"):
    """Waits until the file has that many rows."""

    def enough():
        assert tracer.process.poll() is None, tracer.err()
        try:
            return count(path, table) >= at_least
        except sqlite3.OperationalError:  # no file, or no table yet
            return False

    wait_until(enough, lambda: f"{at_least} rows; memtrace said:\n{tracer.err()}")


def history(*args, **popen):
    run = run_memtrace("history", *args, **popen)
    assert run.status == 0 and run.err == "", run.err
    return run.out


def test_a_command_ignores_no_signal_that_memtrace_ignores(tmp_path):
    options = ("--history", tmp_path / "history.db", "--out", tmp_path / "report")
    command = ["grep", "SigIgn", "/proc/self/status"]
    run = run_memtrace(*options, "--", *command)
    ours = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # as of nohup
    assert run.status == 0 and run.out == ours, run


def test_what_a_run_leaves_is_told(tmp_path, leaking):
    path = tmp_path / "history.db"
    with Tracer("--pid", leaking.pid, *FAST, "--history", path) as tracer:
        tracer.wait_following()
        # Until the leak is seen as one, and its alert, which has no time to wait for, has come.
        wait_until(lambda: any(r["verdict"]["class"] == "leak" for r in tracer.reports()), tracer.err)
        written(path, tracer, 20)
        assert tracer.end(signal.SIGINT).status == 0
        reports = tracer.reports()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "history.db-wal").exists()
    found = json.loads(history(path, "--pid", leaking.pid, "--output", "json"))
    assert found["schema"] == "memtrace.history/1"
    assert found["process"]["comm"] == "leak_rate" and found["process"]["state"] == "detached"
    assert [s["time"] for s in found["samples"]] == [r["time"] for r in reports]
    assert [s["live_bytes"] for s in found["samples"]] == [r["totals"]["live_bytes"] for r in reports]
    assert [s["rss_bytes"] for s in found["samples"]] == [r["process"]["rss_bytes"] for r in reports]
    assert found["verdicts"][-1]["verdict"] == reports[-1]["verdict"]["class"]
    site = found["sites"][0]  # the one that grew most
    same = next(s for s in reports[-1]["sites"] if s["id"] == site["id"])
    assert site["samples"][-1]["live_bytes"] == same["live_bytes"]
    assert [f["function"] for f in site["stack"]] == [f["function"] for f in same["stack"]]
    assert any(r["kind"].startswith("fd:") for r in found["resources"])
    text = history(path, "--comm", "leak_rate", env={"LC_ALL": "C"})
    assert f"leak_rate (pid {leaking.pid})" in text and "verdicts" in text and "call sites that grew most" in text
    assert text.isascii() and "live      " in text  # this terminal takes no more
    blocks = history(path, "--comm", "leak_rate", env={"LC_ALL": "C.UTF-8"})
    assert "█" in blocks and "▁" in blocks
    stacks = history(path, "--comm", "leak_rate", "--sites")
    assert "#0 " in stacks and same["id"] in stacks and "verdicts" not in stacks
    listed = history(path)
    assert str(leaking.pid) in listed and "leak_rate" in listed
    assert json.loads(history(path, "--output", "json"))["processes"][0]["pid"] == leaking.pid


def test_killed_at_any_moment_it_is_whole_and_a_later_run_goes_on(tmp_path, leaking):
    path = tmp_path / "history.db"
    dice = random.Random(11)
    rows = 0
    with_log = 0
    for _ in range(12):
        with Tracer("--pid", leaking.pid, *FAST, "--history", path) as tracer:
            tracer.wait_following()
            written(path, tracer, rows + 2)
            time.sleep(dice.random() * 0.15)  # the moment is what is tested
            seen = count(path)
            tracer.kill()
        with_log += (tmp_path / "history.db-wal").exists()
        assert query(path, "PRAGMA integrity_check") == [("ok",)]
        rows = count(path)
        assert rows >= seen, "what was written is lost"
    assert with_log == 12
    assert count(path, "process") == 1, "each run took it for another process"
    # Also in the middle of its start, when there is nothing yet.
    for attempt in range(8):
        fresh = tmp_path / f"fresh{attempt}.db"
        with Tracer("--pid", leaking.pid, *FAST, "--history", fresh) as tracer:
            wait_until(fresh.exists, tracer.err)
            time.sleep(dice.random() * 0.01)
            tracer.kill()
        run = run_memtrace("--pid", leaking.pid, "--sample", "exact", *FAST, "--duration", "1s", "--history", fresh)
        assert run.status == 0, run.err
        assert query(fresh, "PRAGMA integrity_check") == [("ok",)] and count(fresh) > 0
    found = json.loads(history(path, "--pid", leaking.pid, "--output", "json"))
    times = [sample["time"] for sample in found["samples"]]
    assert len(times) == rows and times == sorted(set(times))


def test_diff_by_time(tmp_path, leaking):
    path = tmp_path / "history.db"
    options = ["--pid", leaking.pid, *FAST, "--history", path]
    with Tracer(*options) as tracer:
        written(path, tracer, 20)
        assert tracer.end(signal.SIGINT).status == 0
        reports = tracer.reports()
    run = run_memtrace("diff", "--history", path, "--pid", leaking.pid, reports[1]["time"], "now")
    assert run.status == 0, run.err
    assert run.out.startswith(f"old       history of {reports[1]['time']}, the time asked for"), run.out
    assert f"\nnew       history of {reports[-1]['time']}, " in run.out
    first, last = (r["totals"]["live_bytes"] for r in (reports[1], reports[-1]))
    assert first < last and "\ngrew: " in run.out
    # With snapshots it is these: they have all sites.
    snapshots = tmp_path / "snapshots"
    with Tracer(*options, "--snapshot-dir", snapshots, "--snapshot-interval", "300ms") as tracer:
        written(path, tracer, 3, "snapshot")
        assert tracer.end(signal.SIGINT).status == 0
    files = sorted(snapshots.iterdir())
    assert [row[0] for row in query(path, "SELECT path FROM snapshot ORDER BY at_ms")] == [str(file) for file in files]
    moment = json.loads(files[0].read_text(encoding="utf-8"))["time"]
    run = run_memtrace("diff", "--history", path, "--comm", "leak_rate", moment, "now")
    assert run.status == 0 and f"old       snapshot {files[0]}, the time asked for" in run.out and f"snapshot {files[-1]}, " in run.out
    by_files = run_memtrace("diff", files[0], files[-1])
    assert by_files.status == 0 and run.out.endswith(by_files.out), "files and times compare in the same way"
    files[0].unlink()
    assert f"{files[0]}  (gone)" in history(path, "--pid", leaking.pid, "--snapshots")
    run = run_memtrace("diff", "--history", path, "--comm", "leak_rate", moment, "now")
    assert f"old       snapshot {files[1]}, " in run.out


def test_alerts_are_in_it(tmp_path, leaking):
    path = tmp_path / "history.db"
    rules = tmp_path / "alerts.toml"
    rules.write_text('[[alert]]\nname = "holds"\nwhen = "live-bytes"\nat_least = "1B"\nseverity = "info"\n', encoding="utf-8")
    with Tracer("--pid", leaking.pid, *FAST, "--history", path, "--config", rules) as tracer:
        written(path, tracer, 1, "alert")
        assert tracer.end(signal.SIGINT).status == 0
    alerts = json.loads(history(path, "--pid", leaking.pid, "--output", "json"))["alerts"]
    assert alerts[0]["name"] == "holds" and alerts[0]["state"] == "firing" and alerts[0]["severity"] == "info"
    assert "holds: " in history(path, "--pid", leaking.pid, "--alerts")


# ---- a file that cannot be written


def test_a_full_disk_stops_nothing_and_the_history_goes_on_when_there_is_room(tmp_path, leaking):
    with small_disk(tmp_path / "disk", "2m") as disk:
        path = disk / "history.db"
        with Tracer("--pid", leaking.pid, *FAST, "--history", path) as tracer:
            written(path, tracer, 3)
            with open(disk / "ballast", "wb", buffering=0) as ballast, pytest.raises(OSError):
                while True:
                    ballast.write(bytes(4096))
            tracer.wait_said("memtrace: the history waits: " + str(path) + ": no room: ")
            before = len(tracer.reports())
            tracer.wait_reports(before + 5)
            rows = count(path)
            (disk / "ballast").unlink()
            tracer.wait_said("memtrace: the history is written again")
            written(path, tracer, rows + 3)
            run = tracer.end(signal.SIGINT)
        assert run.err.count("the history waits") == 1, run.err
        dropped = "found no room" in run.err
        assert run.status == (1 if dropped else 0), run.err
        assert query(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_limit_on_the_size_of_files(tmp_path, leaking):
    path = tmp_path / "history.db"
    with Tracer("--pid", leaking.pid, *FAST, "--history", path, prefix=["prlimit", "--fsize=200000"], stdout=subprocess.DEVNULL) as tracer:
        tracer.wait_said("memtrace: the history waits: " + str(path) + ": no room: ")
        assert tracer.process.poll() is None
        run = tracer.end(signal.SIGINT)
    assert run.status == 1 and "memtrace: the history is not complete: " in run.err, run.err
    assert query(path, "PRAGMA integrity_check") == [("ok",)] and count(path) > 0


def test_files_that_are_refused(tmp_path, leaking):
    def refused(path, *words):
        run = run_memtrace("--pid", leaking.pid, "--history", path, "--duration", "1s")
        assert run.status == 1 and run.out == ""
        assert str(path) in run.error() and all(word in run.error() for word in words), run.err

    good = tmp_path / "good.db"
    with Tracer("--pid", leaking.pid, *FAST, "--history", good) as tracer:
        written(good, tracer, 2)
        refused(good, "another memtrace writes it")
        assert tracer.end(signal.SIGINT).status == 0
    text = tmp_path / "text"
    text.write_text("somebody's notes, of some length", encoding="ascii")
    refused(text, "no history of memtrace")
    assert text.read_text(encoding="ascii").startswith("somebody's")
    refused(tmp_path, "Is a directory")
    refused(tmp_path / "no" / "such.db", "create its directory first")
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE theirs(a)")
        database.commit()
    refused(tmp_path / "other.db", "another program's database")
    with small_disk(tmp_path / "disk", "2m") as disk:
        copy = disk / "100% ?x=1#.db"
        copy.write_bytes(good.read_bytes())
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        refused(disk / "history.db", "Read-only file system")
        refused(copy, "Read-only file system")
        assert str(leaking.pid) in history(copy), "it can be read all the same"
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(good.read_bytes()[:4096].ljust(20000, b"\xaa"))
    refused(damaged, "is damaged", "move it away")
    run = run_memtrace("history", damaged, "--pid", 1)
    assert run.status == 1 and "is damaged" in run.error()


def test_what_is_asked_wrongly(tmp_path):
    path = tmp_path / "none.db"
    run = run_memtrace("history", path)
    assert run.status == 1 and str(path) in run.error() and "memtrace --history" in run.error()
    assert run_memtrace("history", path, "--since", "03:00").status == 2
    assert run_memtrace("diff", "--history", path, "yesterday", "now").status == 2
    with Target.start("leak_rate", ["--duration", "3600"]) as target:
        target.go()
        assert run_memtrace("--pid", target.pid, "--duration", "500ms", "--history", path).status == 0
        run = run_memtrace("history", path, "--pid", target.pid, "--since", "noon")
        assert run.status == 1 and '"noon" is no time: write now, 2h ago' in run.error()
        run = run_memtrace("history", path, "--comm", "nobody")
        assert run.status == 1 and "no process of that name" in run.error()
        now = datetime.now(timezone.utc).isoformat()
        run = run_memtrace("history", path, "--pid", target.pid, "--until", "2h ago")
        assert run.status == 0 and "nothing was reported" in run.out, now
