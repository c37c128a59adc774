"""memtrace probes: where probes would go, how often they would be hit, which mode to expect; and that nothing of it stays."""

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

from memtrace_runner import MEMTRACE
from targets import Target
from tracer import Tracer, assert_nothing_left, breakpoints, run_memtrace, wait_until

NEVER_S = "3600s"  # a window that only the test ends
# Pages where the machine is so busy that the probes seem to take all of the target's time.
NO_MORE_THAN_WINDOWS = r"(?:windows of \d+ ms every \S+ s|pages only, with a look of \d+ ms every \d+ s)"
# A CPU's worth of work of its own, and a thousand allocations a second at the most.
BUSY_BUT_FRUGAL = """
print(flush=True)
while True:
    bytearray(300000)
    for _ in range(20000):
        pass
"""


@contextlib.contextmanager
def program(*command):
    """A process of any program, until the end of the `with` block."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def said(run, pattern):
    """The groups of the only match in what `probes` printed."""
    assert run.status == 0 and run.err == "", run
    found = re.findall(pattern, run.out, re.MULTILINE)
    assert len(found) == 1, run.out
    return found[0]


def number(text):
    return float(text.replace(",", ""))


def counting(tracer, pid):
    """Waits until the probes are in place."""
    wait_until(lambda: breakpoints(pid), lambda: f"probes in {pid}; memtrace said:\n{tracer.err()}")


def test_busy_loop_in_windows():
    with Target.start("spin", ["--hold", "--seconds", "2"]) as target:
        pid = target.ready()
        target.go()
        with Tracer("probes", "--pid", pid, "--duration", "4s") as tracer:
            counting(tracer, pid)
            target.send("now")  # what it counts from here on, it does with probes
            truth = target.truth()
            run = tracer.end()
        assert breakpoints(pid) == []
    allocs, frees = map(number, said(run, r"^  calls in \d+ ms: (\S+)/s allocations \(malloc [^)]*\), (\S+)/s frees; it used .* of a CPU$"))
    own = truth.values["pairs"] / 2
    assert own / 10 < allocs < own * 10, (run.out, own)  # the right decade
    assert abs(allocs - frees) <= 0.01 * allocs
    share = number(said(run, r"^  exact tracing would take (\S+) % of its CPU time"))
    assert 10 < share <= 100
    said(run, rf"^  --sample auto --max-overhead 5% would choose {NO_MORE_THAN_WINDOWS}, expected to take \S+ %: exact is over the budget$")
    said(run, "^  nothing is attached any more$")


def test_few_calls_exactly():
    with program(sys.executable, "-c", BUSY_BUT_FRUGAL) as process:
        process.stdout.readline()
        run = run_memtrace("probes", "--pid", process.pid)
        assert number(said(run, r"^  exact tracing would take (\S+) % of its CPU time")) < 5
        said(run, "would choose exact: exact is within the budget$")
        assert breakpoints(process.pid) == []


def test_budget_decides():
    """The same load, another budget: all of the CPU time is enough for anything."""
    with Target.start("spin", ["--hold"]) as target:
        target.go()
        run = run_memtrace("probes", "--pid", target.pid, "--max-overhead", "100%")
        said(run, "--max-overhead 100% would choose exact: exact is within the budget$")


def test_idle_target():
    with program("sleep", "1000") as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/exe").resolve().name == "sleep", "sleep")
        run = run_memtrace("probes", "--pid", process.pid)
        said(run, r"^  no call was seen in 1\d\d\d ms: ")  # few calls: it has looked for as long as it may
        assert "would take" not in run.out
        assert breakpoints(process.pid) == []


def test_several_each_by_itself():
    with program("sleep", "1000") as idle, Target.start("spin", ["--hold"]) as busy:
        busy.go()
        wait_until(lambda: Path(f"/proc/{idle.pid}/exe").resolve().name == "sleep", "sleep")
        run = run_memtrace("probes", "--pid", idle.pid, "--pid", busy.pid)
        assert run.status == 0, run
        first, second = re.split(r"^process ", run.out, flags=re.MULTILINE)[1:]
        assert first.startswith(f"{idle.pid} ") and "no call was seen" in first
        assert second.startswith(f"{busy.pid} ") and re.search(f"would choose {NO_MORE_THAN_WINDOWS}, ", second)


def test_nothing_left_after_ctrl_c_or_kill():
    with Target.start("leak_rate", ["--rate", "200000", "--size", "1000", "--duration", "3600"]) as target:
        target.go()
        for number_of_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            with Tracer("probes", "--pid", target.pid, "--pid", target.pid, "--duration", NEVER_S) as tracer:
                counting(tracer, target.pid)
                held = tracer.kernel_objects()
                run = tracer.end(number_of_signal)
            assert_nothing_left(held)
            assert breakpoints(target.pid) == []
            if number_of_signal == signal.SIGKILL:
                continue
            assert run.status == 1 and "stopped before the calls" in run.error()
            assert run.out.count(f"process {target.pid} ") == 1  # the second one is not begun
        target.send("stop")
        target.truth()
        assert target.finish() == 0, target.stderr()


def test_target_ends_meanwhile():
    with program("sleep", "1000") as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/exe").resolve().name == "sleep", "sleep")
        with Tracer("probes", "--pid", process.pid, "--duration", NEVER_S) as tracer:
            counting(tracer, process.pid)
            held = tracer.kernel_objects()
            process.kill()
            run = tracer.end()
        assert_nothing_left(held)
        assert run.status == 1 and f"process {process.pid} has ended while its calls were counted" in run.error()


def test_target_execs_meanwhile():
    """A rate would be neither program's."""
    with Target.start("exec_self") as target:
        pid = target.ready()
        with Tracer("probes", "--pid", pid, "--duration", NEVER_S) as tracer:
            counting(tracer, pid)
            target.go()
            target.truth()
            run = tracer.end()
        assert run.status == 1 and f"process {pid} has become another program while its calls were counted" in run.error()
        assert breakpoints(pid) == []
        assert target.finish() == 0, target.stderr()


def test_exceptions_under_way_when_probes_go():
    """Calls that exceptions leave, all the time: the return addresses that the kernel replaced are put back until the last one."""
    with Target.start("exception_crew", ["--rounds", "1000000000"]) as target:
        pid = target.ready()
        target.go()

        def cpu_ticks():
            return sum(map(int, Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[11:13]))

        for _ in range(10):
            said(run_memtrace("probes", "--pid", pid, "--duration", "500ms"), r"^  calls in \d+ ms: ")
            before = cpu_ticks()
            wait_until(lambda ticks=before: cpu_ticks() > ticks, "the program to go on: " + target.stderr())
        assert breakpoints(pid) == []


def test_without_privileges():
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with program(*prefix, "sleep", "1000") as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text(encoding="ascii") == "sleep\n", "sleep")
        run = subprocess.run([*prefix, MEMTRACE, "probes", "--pid", str(process.pid)], capture_output=True, text=True, check=False)
        assert run.returncode == 0 and run.stderr == "", run
        assert " malloc " in run.stdout and "calls in" not in run.stdout
        assert run.stdout.endswith("  nothing has been attached: how often they are called takes root to count\n")
        assert breakpoints(process.pid) == []
