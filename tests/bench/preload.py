#!/usr/bin/env python3
"""What libmemtrace_alloc.so costs while nobody traces: SQLite's shell with a script over 300,000 rows in memory, and Redis' SET. Also with its
semaphores raised but no breakpoint behind them: what counting and looking cost. Each measurement has a process of its own; arms take turns,
and CPU time is compared, because machines have other things to do. No root needed, after `make`.

    tests/bench/preload.py [ROUNDS] [sqlite|redis] ...
"""

import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import spread
from servers import cores, cpu_ns, wait_until
from workloads import SQLITE_SCRIPT, SqliteShell

LIBRARY = Path(__file__).resolve().parents[2] / ".output/libmemtrace_alloc.so"
ARMS = ("none", "preloaded", "again none", "counting")  # `again none`: how far the measurement itself strays
COMMANDS = 400_000


def prefix(arm):
    return ["env", f"LD_PRELOAD={LIBRARY}"] if arm in ("preloaded", "counting") else ["env"]


def raise_semaphores(pid):
    notes = subprocess.run(["readelf", "-nW", LIBRARY], check=True, capture_output=True, text=True).stdout
    maps = Path(f"/proc/{pid}/maps").read_text()
    base = int(re.search(rf"^([0-9a-f]+)-\S+ \S+ 00000000 .*{re.escape(str(LIBRARY))}$", maps, re.MULTILINE)[1], 16)
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for semaphore in set(re.findall(r"Semaphore: (0x[0-9a-f]+)", notes)):
            memory.seek(base + int(semaphore, 16))
            memory.write(struct.pack("<H", 1))


def sqlite(arm):
    """CPU seconds of the script."""
    with SqliteShell(prefix(arm)) as shell:
        if arm == "counting":
            raise_semaphores(shell.process.pid)
        return shell.run(SQLITE_SCRIPT)[1]


def redis(arm):
    """The server's CPU seconds for a command."""
    server_cores, client_cores = cores(together=False)
    with tempfile.TemporaryDirectory(prefix="memtrace-bench-") as home:
        path = Path(home) / "redis"
        command = ["taskset", "-c", server_cores, "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", home]
        server = subprocess.Popen([*prefix(arm), *command], stdout=subprocess.DEVNULL)
        try:
            wait_until(path.exists, "Redis listens")
            if arm == "counting":
                raise_semaphores(server.pid)
            begin = cpu_ns([server.pid])
            load = ["redis-benchmark", "-s", path, "-t", "set", "-P", "8", "-r", "10000", "-n", COMMANDS, "-q"]
            subprocess.run(["taskset", "-c", client_cores, *map(str, load)], check=True, stdout=subprocess.DEVNULL)
            return (cpu_ns([server.pid]) - begin) / 1e9 / COMMANDS
        finally:
            server.kill()
            server.wait()


WORKLOADS = {"sqlite": sqlite, "redis": redis}


def main():
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    names = [name for name in WORKLOADS if name in sys.argv[1:]] or list(WORKLOADS)
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
