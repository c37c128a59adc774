#!/usr/bin/env python3
"""Healthy databases under load: no call site of theirs may be called a probable or definite leak, in any report.

    sudo /usr/bin/python3 tests/bench/healthy.py [--seconds 1800] [--only postgres,redis,mariadb] [--sample auto]

Exit status 1, with the site and its evidence, where one was. `MEMTRACE` in the environment names another build.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from servers import MariadbLoad, PostgresLoad, RedisLoad

MEMTRACE = Path(os.environ.get("MEMTRACE") or Path(__file__).resolve().parents[2] / ".output/memtrace")
LOADS = {"postgres": lambda: PostgresLoad(clients=2), "redis": RedisLoad, "mariadb": MariadbLoad}


def watch(pids, seconds, sample):
    """All snapshots of a run of that length, one each five seconds and for each process."""
    with tempfile.TemporaryDirectory() as home:
        options = [word for pid in pids for word in ("--pid", str(pid))]
        command = [MEMTRACE, *options, "--duration", f"{seconds}s", "--sample", sample, "--quiet", "--snapshot-dir", home,
                   "--snapshot-interval", "5s", "--snapshot-format", "json", "--snapshot-keep", "100000"]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
        return [json.loads(path.read_text()) for path in sorted(Path(home).glob("*.json"), key=lambda path: path.name.split("-")[-1])]


def blamed(reports):
    """(seconds since attaching, site) of whatever was called a leak."""
    return [(report["duration_s"], site) for report in reports for site in report["sites"] if site["verdict"] in ("probable", "definite")]


def by_site(found):
    sites = {}
    for at_s, site in found:
        sites.setdefault(site["id"], []).append((at_s, site))
    return sites.values()


def describe(at_s, site):
    names = [frame["function"] or frame["module"] for frame in site["stack"][:6]]
    return f"{at_s:.0f} s: {site['verdict']}: {site['evidence']}\n    {' < '.join(names)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--only", default=",".join(LOADS))
    parser.add_argument("--sample", default="auto")
    arguments = parser.parse_args()
    wrong = 0
    for name in arguments.only.split(","):
        with contextlib.ExitStack() as stack:
            load = stack.enter_context(LOADS[name]())
            reports = watch(load.pids(), arguments.seconds, arguments.sample)
        found = blamed(reports)
        last = reports[-1]
        print(f"{name}: {len(reports)} reports, {last['coverage']['mode']}, verdict {last['verdict']['class']}: "
              f"{last['verdict']['text']}; {len(found)} times a site was called a leak", flush=True)
        for blames in by_site(found):
            print(f"{describe(*blames[0])}\n    {len(blames)} times, the last one {describe(*blames[-1]).splitlines()[0]}")
        wrong += len(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
