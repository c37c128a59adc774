"""What memtrace itself takes at 50,000 call sites and a million live blocks: CPU time by interval in steady state, and memory.

    sudo /usr/bin/python3 tests/bench/collector_cost.py [--sites N] [--blocks N] [--rate N] [--interval S] [--intervals N] [--json FILE]
                                                        [--perf FILE] [MEMTRACE OPTION ...]

`--perf` records where the time goes (`perf report -i FILE`). The budget is off unless an option of memtrace's gives one: what is
measured is what the work costs, or with `--own-cpu 1%` what is left of it.
"""

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from memtrace_runner import MEMTRACE, Memtrace  # noqa: E402
from servers import cpu_ns  # noqa: E402
from targets import Target  # noqa: E402

FILL_PATIENCE_S = 600


def rss_mib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def wait_full(out, blocks):
    """Waits until a report tells of so many live blocks."""
    end = time.monotonic() + FILL_PATIENCE_S
    while time.monotonic() < end:
        text = out.read_text(encoding="utf-8") if out.exists() else ""
        if (live := re.search(r"live in ([\d,]+) blocks?$", text, re.MULTILINE)) and int(live[1].replace(",", "")) >= blocks:
            return
        time.sleep(0.2)
    sys.exit(f"no report of {blocks:,.0f} live blocks in {FILL_PATIENCE_S} s")


def watch(memtrace, options):
    """Share of a core that memtrace takes, of each interval."""
    pid, shares = memtrace.process.pid, []
    for _ in range(options.intervals):
        before, begin = cpu_ns([pid]), time.monotonic()
        time.sleep(options.interval)
        shares.append((cpu_ns([pid]) - before) / 1e9 / (time.monotonic() - begin))
        print(f"  {shares[-1]:.2%}, {rss_mib(pid):.0f} MiB", flush=True)
    return shares


def measure(options):
    sizes = ["--sites", str(options.sites), "--blocks", str(options.blocks), "--rate", str(options.rate)]
    wanted = [*(["--own-cpu", "none"] if not any("--own-cpu" in word for word in options.options) else []),
              *options.options, "--max-live", str(options.blocks * 2)]
    with tempfile.TemporaryDirectory() as directory, Target.start("site_paths", sizes) as target:
        out = Path(directory) / "report.txt"
        command = [MEMTRACE, "--sample", "exact", "--out", out, "--pid", target.ready(), "--interval", f"{options.interval:g}s"]
        with Memtrace([*command, *wanted], out).following() as memtrace:
            target.go()
            wait_full(out, options.blocks * 0.99)
            time.sleep(options.settle)
            perf = None
            if options.perf:
                perf = subprocess.Popen(["perf", "record", "-q", "-F", "997", "-g", "-o", options.perf, "-p", str(memtrace.process.pid)])
            shares = watch(memtrace, options)
            if perf:
                perf.send_signal(signal.SIGINT)
                perf.wait()
            rss = rss_mib(memtrace.process.pid)
            memtrace.interrupt()
            if memtrace.finish(120) != 0:
                sys.exit(memtrace.said)
            print(memtrace.said + out.read_text(encoding="utf-8")[:2000])
    return {
        "share of a core, median of the intervals": statistics.median(shares),
        "share of a core, mean": statistics.fmean(shares),
        "share of a core, most": max(shares),
        "RSS, MiB": rss,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=50_000)
    parser.add_argument("--blocks", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--interval", type=float, default=10)
    parser.add_argument("--intervals", type=int, default=6)
    parser.add_argument("--settle", type=float, default=0, help="seconds from the last block to the first interval")
    parser.add_argument("--json")
    parser.add_argument("--perf")
    options, options.options = parser.parse_known_args()
    figures = measure(options)
    for name, value in figures.items():
        print(f"{name:45} {value}")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
