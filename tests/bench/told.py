#!/usr/bin/python3
"""What an annotated operation costs: a reference that is acquired and released (include/memtrace/probes.h), CPU time of each of the two.

    tests/bench/told.py [--rounds 7]        needs root; arms in turns, medians

untraced     nobody listens
traced       memtrace writes a record of each
sampled out  the kernel half leaves the object out (mt_in_sample in bpf/contract.h). memtrace comes to that by itself where need be: here bpftool
             sets the mask
flood        how many a second are heard of before the first is lost, by 1, 2 and 4 programs at once; and what the report says then
asked, seen  from asking for an emergency cleanup to the program's beginning with it, as `memtrace cleanup` says. The program (tests/targets/evictable.cpp)
             looks for requests every millisecond
seen, freed  from there to its end: 100 of 200 resources of 1 MiB, which are handles' (include/memtrace/resource.hpp)
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from memtrace_runner import MEMTRACE, Memtrace, counters  # noqa: E402
from targets import Target  # noqa: E402

BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
OPERATIONS_EACH = 2  # of a pair
PAIRS = {"untraced": 50_000_000, "traced": 30_000, "sampled out": 100_000}


def cpu_ns(pid):
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])


def bpftool(*words):
    return json.loads(subprocess.run([BPFTOOL, "-j", "map", *map(str, words)], capture_output=True, check=True).stdout)


def leave_all_out(pid):
    """Of the only process that the memtrace with that pid follows: no object is in the sample any more, but one in 2^32."""
    held = {int(number) for info in Path(f"/proc/{pid}/fdinfo").iterdir() for number in re.findall(r"^map_id:\s*(\d+)$", info.read_text(), re.MULTILINE)}
    samples = [found["id"] for found in bpftool("list") if found["id"] in held and found.get("name", "").startswith("contract_sampl")]
    assert len(samples) == 1, samples
    bpftool("update", "id", samples[0], "key", "hex", *["00"] * 4, "value", "hex", *["ff"] * 4)


def measure(arm, directory):
    """ns for each operation."""
    pairs = PAIRS[arm]
    with Target.start("contract", ["--pairs", pairs]) as target:
        pid = target.ready()
        memtrace = None if arm == "untraced" else Memtrace.attach(directory, pid)
        if arm == "sampled out":
            leave_all_out(memtrace.process.pid)
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


def flood(programs, directory):
    """Events a second that these many programs tell of, how many were lost, and what the report says of a sample."""
    targets = [Target.start("contract", ["--pairs", 100_000]) for _ in range(programs)]
    try:
        with Memtrace.attach(directory, [target.ready() for target in targets], "--sample", "auto", "--max-overhead", "100%") as memtrace:
            begin = time.monotonic()
            for target in targets:
                target.go()
            for target in targets:
                target.truth(600)
            took = time.monotonic() - begin
            reports = memtrace.stop_all()
    finally:
        for target in targets:
            target.close()
    hits = sum(counters(report)["contract_hits"] for report in reports)
    lost = sum(report["coverage"]["lost"].get("contract_records_lost", 0) for report in reports)
    return hits / took, lost, max(report["references"]["sampled_one_in"] for report in reports)


def cleanup():
    """Milliseconds from asking to seeing, and from there to the end."""
    with Target.start("evictable", ["--count", 200, "--target", 100]) as target:
        pid = target.ready()
        target.go()
        said = subprocess.run([MEMTRACE, "cleanup", "--pid", str(pid)], capture_output=True, text=True, check=True).stdout
        assert target.read_line() == f"note freed {100 << 20}"
    whole, freeing = map(float, re.search(r"freed 104857600 bytes, in 100 resources, ([\d.]+) ms after it was asked; ([\d.]+) ms of them", said).groups())
    return whole - freeing, freeing


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
    with tempfile.TemporaryDirectory() as directory:
        for programs in (1, 2, 4):
            rate, lost, one_in = max(flood(programs, directory) for _ in range(rounds))
            print(f"flood of {programs}  {rate:9,.0f} events/s, {lost:,} lost, one object in {one_in} heard of")
    for what, times in zip(("asked, seen", "seen, freed"), zip(*[cleanup() for _ in range(rounds)])):
        print(f"{what}  {statistics.median(times):9.1f} ms ({min(times):.1f} to {max(times):.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
