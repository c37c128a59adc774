#!/usr/bin/env python3
"""What a stack costs: pairs of malloc and free at stacks of different depth, traced exactly. The difference is the frames'.
Needs root, and `make bench-build`.

    sudo tests/bench/stack_cost.py [ROUNDS]
"""

import statistics
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MEMTRACE = REPOSITORY / ".output/memtrace"
PROGRAM = REPOSITORY / ".output/bench/stack_cost"
DEPTHS = (0, 10, 20, 40)
PAIRS = 300_000  # the first are walked by frame pointers, until the tables are there


def ns_per_pair(depth):
    command = [MEMTRACE, "--quiet", "--sample", "exact", "--out", "/dev/null", "--", PROGRAM, depth, PAIRS]
    run = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True, text=True)
    return float(run.stdout.splitlines()[0])


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found = {depth: [] for depth in DEPTHS}
    for _ in range(rounds):
        for depth in DEPTHS:
            found[depth].append(ns_per_pair(depth))
    least = {depth: min(values) for depth, values in found.items()}
    print("| frames more | ns a pair, least | median | ns for each frame more |\n|---|---|---|---|")
    for depth in DEPTHS:
        frame = f"{(least[depth] - least[0]) / depth:.0f}" if depth else ""
        print(f"| {depth} | {least[depth]:.0f} | {statistics.median(found[depth]):.0f} | {frame} |")


if __name__ == "__main__":
    main()
