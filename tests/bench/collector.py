"""What memtrace itself takes: memory and CPU with a million live blocks, and the time until it is attached."""

import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from memtrace_runner import Memtrace  # noqa: E402
from servers import cpu_ns  # noqa: E402
from targets import Target  # noqa: E402

WATCHED_S = 5


def process_rss_mib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def measure_live(directory):
    with Target.start("live_million") as target:
        with Memtrace.attach(directory, target.ready(), "--sample", "exact", "--interval", "1s") as memtrace:
            target.go()
            target.truth(timeout=600)
            pid = memtrace.process.pid
            before, begin = cpu_ns([pid]), time.monotonic()
            time.sleep(WATCHED_S)
            share = (cpu_ns([pid]) - before) / 1e9 / (time.monotonic() - begin)
            rss = process_rss_mib(pid)
            begin = time.monotonic()
            report = memtrace.stop()
            last = time.monotonic() - begin
    blocks = report["totals"]["live_objects"]
    return {
        f"RSS with {blocks:,} live blocks, MiB": rss,
        "kernel maps, MiB": report["coverage"]["kernel_bytes"] / 2**20,
        "CPU with one report a second, share of a core": share,
        "SIGINT to exit with the last report written, s": last,
    }


def measure_attach(rounds, directory):
    took = []
    for _ in range(rounds):
        with Target.start("spin", ["--seconds", "60"]) as target:
            target.ready()
            target.go()
            begin = time.monotonic()
            with Memtrace.attach(directory, target.pid):
                took.append((time.monotonic() - begin) * 1000)
    return {"start to attached, ms (median)": statistics.median(took)}


def measure_collector(rounds):
    with tempfile.TemporaryDirectory() as directory:
        return {**measure_live(directory), **measure_attach(rounds, directory)}


