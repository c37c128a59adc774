#!/usr/bin/python3
"""What the pages tier costs (a system call, a page fault, a mapping and its end), and the resources tier (a system call, a descriptor
and its end): without memtrace, while it follows another process, and while it follows this one. Interleaved; the least of each round,
then the median of the rounds. Needs root, and `make bench-build`.

    sudo /usr/bin/python3 tests/bench/pages.py [ROUNDS] [pages|resources]
"""

import signal
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEMTRACE = ROOT / ".output" / "memtrace"
WHAT = {
    "pages": ["system call (getppid)", "page fault", "mmap + munmap"],
    "resources": ["system call (getppid)", "eventfd + close", "open + close"],
}


def figures(command):
    output = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    return [float(word) for word in output.splitlines()[0].split()]


def beside_another(program, options):
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        command = [MEMTRACE, "--pid", str(sleeper.pid), "--interval", "1000s", *options]
        tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while "following" not in (line := tracer.stderr.readline()):
            if not line:
                sys.exit("memtrace ended")
        found = figures([program])
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
        sleeper.kill()
    return found


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    tier = sys.argv[2] if len(sys.argv) > 2 else "pages"
    program = ROOT / ".output" / "bench" / f"{tier}_cost"
    off = ["--resources", "none"]
    ways = {
        "without": lambda: figures([program]),
        "another followed": lambda: beside_another(program, off),
        "followed": lambda: figures([MEMTRACE, "--quiet", "--interval", "1000s", *off, "--", program]),
    }
    if tier == "resources":
        ways["another, resources"] = lambda: beside_another(program, [])
        ways["followed, resources"] = lambda: figures([MEMTRACE, "--quiet", "--interval", "1000s", "--", program])
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, measure in ways.items():
            found[name].append(measure())
    print(f"{'ns, median of ' + str(rounds):24}" + "".join(f"{name:>20}" for name in ways))
    for index, what in enumerate(WHAT[tier]):
        print(f"{what:24}" + "".join(f"{statistics.median(row[index] for row in rows):>20.0f}" for rows in found.values()))


if __name__ == "__main__":
    main()
