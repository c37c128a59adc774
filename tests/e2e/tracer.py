"""memtrace as a user runs it: its two outputs kept apart, ended in every way there is; and what it must leave behind: nothing.

    run = run_memtrace("--pid", 99999999)                     # to its end: run.status, run.out, run.err
    with Tracer("--pid", pid, "--output", "json") as tracer:  # running
        tracer.wait_following()
        held = tracer.kernel_objects()
        assert breakpoints(pid)
        tracer.kill()
    assert_nothing_left(held)
    assert not breakpoints(pid)

Every wait is for a condition and has a deadline. One thread at a time.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from memtrace_runner import MEMTRACE, PATIENCE_S

PAGE = 4096
POLL_S = 0.02


def wait_until(condition, what, timeout=PATIENCE_S):
    """Returns the first true value of condition(); fails, saying `what` was waited for, when there was none in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not in {timeout} s: {what() if callable(what) else what}"
        time.sleep(POLL_S)


@dataclass
class Run:
    """A memtrace that has ended."""

    status: int
    out: str
    err: str

    def reports(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def error(self):
        """The one line on standard error that a failure comes with; the messages of a good start may precede it."""
        lines = [line for line in self.err.splitlines() if not re.match(r"memtrace: (attached to|following) ", line)]
        assert len(lines) == 1 and lines[0].startswith("memtrace: ") and self.err.endswith("\n"), self.err
        return lines[0]


def run_memtrace(*args, timeout=PATIENCE_S, prefix=(), **popen):
    """memtrace with these arguments, to its end. `prefix` is a command to run it through."""
    command = list(map(str, [*prefix, MEMTRACE, *args]))
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False, **popen)
    return Run(run.returncode, run.stdout.decode(errors="surrogateescape"), run.stderr.decode(errors="surrogateescape"))


class Tracer:
    """A running memtrace. Owns the process, and kills it at the end of the `with` block where it is still there. It traces exactly
    unless told otherwise: what is tested must not depend on how busy the machine is."""

    def __init__(self, *args, prefix=(), stdout=None, **popen):
        if "--sample" not in args and not {"--pid", "--"}.isdisjoint(args):
            args = ("--sample", "exact", *args)
        self._out = tempfile.TemporaryFile() if stdout is None else None
        self._err = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            list(map(str, [*prefix, MEMTRACE, *args])),
            stdin=subprocess.DEVNULL,
            stdout=self._out if stdout is None else stdout,
            stderr=self._err,
            **popen,
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._err.close()
        if self._out:
            self._out.close()

    def out(self):
        return _whole(self._out)

    def err(self):
        return _whole(self._err)

    def reports(self):
        """The JSON reports so far."""
        return [json.loads(line) for line in self.out().splitlines(keepends=True) if line.endswith("\n")]

    def wait_said(self, text, timeout=PATIENCE_S):
        def said():
            ended = self.process.poll() is not None
            if text in self.err():
                return True
            assert not ended, f"memtrace ended with status {self.process.returncode}\nit said:\n{self.err()}"
            return False

        wait_until(said, lambda: f"memtrace to say {text!r}; it said:\n{self.err()}", timeout)

    def wait_following(self):
        """Every call of the processes is seen from here on."""
        self.wait_said(": following ")

    def wait_reports(self, count):
        """Waits for that many JSON reports. Returns them."""

        def enough():
            ended = self.process.poll() is not None
            reports = self.reports()
            assert len(reports) >= count or not ended, f"only {len(reports)} reports of {count}\nmemtrace said:\n{self.err()}"
            return reports if len(reports) >= count else None

        return wait_until(enough, lambda: f"{count} reports; memtrace said:\n{self.err()}")

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, number=None, timeout=PATIENCE_S):
        """Waits for the end, after a signal where one is given."""
        if number is not None:
            self.signal(number)
        status = self.process.wait(timeout)
        return Run(status, self.out() if self._out else "", self.err())

    def kill(self):
        assert self.process.poll() is None, self.err()
        assert self.end(signal.SIGKILL).status == -signal.SIGKILL

    def kernel_objects(self):
        """{("prog", id), ("link", id), ...} of what it holds in the kernel now."""
        held = set()
        for info in Path(f"/proc/{self.process.pid}/fdinfo").iterdir():
            try:
                text = info.read_text(encoding="utf-8")
            except FileNotFoundError:
                continue  # it has been closed since the folder was listed
            for kind, number in re.findall(r"^(prog|link|map)_id:\s*(\d+)$", text, re.MULTILINE):
                held.add((kind, int(number)))
        return held


def _whole(file):
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="surrogateescape")


def _in_kernel(kind):
    for _ in range(100):  # it gives up where one goes while it looks, as those of other tests do
        listed = subprocess.run(["bpftool", "-j", kind, "list"], capture_output=True, text=True, check=False)
        if listed.returncode == 0:
            return {(kind, entry["id"]) for entry in json.loads(listed.stdout or "[]")}
    raise AssertionError(f"bpftool cannot list: {listed.stderr}")


def assert_nothing_left(held):
    """`held`: kernel_objects() of a memtrace that has ended since. The kernel frees them in its own time, but soon."""
    assert {kind for kind, _ in held} == {"prog", "link", "map"}, f"that was no tracing memtrace: {held}"
    left = set(held)

    def gone():
        nonlocal left
        left = held & (_in_kernel("prog") | _in_kernel("link") | _in_kernel("map"))
        return not left

    wait_until(gone, lambda: f"the kernel still holds {sorted(left)}", timeout=10)


@dataclass(frozen=True)
class Mapping:
    start: int
    end: int
    offset: int
    path: str


def executable_mappings(pid):
    """Those of files."""
    mappings = []
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        addresses, permissions, offset, _, inode, *path = line.split(maxsplit=5)
        if "x" in permissions and inode != "0":
            start, end = (int(address, 16) for address in addresses.split("-"))
            mappings.append(Mapping(start, end, int(offset, 16), path[0]))
    return mappings


def breakpoints(pid):
    """Where the executable memory of a process differs from the files that it maps, "PATH+OFFSET" each, page by page. Any file:
    what memtrace probed, and what it did not. Less what stands in this very process too, which memtrace never touches: that is of
    a tracer that somebody has set on the whole machine meanwhile."""
    foreign = _differences(os.getpid())
    found = _differences(pid)
    foreign += _differences(os.getpid())
    return sorted(set(found) - set(foreign))


def _differences(pid):
    mappings = executable_mappings(pid)
    assert mappings, f"process {pid} has no executable mapping"
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in mappings:
            text = os.pread(memory.fileno(), mapping.end - mapping.start, mapping.start)
            assert len(text) == mapping.end - mapping.start, f"{mapping} cannot be read whole"
            try:
                with open(f"/proc/{pid}/map_files/{mapping.start:x}-{mapping.end:x}", "rb") as file:  # also where the name is gone
                    code = os.pread(file.fileno(), len(text), mapping.offset).ljust(len(text), b"\0")
            except FileNotFoundError:
                assert mapping not in executable_mappings(pid)
                continue  # unmapped meanwhile
            for page in range(0, len(text), PAGE):
                if text[page:page + PAGE] != code[page:page + PAGE]:
                    found += [f"{mapping.path}+{mapping.offset + at:#x}" for at in range(page, page + PAGE) if text[at] != code[at]]
    return found


def descendants(pid):
    """The processes below a process, itself not."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return children + [below for child in children for below in descendants(child)]


@contextlib.contextmanager
def small_disk(directory, size="64k", options=""):
    """A file system of that size."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
