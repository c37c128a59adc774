"""What tracing costs the traced program: see README.md in this folder. Arms alternate in every round (A B C, A B C, ...), so that a
machine that is slow for a while slows all of them."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from arms import all_arms  # noqa: E402
from collector import measure_collector  # noqa: E402
from figures import compare  # noqa: E402
from tables import describe, markdown, nanoseconds, text_table  # noqa: E402
from targets_met import TITLES, markdown_targets, target_rows  # noqa: E402
from workloads import all_workloads  # noqa: E402

# What may go wrong in one measurement and leaves the others standing.
FAILURES = (AssertionError, RuntimeError, OSError, subprocess.SubprocessError, KeyError, ValueError)


def progress(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def cannot_measure(workload, arm):
    """Why this arm is left out, or None."""
    if arm.launches and not workload.restarts:
        return "it would have to start the program"
    return arm.missing() or arm.refuses([0] * workload.processes())


def choose_arms(workload, arms, wanted):
    """The arms to measure, and {arm: reason} of those that cannot be. The base is always among them."""
    chosen, missing = [], {}
    for arm in arms:
        if arm.name not in (wanted or workload.arms) and arm.name != "none":
            continue
        reason = cannot_measure(workload, arm)
        if reason:
            missing[arm.name] = reason
        else:
            chosen.append(arm)
    return chosen, missing


def measure_once(workload, arm, seconds):
    """A sample, or the text of what went wrong."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            return workload.measure(arm, seconds, directory)
        except FAILURES as error:
            return f"{type(error).__name__}: {error}"


def measure_rounds(workload, chosen, options):
    """({arm: [sample or None for each round]}, {arm: what went wrong first})."""
    samples = {arm.name: [] for arm in chosen}
    failed = {}
    with workload.open():
        for number in range(options.rounds):
            for arm in chosen:
                taken = measure_once(workload, arm, max(options.seconds, arm.least_s))
                if isinstance(taken, str):
                    failed.setdefault(arm.name, taken)
                    progress(f"{workload.name}, round {number + 1} of {options.rounds}, {arm.name}: FAILED: {taken}")
                    taken = None
                else:
                    progress(f"{workload.name}, round {number + 1} of {options.rounds}, {arm.name}: CPU {nanoseconds(taken['cpu_ns'])}")
                samples[arm.name].append(taken)
    return samples, failed


def measure_workload(workload, arms, options):
    chosen, missing = choose_arms(workload, arms, options.arms)
    reason = workload.missing()
    if reason:
        missing, chosen = {arm: reason for arm in workload.arms}, []
    samples, failed = {}, {}
    if chosen:
        try:
            samples, failed = measure_rounds(workload, chosen, options)
        except FAILURES as error:
            failed = {"none": f"{type(error).__name__}: {error}"}
    return {
        "what": workload.what,
        "better": workload.better,
        "arms": compare(samples),
        "missing": missing,
        "failed": failed,
        "samples": samples,
    }


def parse_options(arguments=None):
    workloads = {workload.name: workload for workload in all_workloads()}
    names = [*workloads, "collector"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement (2)")
    parser.add_argument("--settle", type=float, default=6, help="seconds that auto has to find its mode before it is measured (6)")
    parser.add_argument("--auto-seconds", type=float, default=10, help="of each measurement of auto, at least (10)")
    parser.add_argument("--only", help=f"with commas, some of {', '.join(names)}; the slow sqlite-long only if named")
    parser.add_argument("--arms", help="with commas: only these (and none)")
    parser.add_argument("--json", help="file for every measurement")
    parser.add_argument("--table", action="store_true", help="print the tables of the README too, in Markdown")
    parser.add_argument("--from-json", help="measure nothing, print what this file holds")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",") if options.only else [name for name in names if name not in workloads or not workloads[name].slow]
    options.arms = options.arms.split(",") if options.arms else None
    for unknown in set(options.only) - set(names):
        parser.error(f"no such workload: {unknown} ({', '.join(names)})")
    for unknown in set(options.arms or []) - {arm.name for arm in all_arms(0, 0)}:
        parser.error(f"no such arm: {unknown}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are above zero")
    return options


def show(result, options):
    for name, workload in result["workloads"].items():
        print("\n" + describe(name, workload))
    rows = target_rows(result["workloads"])
    if rows:
        print("\ntargets\n" + text_table(TITLES, rows))
    if result["collector"]:
        print("\nmemtrace itself")
        print(text_table(["", ""], [[what, f"{value:.2f}"] for what, value in result["collector"].items()]))
    if options.table:
        print("\n" + markdown(result) + "\n\n" + markdown_targets(result["workloads"]))


def measure(options):
    result = {
        "schema": "memtrace.bench/1",
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "workloads": {},
        "collector": {},
    }
    arms = all_arms(options.settle, options.auto_seconds)
    for workload in all_workloads():
        if workload.name not in options.only:
            continue
        result["workloads"][workload.name] = measure_workload(workload, arms, options)
        if options.json:
            Path(options.json).write_text(json.dumps(result, indent=1))
    if "collector" in options.only:
        progress("memtrace itself")
        result["collector"] = measure_collector(options.rounds)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1))
    return result


def main():
    options = parse_options()
    if options.from_json:
        show(json.loads(Path(options.from_json).read_text()), options)
        return
    if os.geteuid() != 0:
        sys.exit("overhead.py: tracing needs root: run it with sudo")
    result = measure(options)
    show(result, options)
    failed = [f"{name}, {arm}: {why}" for name, workload in result["workloads"].items() for arm, why in workload["failed"].items()]
    if failed:
        sys.exit("\n".join(["overhead.py: not all could be measured:", *failed]))


if __name__ == "__main__":
    main()
