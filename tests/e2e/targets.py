"""Starts the programs of tests/targets and reads the truth that they print (protocol: tests/targets/README.md).

    with Target.start("churn8", ["--ops", "100000"]) as target:
        target.ready()                 # set up, waits for go; target.pid is valid
        ...attach...
        target.go()
        truth = target.truth()         # blocks until the program has printed "done"; it stays alive
        ...look at what was traced...
        assert target.finish() == 0    # lets it exit

Leaving the `with` block kills whatever is left, the target's own children too. One thread at a time. Every wait has a deadline,
ends as soon as the program dies, and raises TargetError with what the program said so far.
"""

import os
import re
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TARGETS = REPOSITORY / ".output" / "targets"
PATIENCE_S = 60.0  # tracing and emulation slow a target down by an order of magnitude


class TargetError(AssertionError):
    """The target broke the protocol, died, or took too long."""


@dataclass
class Truth:
    """What a target says of itself. Bytes are as requested from the allocator."""

    leaks: dict = field(default_factory=dict)  # function -> (bytes, count), only those that leak
    live: tuple = None  # (bytes, count) of all blocks since "go"; None where the target cannot know
    notes: dict = field(default_factory=dict)  # key -> int, or str where it is not a number
    values: dict = field(default_factory=dict)  # other lines of the form "key number": pairs, ns_per_pair

    def inner(self):
        """Name of the function of libc that calls malloc -> the leaking function that it works for."""
        prefix = "inner_"
        return {name: key[len(prefix):] for key, name in self.notes.items() if key.startswith(prefix)}

    def function_of(self, names):
        """The leaking function that a stack belongs to, None if to none. `names`: functions, innermost first, demangled or not."""
        for name in names:
            bare = bare_name(name)
            if bare in self.leaks:
                return bare
        return None

    def function_of_inner(self, names):
        """Like function_of, for stacks that end inside libc: there the innermost name decides when no leaking one is found."""
        found = self.function_of(names)
        if found or not names:
            return found
        for inner, function in self.inner().items():
            if re.fullmatch(rf"_*(GI_+|IO_)?{re.escape(inner)}(_internal)?", bare_name(names[0])):
                return function
        return None

    def add_line(self, line):
        """Takes one line of output. False if it is none of the truth."""
        words = line.split()
        if len(words) == 4 and words[0] == "leak":
            if words[1] in self.leaks:
                raise TargetError(f"two truths for {words[1]}: {line}")
            self.leaks[words[1]] = (int(words[2]), int(words[3]))
        elif len(words) == 3 and words[0] == "live":
            self.live = (int(words[1]), int(words[2]))
        elif len(words) == 3 and words[0] == "note":
            self.notes[words[1]] = number(words[2])
        elif len(words) == 2 and isinstance(number(words[1]), (int, float)):
            self.values[words[0]] = number(words[1])
        else:
            return False
        return True

    def check(self):
        """What must hold in every truth."""
        for function, (size, count) in self.leaks.items():
            if count <= 0 or size < 0:
                raise TargetError(f"{function} leaks {size} bytes in {count} blocks")
        if self.live is not None:
            total = tuple(sum(column) for column in zip((0, 0), *self.leaks.values()))
            if total != self.live:
                raise TargetError(f"live is {self.live}, the functions add up to {total}")
        if self.live is not None and "allocs" in self.notes:
            if self.notes["allocs"] - self.notes["frees"] != self.live[1]:
                raise TargetError(f"calls do not balance: {self.notes}, live {self.live}")


def number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def shared_library(stem):
    """The path of an installed library by the first part of its name, whatever its version: Debian's releases differ in that."""
    found = sorted(Path("/usr/lib").glob(f"*-linux-gnu/{stem}.so.[0-9]*"), key=lambda path: len(path.name))
    if not found:
        raise TargetError(f"{stem} is not installed: run sudo scripts/install-deps.sh")
    return str(found[0])


def bare_name(name):
    """leak_new for "leak_new(unsigned long)" and "leak_new.cold"."""
    return re.split(r"[(.@]", name, maxsplit=1)[0]


class Target:
    """A running target. Owns the process."""

    def __init__(self, process, name, stderr, waits):
        self.process = process
        self.name = name
        self.pid = None  # known once ready; the target's own, whatever program it was started through
        self.said = []  # every line so far
        self._stderr = stderr
        self._waits = waits
        self._buffer = b""

    @classmethod
    def start(cls, name, args=(), wait=True, prefix=(), env=None):
        """Starts a target by name. `prefix` is a command to run it through; `env` is added to the environment."""
        path = TARGETS / name
        if not path.exists():
            raise TargetError(f"{path} is not built: run make targets")
        command = [*map(str, prefix), str(path), *map(str, args), *(["--wait"] if wait else [])]
        stderr = tempfile.TemporaryFile()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            start_new_session=True,  # so that close() reaches its children
        )
        return cls(process, name, stderr, wait)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def ready(self, timeout=PATIENCE_S):
        """Waits until the target is set up. Returns its pid."""
        if self.pid is None:
            line = self._read_until(lambda text: text.startswith("ready "), timeout)
            self.pid = int(line.split()[1])
        return self.pid

    def go(self):
        """Lets it do its work."""
        self.ready()
        self.send("go")

    def send(self, line):
        """Writes a line to the target: "go", or "stop" for those that take it."""
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._error("does not listen any more") from None

    def truth(self, timeout=PATIENCE_S):
        """Waits until the work is done. The target lives on if it was started to wait."""
        self.ready(timeout)
        result = Truth()
        self._read_until(lambda text: text == "done" or not self._take(result, text), timeout)
        result.check()
        return result

    def finish(self, timeout=PATIENCE_S):
        """Lets the target exit. Returns its exit status, negative for a signal."""
        if self.process.poll() is None and self._waits:
            try:
                self.send("exit")
            except TargetError:
                pass  # it is on its way out already
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self._error(f"did not exit within {timeout} s") from None

    def read_line(self, timeout=PATIENCE_S):
        """The next line that it says."""
        return self._read_until(lambda text: True, timeout)

    def alive(self):
        return self.process.poll() is None

    def stderr(self):
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def close(self):
        """Kills what is left of it. May be called twice."""
        if self._stderr.closed:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._stderr):
            try:
                stream.close()
            except BrokenPipeError:
                pass

    def _take(self, truth, line):
        if truth.add_line(line):
            return True
        raise self._error(f"said {line!r}")

    def _read_until(self, wanted, timeout):
        """Consumes lines up to and with the first for which wanted(line) is true, and returns that."""
        deadline = time.monotonic() + timeout
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                text = line.decode()
                self.said.append(text)
                if text.startswith("broken "):
                    raise self._error(f"gave up: {text}")
                if wanted(text):
                    return text
                continue
            self._fill(deadline, timeout)

    def _fill(self, deadline, timeout):
        stdout = self.process.stdout.fileno()
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([stdout], [], [], left)[0]:
            raise self._error(f"said nothing more for {timeout} s")
        data = os.read(stdout, 65536)
        if not data:
            self.process.wait(timeout)
            raise self._error(f"ended with status {self.process.returncode} before it was done")
        self._buffer += data

    def _error(self, what):
        said = "\n  ".join(self.said[-20:])
        return TargetError(f"target {self.name} {what}\nit said:\n  {said}\nstderr:\n{self.stderr()}")
