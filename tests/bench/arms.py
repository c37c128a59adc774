"""What a workload is measured under: nothing, memtrace in its modes, the floor, and other tracers.

An arm either attaches to running processes (`attach`) or is a command to run the program through (`prefix`). One that cannot do
its part says why (`missing`, `refuses`): nothing is left out in silence.
"""

import contextlib
import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from figures import window_mean  # noqa: E402
from memtrace_runner import MEMTRACE  # noqa: E402
from targets import REPOSITORY  # noqa: E402
from tracer import Tracer, executable_mappings  # noqa: E402

FLOOR = REPOSITORY / ".output" / "bench" / "floor"
ATTACH_PATIENCE_S = 60
NO_PROCESS = 1 << 22  # above every pid there can be


class Arm:
    """Nothing at all; and what the others are made of."""

    launches = False
    settle_s = 0.3  # from attached to the start of the measurement
    least_s = 0  # of a measurement

    def __init__(self, name="none"):
        self.name = name

    def missing(self):
        """Why this arm cannot run on this machine, or None."""
        return None

    def refuses(self, pids):
        """Why not with so many processes, or None."""
        return None

    def prefix(self, directory):
        """The command to run a program through."""
        return []

    @contextlib.contextmanager
    def attach(self, pids, directory):
        """In the block the arm is on. Yields an object whose said(begin, end, cpus), after the block, tells what the tracer said of its
        cost between these two moments of the monotonic clock; None where it says nothing. `cpus`: CPU time that each process had per
        second of it, where that has been the same since attaching."""
        yield Silent()


class Silent:
    def said(self, begin, end, cpus=None):
        return None


class MemtraceArm(Arm):
    """memtrace --pid ... with these options."""

    def __init__(self, name, options, settle_s=Arm.settle_s, least_s=Arm.least_s):
        super().__init__(name)
        self.options = options
        self.settle_s = settle_s
        self.least_s = least_s

    def missing(self):
        if not MEMTRACE.exists():
            return "it is not built: make"
        # Options that are understood get as far as the process that is not there.
        tried = subprocess.run([MEMTRACE, *self.options, "--pid", str(NO_PROCESS)], capture_output=True, text=True, check=False)
        return None if tried.returncode != 2 else tried.stderr.strip()

    @contextlib.contextmanager
    def attach(self, pids, directory):
        words = [word for pid in pids for word in ("--pid", pid)]
        with Tracer(*words, "--output", "json", "--interval", "5s", *self.options) as tracer:
            tracer.wait_following()
            listener = Reports(time.monotonic())
            yield listener
            run = tracer.end(signal.SIGINT)
            if run.status != 0:
                raise RuntimeError(f"memtrace ended with status {run.status}: {run.err.strip()}")
            listener.take(run)


class BesideArm(MemtraceArm):
    """memtrace on another process, which sleeps: what all others on the machine pay for it."""

    @contextlib.contextmanager
    def attach(self, pids, directory):
        with subprocess.Popen(["sleep", "1000"]) as sleeper:
            try:
                with super().attach([sleeper.pid], directory):
                    yield Silent()
            finally:
                sleeper.kill()


class Reports:
    """What memtrace's reports say of its cost."""

    def __init__(self, attached_at):
        self.attached_at = attached_at
        self.by_pid = {}
        self.notes = []

    def take(self, run):
        for report in run.reports():
            self.by_pid.setdefault(report["process"]["pid"], []).append(report)
        self.notes = [line for line in run.err.splitlines() if not re.match(r"memtrace: (attached to|following) ", line)]

    def said(self, begin, end, cpus=None):
        def mean(reports, figure):
            spans = [(report["duration_s"], figure(report["coverage"]["overhead"])) for report in reports]
            return window_mean(spans, begin - self.attached_at, end - self.attached_at)

        def mean_of_processes(figure):
            means = [mean(reports, figure) for reports in self.by_pid.values()]
            return sum(means) / len(means) if means and None not in means else None

        ratio = mean_of_processes(lambda overhead: overhead["ratio"])
        if ratio is None:
            return None
        added_ns_per_s = mean_of_processes(lambda overhead: overhead["hits_per_s"] * overhead["trap_ns"])
        last = next(reports[-1] for reports in self.by_pid.values())
        coverage = last["coverage"]
        return {
            "ratio": ratio,
            "estimate": added_ns_per_s / 1e9 / cpus if cpus else None,  # as the ratio, but not bounded by 1
            "mode": coverage["mode"],
            "sample_interval_bytes": coverage["sample_interval_bytes"],
            "trap_ns": coverage["overhead"]["trap_ns"],
            "hits_per_s": coverage["overhead"]["hits_per_s"],
            "lost": coverage["lost"],
            "verdict": last["verdict"]["class"],
            "messages": self.notes,
        }


class DetachedArm(MemtraceArm):
    """memtrace has been there and is gone: the text of the process must be what it was, byte for byte, and so must its speed."""

    ATTACHED_S = 0.3

    def __init__(self):
        super().__init__("detached", ["--sample", "exact"])

    @contextlib.contextmanager
    def attach(self, pids, directory):
        before = {pid: text_of(pid) for pid in pids}
        with super().attach(pids, directory):
            time.sleep(self.ATTACHED_S)
            if any(text_of(pid) == before[pid] for pid in pids):
                raise RuntimeError("the text is the same with probes in it: this comparison would see nothing")
        for pid in pids:
            compare_texts(before[pid], text_of(pid))
        yield Silent()


