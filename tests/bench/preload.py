#!/usr/bin/env python3
"""What libmemtrace_alloc.so costs: SQLite's shell with a script over 300,000 rows in memory, Redis' SET, and LevelDB's fillrandom and readrandom
(leveldb_load.cpp). Untraced; with its semaphores raised but no breakpoint behind them, which is what counting and looking cost; and, where it
is run as root, followed by memtrace (--allocator otel_memory). Each measurement has a process of its own; arms take turns, and CPU time is
compared, because machines have other things to do. After `make bench-build`.

    tests/bench/preload.py [ROUNDS] [sqlite|redis|leveldb] ...
    tests/bench/preload.py instructions [sqlite|redis|leveldb] ...    of the process outside the kernel, by valgrind: whatever else the machine does
"""

import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import spread
from servers import cores, cpu_ns, wait_until
from workloads import SQLITE_SCRIPT, SqliteShell

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from memtrace_runner import Memtrace, counters  # noqa: E402
from semaphores import Semaphores  # noqa: E402

LIBRARY = Path(__file__).resolve().parents[2] / ".output/libmemtrace_alloc.so"
LEVELDB = LIBRARY.parent / "bench/leveldb_load"
# `again none`: how far the measurement itself strays
ARMS = ("none", "preloaded", "again none", "counting", *(["traced"] if os.geteuid() == 0 else []))
WITHOUT = ("none", "again none")
COMMANDS = 400_000
ENTRIES = 200_000


def prefix(arm):
    return ["env"] if arm in WITHOUT else ["env", f"LD_PRELOAD={LIBRARY}"]


@contextlib.contextmanager
def listened_to(arm, pid):
    """Whatever the arm does to the process that has just begun."""
    if arm == "counting":
        Semaphores(pid, LIBRARY).raise_by_hand()
    if arm != "traced":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as home, Memtrace.attach(home, pid, "--allocator", "otel_memory") as memtrace:
        yield
        assert counters(memtrace.stop())["told_heap_hits"] > 0, "it was told nothing"


def sqlite(arm):
    """CPU seconds of the script."""
    with SqliteShell(prefix(arm)) as shell, listened_to(arm, shell.process.pid):
        return shell.run(SQLITE_SCRIPT)[1]


def leveldb(arm, under=(), entries=ENTRIES):
    """The process's CPU seconds for an entry that is written and one that is read, compaction too."""
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as home:
        command = [*prefix(arm), *under, LEVELDB, Path(home) / "db", str(entries)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            pid = int(load.stdout.readline().split()[1])
            with listened_to(arm, pid):
                begin = cpu_ns([pid])
                load.stdin.write("go\n")
                load.stdin.flush()
                while load.stdout.readline() != "done\n":
                    assert load.poll() is None
                spent = cpu_ns([pid]) - begin
            load.communicate("\n")
            assert load.returncode == 0
    return spent / 1e9 / entries


def redis(arm):
    """The server's CPU seconds for a command."""
    server_cores, client_cores = cores(together=False)
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as home:
        path = Path(home) / "redis"
        command = ["taskset", "-c", server_cores, "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", home]
        server = subprocess.Popen([*prefix(arm), *command], stdout=subprocess.DEVNULL)
        try:
            wait_until(path.exists, "Redis listens")
            with listened_to(arm, server.pid):
                begin = cpu_ns([server.pid])
                load = ["redis-benchmark", "-s", path, "-t", "set", "-P", "8", "-r", "10000", "-n", COMMANDS, "-q"]
                subprocess.run(["taskset", "-c", client_cores, *map(str, load)], check=True, stdout=subprocess.DEVNULL)
                return (cpu_ns([server.pid]) - begin) / 1e9 / COMMANDS
        finally:
            server.kill()
            server.wait()


WORKLOADS = {"sqlite": sqlite, "redis": redis, "leveldb": leveldb}


def instructions(name, arm):
    """Of the whole process."""
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as home:
        out = Path(home) / "cachegrind"
        under = ["valgrind", "-q", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={out}"]
        if name == "leveldb":
            leveldb(arm, under, ENTRIES // 4)
        elif name == "sqlite":
            with SqliteShell([*prefix(arm), *under]) as shell:
                shell.run(SQLITE_SCRIPT)
        else:
            raise SystemExit("instructions: of sqlite and leveldb")
        return int(re.search(r"^summary: (\d+)", out.read_text(), re.MULTILINE)[1])


def main():
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    names = [name for name in WORKLOADS if name in sys.argv[1:]] or list(WORKLOADS)
    if "instructions" in sys.argv[1:]:
        print("| workload | without, million instructions | with | |\n|---|---|---|---|")
        for name in (name for name in names if name != "redis" or len(names) == 1):
            without, preloaded = instructions(name, "none") / 1e6, instructions(name, "preloaded") / 1e6
            print(f"| {name} | {without:,.1f} | {preloaded:,.1f} | {100 * (preloaded / without - 1):+.2f} % |", flush=True)
        return
    begin = time.monotonic()
    print("| workload | arm | CPU, median | quartiles | ratio of medians | median of ratios |\n|---|---|---|---|---|---|")
    for name in names:
        found = {arm: [] for arm in ARMS}
        for number in range(numbers[0] if numbers else 15):
            for arm in ARMS if number % 2 else reversed(ARMS):
                found[arm].append(WORKLOADS[name](arm))
        base = found["none"]
        for arm in ARMS:
            values = spread(found[arm])
            paired = statistics.median(value / other for value, other in zip(found[arm], base))
            print(f"| {name} | {arm} | {1e3 * values.median:.5g} ms | {1e3 * values.low:.5g} to {1e3 * values.high:.5g} "
                  f"| {values.median / spread(base).median:.4f} | {paired:.4f} |", flush=True)
    print(f"\n{time.monotonic() - begin:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
