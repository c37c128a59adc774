#!/usr/bin/python3
"""What an annotated operation costs: a reference that is acquired and released (include/memtrace/probes.h), CPU time of each of the two.

    tests/bench/told.py [--rounds 7]        needs root; arms in turns, medians

untraced     nobody listens
traced       memtrace writes a record of each
sampled out  the kernel half leaves the object out (sampled_mask in bpf/contract.h). memtrace never asks for that yet: bpftool sets it
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from memtrace_runner import Memtrace, counters  # noqa: E402
from targets import Target  # noqa: E402

BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
OPERATIONS_EACH = 2  # of a pair
PAIRS = {"untraced": 50_000_000, "traced": 30_000, "sampled out": 100_000}


def cpu_ns(pid):
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])


def bpftool(*words):
    return json.loads(subprocess.run([BPFTOOL, "-j", "map", *map(str, words)], capture_output=True, check=True).stdout)


def leave_all_out(pid):
    """Of the process that memtrace follows: no object is in the sample any more, but one in 2^32."""
    key = ["hex", *(f"{byte:02x}" for byte in pid.to_bytes(4, "little"))]
    for found in bpftool("list"):
        if found.get("name", "").startswith("contract_proc"):
            entries = {tuple(entry["key"]): entry["value"] for entry in bpftool("dump", "id", found["id"])}
            if (value := entries.get(tuple(f"0x{byte}" for byte in key[1:]))) is None:
                continue
            mask = ["ff"] * 4
            old = [byte.removeprefix("0x") for byte in value]
            bpftool("update", "id", found["id"], "key", *key, "value", "hex", *old[:8], *mask, *old[12:])
            return
    raise SystemExit("memtrace does not follow it")


def measure(arm, directory):
    """ns for each operation."""
    pairs = PAIRS[arm]
    with Target.start("contract", ["--pairs", pairs]) as target:
        pid = target.ready()
        memtrace = None if arm == "untraced" else Memtrace.attach(directory, pid)
        if arm == "sampled out":
            leave_all_out(pid)
        before = cpu_ns(pid)
        target.go()
        target.truth()
        spent = cpu_ns(pid) - before
        if memtrace:
            with memtrace:
                said = counters(memtrace.stop())
            left_out = said["contract_sampled_out"]
            assert left_out >= 2 * pairs if arm == "sampled out" else left_out == 0, said
    return spent / (OPERATIONS_EACH * pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    if os.geteuid() != 0:
        raise SystemExit("told: tracing needs root")
    figures = {arm: [] for arm in PAIRS}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(rounds):
            for arm, values in figures.items():
                values.append(measure(arm, directory))
    for arm, values in figures.items():
        print(f"{arm:<12} {statistics.median(values):9.2f} ns ({min(values):.2f} to {max(values):.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