def text_of(pid):
    """{mapping: digest} of the executable memory that is mapped from files, read through /proc/PID/mem."""
    digests = {}
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in executable_mappings(pid):
            digests[mapping] = hashlib.sha256(os.pread(memory.fileno(), mapping.end - mapping.start, mapping.start)).hexdigest()
    return digests


def compare_texts(before, after):
    changed = [mapping.path for mapping, digest in before.items() if after.get(mapping) != digest]
    if changed:
        raise RuntimeError(f"the text has changed after detaching: {', '.join(changed)}")


class HelperArm(Arm):
    """A program that attaches, says so, and stays until it is told to end."""

    def start(self, pids):
        raise NotImplementedError

    def end(self, process):
        raise NotImplementedError

    @contextlib.contextmanager
    def attach(self, pids, directory):
        process = self.start(pids)
        try:
            wait_line(process, "attached")
            yield Silent()
            self.end(process)
            process.wait(ATTACH_PATIENCE_S)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


def wait_line(process, text):
    """Reads the process's standard output, unbuffered, up to a line that begins with `text`."""
    deadline = time.monotonic() + ATTACH_PATIENCE_S
    said = b""
    while not any(line.startswith(text.encode()) for line in said.splitlines()):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise RuntimeError(f"{process.args[0]} does not attach; it said: {said.decode(errors='replace')}")
        data = os.read(process.stdout.fileno(), 4096)
        if not data:
            raise RuntimeError(f"{process.args[0]} has ended; it said: {said.decode(errors='replace')}")
        said += data


class FloorArm(HelperArm):
    """Empty BPF programs at the places of memtrace's probes, or such as do nothing for some time: floor.cpp."""

    def __init__(self, name="floor", delay_ns=0):
        super().__init__(name)
        self.delay_ns = delay_ns

    def missing(self):
        return None if FLOOR.exists() else "it is not built: make bench-build"

    def start(self, pids):
        return subprocess.Popen([FLOOR, "--delay", str(self.delay_ns), *map(str, pids)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def end(self, process):
        process.stdin.close()
        process.stdin = None


class BpftraceArm(HelperArm):
    """The three probes that tracing malloc and free takes at the least, where the symbols are, with the least done at them."""

    PROGRAM = """
        uprobe:LIBRARY:malloc { @size[tid] = arg0; }
        uretprobe:LIBRARY:malloc /@size[tid]/ { @live[retval] = @size[tid]; delete(@size[tid]); }
        uprobe:LIBRARY:free { delete(@live[arg0]); }
        BEGIN { printf("attached\\n"); }
        END { clear(@size); clear(@live); }
    """

    def __init__(self):
        super().__init__("bpftrace")

    def missing(self):
        return None if shutil.which("bpftrace") else "bpftrace is not installed"

    def refuses(self, pids):
        return "bpftrace -p takes one process" if len(pids) > 1 else None

    def start(self, pids):
        program = self.PROGRAM.replace("LIBRARY", allocator_of(pids[0]))
        env = dict(os.environ, BPFTRACE_MAP_KEYS_MAX="200000")
        return subprocess.Popen(["bpftrace", "-p", str(pids[0]), "-e", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, env=env)

    def end(self, process):
        process.send_signal(signal.SIGINT)


def allocator_of(pid):
    """The library whose malloc a process calls: one that was made for it goes before the C library."""
    paths = [mapping.path for mapping in executable_mappings(pid)]
    for pattern in (r"/lib(jemalloc|tcmalloc|mimalloc)[^/]*$", r"/libc(\.so|-2)[^/]*$"):
        for path in paths:
            if re.search(pattern, path):
                return path
    raise RuntimeError(f"process {pid} maps no malloc")


class LaunchArm(Arm):
    """A tool that must start the program itself."""

    launches = True
    settle_s = 0

    def missing(self):
        return None if shutil.which(self.name) else f"{self.name} is not installed"


class HeaptrackArm(LaunchArm):
    def __init__(self):
        super().__init__("heaptrack")

    def prefix(self, directory):
        return ["heaptrack", "-o", str(Path(directory) / "heaptrack")]


class ValgrindArm(LaunchArm):
    def __init__(self):
        super().__init__("valgrind")

    def prefix(self, directory):
        return ["valgrind", "--quiet", "--leak-check=no"]


def all_arms(settle_s, auto_s):
    """In the order in which they are measured. settle_s: the time that `auto` has to find its mode before it is measured, for auto_s at
    least: what it watches in windows, it watches for a small part of some seconds."""
    return [
        Arm(),
        DetachedArm(),
        MemtraceArm("exact", ["--sample", "exact"]),
        MemtraceArm("sampled", ["--sample", "64KiB"]),
        MemtraceArm("auto", ["--sample", "auto", "--max-overhead", "5%"], settle_s, auto_s),
        BesideArm("beside", ["--resources", "none"]),
        BesideArm("beside-resources", ["--resources", "auto"]),
        FloorArm(),
        FloorArm("delay-1us", 1000),
        FloorArm("delay-3us", 3000),
        BpftraceArm(),
        HeaptrackArm(),
        ValgrindArm(),
    ]
