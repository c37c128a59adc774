"""Runs memtrace on the programs of tests/targets and reads its last report.

    with Target.start("churn8") as target, Memtrace.attach(tmp_path, target.ready()) as memtrace:
        target.go()
        truth = target.truth()
        report = memtrace.stop()                 # SIGINT; the last report
        assert live_total(report) == truth.live
        # or, for all of it: report, truth = traced(tmp_path, target)

    launched = Launched.run(tmp_path, "churn8")  # memtrace -- COMMAND, to its end
    launched.truth, launched.report

Every wait is for a condition, has a deadline, and says what memtrace said when it fails. MEMTRACE in the environment names
another build to test. One thread at a time.
"""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from targets import REPOSITORY, Target, bare_name

MEMTRACE = Path(os.environ.get("MEMTRACE", REPOSITORY / ".output" / "memtrace"))
PATIENCE_S = 60.0


class MemtraceError(AssertionError):
    """memtrace failed, fell silent, or said what it must not say."""


def read_reports(path):
    """The reports in a file of memtrace's, one for each process."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def wait_for_report(path, wanted, process, timeout=PATIENCE_S):
    """Waits until wanted(report) is true of one in the file that the running memtrace `process` keeps. Returns that report."""
    deadline = time.monotonic() + timeout
    while True:
        for report in read_reports(path) if Path(path).exists() else []:
            if wanted(report):
                return report
        if process.poll() is not None or time.monotonic() > deadline:
            raise MemtraceError(f"no such report in {path} within {timeout} s, or memtrace ended")
        time.sleep(0.02)


class Memtrace:
    """A running memtrace whose reports go to `out`. Owns the process."""

    def __init__(self, command, out):
        self.out = out
        self.said = ""
        self.peak_rss_bytes = 0  # seen last; what wait4 tells includes the memory of who started it
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    @classmethod
    def start(cls, directory, *options, name="report"):
        """Starts memtrace with these options, writing JSON to DIRECTORY/NAME.json unless they say otherwise. Exact unless they say
        otherwise too: what is compared with a target's own account must not depend on how busy the machine is."""
        out = Path(directory) / f"{name}.json"
        out.unlink(missing_ok=True)  # an earlier tracer's
        exact = [] if "--sample" in options else ["--sample", "exact"]
        return cls([MEMTRACE, "--output", "json", "--out", out, *exact, *options], out)

    @classmethod
    def attach(cls, directory, pids, *options, name="report"):
        """Starts memtrace on running processes, and waits until it follows them."""
        pids = [pids] if isinstance(pids, int) else pids
        return cls.start(directory, *(word for pid in pids for word in ("--pid", pid)), *options, name=name).following()

    def following(self):
        """Itself, once it follows; closed where it does not."""
        try:
            self.wait_following()
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def wait_following(self, timeout=PATIENCE_S):
        """Waits until every call of the processes is seen."""
        self.wait_said(": following ", timeout)

    def wait_said(self, text, timeout=PATIENCE_S):
        deadline = time.monotonic() + timeout
        while text not in self.said:
            if not self._read(deadline, f"say {text!r}", timeout):
                raise MemtraceError(f"memtrace ended with status {self.process.wait()}\nit said:\n{self.said}")

    def wait_report(self, wanted, timeout=PATIENCE_S):
        """Waits until wanted(report) is true of a periodic report (--interval). Returns that report."""
        return wait_for_report(self.out, wanted, self.process, timeout)

    def finish(self, timeout=PATIENCE_S):
        """Waits for its end. Returns its exit status; peak_rss_bytes is known from then on, to 20 ms."""
        deadline = time.monotonic() + timeout
        while True:
            self._see_memory()
            quiet = not select.select([self.process.stdout], [], [], 0.02)[0] and time.monotonic() < deadline
            if not quiet and not self._read(deadline, "end", timeout):
                return self.process.wait()

    def _see_memory(self):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
            if peak := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):  # not when it has ended
                self.peak_rss_bytes = int(peak[1]) * 1024

    def _read(self, deadline, what, timeout):
        """Takes what it says next. False: it says nothing more, it has ended."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
            raise MemtraceError(f"memtrace did not {what} in {timeout} s\nit said:\n{self.said}")
        data = os.read(self.process.stdout.fileno(), 65536)
        self.said += data.decode(errors="replace")
        return bool(data)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def stop(self, timeout=PATIENCE_S):
        """Ctrl-C. Returns the last report, of the only process."""
        reports = self.stop_all(timeout)
        if len(reports) != 1:
            raise MemtraceError(f"reports of {len(reports)} processes instead of one\nmemtrace said:\n{self.said}")
        return reports[0]

    def stop_all(self, timeout=PATIENCE_S):
        """Ctrl-C. Returns the last reports, one for each process."""
        self.interrupt()
        return self.last_reports(timeout)

    def last_reports(self, timeout=PATIENCE_S):
        """Waits until it ends by itself, or has ended. Returns the last reports."""
        if self.finish(timeout) != 0:
            raise MemtraceError(f"memtrace ended with status {self.process.returncode}\nit said:\n{self.said}")
        return read_reports(self.out)

    def close(self):
        """Kills what is left of it. May be called twice."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def traced(directory, target, *options):
    """The last report on a running target, from before go to after its truth; and the truth."""
    with Memtrace.attach(directory, target.ready(), *options) as memtrace:
        target.go()
        truth = target.truth()
        return memtrace.stop(), truth


@dataclass
class Launched:
    """A target that memtrace started, from beginning to end."""

    truth: object
    reports: list
    status: int  # memtrace's
    said: str  # memtrace's messages, and what the target wrote to its standard error
    pid: int

    @property
    def report(self):
        assert len(self.reports) == 1, f"reports of {len(self.reports)} processes instead of one\n{self.said}"
        return self.reports[0]

    @classmethod
    def run(cls, directory, name, args=(), options=(), prefix=(), hold=False):
        """memtrace OPTIONS -- PREFIX TARGET ARGS, until the target exits. `prefix` is a command to run it through. hold: the target
        does not exit before a periodic report has been made of its end."""
        out = Path(directory) / "launched.json"
        out.unlink(missing_ok=True)
        exact = [] if "--sample" in options else ["--sample", "exact"]
        prefix = [MEMTRACE, *exact, "--output", "json", "--interval", "200ms", "--out", out, *options, "--", *prefix]
        with Target.start(name, args, wait=hold, prefix=prefix) as target:
            if hold:
                target.go()
            truth = target.truth()
            if hold:
                done = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
                wait_for_report(out, lambda report: report["time"] > done, target.process)
            status = target.finish()
            return cls(truth, read_reports(out), status, target.stderr(), target.pid)


def live_by_function(report, function_of):
    """The live blocks of each leaking function, in the shape of truth.leaks. function_of(site): the function, None for strangers."""
    found = {}
    for site in report["sites"]:
        function = function_of(site)
        if function is not None and site["live_objects"]:
            size, count = found.get(function, (0, 0))
            found[function] = (size + site["live_bytes"], count + site["live_objects"])
    return found


def live_total(report):
    return report["totals"]["live_bytes"], report["totals"]["live_objects"]


def counters(report):
    return report["coverage"]["counters"]
