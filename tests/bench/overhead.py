"""What tracing costs: see README.md in this folder. Prints a table and, with --json, writes every measurement."""

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
from memtrace_runner import MEMTRACE, Memtrace  # noqa: E402
from targets import Target  # noqa: E402

# The three probes that tracing malloc and free takes at the least, with the least that a tracer does at them.
BPFTRACE = """
uprobe:LIBC:malloc /pid == PID/ { @size[tid] = arg0; }
uretprobe:LIBC:malloc /pid == PID/ { @live[retval] = @size[tid]; delete(@size[tid]); }
uprobe:LIBC:free /pid == PID/ { delete(@live[arg0]); }
BEGIN { printf("attached\\n"); }
"""


def libc_of(pid):
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if re.search(r"/libc(\.so|-2)", line):
            return line.split()[-1]
    raise RuntimeError("no libc mapped")


class Tracers:
    """Starts a tracer by name on a process; leaving the block ends it."""

    def __init__(self, name, pid, directory):
        self.name, self.pid, self.directory = name, pid, directory
        self.running = None

    def __enter__(self):
        if self.name == "memtrace":
            self.running = Memtrace.attach(self.directory, self.pid)
        elif self.name == "bpftrace":
            program = BPFTRACE.replace("LIBC", libc_of(self.pid)).replace("PID", str(self.pid))
            env = dict(os.environ, BPFTRACE_MAP_KEYS_MAX="100000")
            self.running = subprocess.Popen(["bpftrace", "-e", program], stdout=subprocess.PIPE, env=env, text=True)
            while "attached" not in self.running.stdout.readline():
                pass
        return self

    def __exit__(self, *exception):
        if self.name == "memtrace":
            self.running.stop()
            self.running.close()
        elif self.name == "bpftrace":
            self.running.send_signal(2)
            self.running.communicate()


def measure_pairs(options, directory):
    tracers = ["none", "memtrace"] + (["bpftrace"] if shutil.which("bpftrace") else [])
    results = {name: [] for name in tracers}
    for _ in range(options.rounds):
        for name in tracers:
            with Target.start("spin", ["--seconds", str(options.seconds)]) as target:
                with Tracers(name, target.ready(), directory):
                    target.go()
                    results[name].append(target.truth(timeout=600).values["ns_per_pair"])
    return {"unit": "ns per malloc/free pair", "better": "lower", "results": results}


class Postgres:
    """A server of Debian's PostgreSQL with a pgbench database, in a directory of its own, without network."""

    def __init__(self):
        self.bin = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))[-1]
        self.home = tempfile.mkdtemp(prefix="memtrace-bench-")
        shutil.chown(self.home, "postgres")
        self.run("initdb", "--no-sync", "-D", f"{self.home}/data")
        self.run("pg_ctl", "-w", "-D", f"{self.home}/data", "-l", f"{self.home}/log", "start",
                 "-o", f"-k {self.home} -c listen_addresses= -c fsync=off")
        self.run("pgbench", "-h", self.home, "-i", "-q", "-s", "10", "postgres")

    def command(self, program, *args):
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", str(self.bin / program), *args]

    def run(self, program, *args):
        return subprocess.run(self.command(program, *args), check=True, cwd=self.home, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True).stdout

    def backend(self):
        """The pid of the backend that serves the load; the connection that pgbench opens first, to look around, is gone by then."""
        query = ("select pid from pg_stat_activity where application_name = 'pgbench' "
                 "and backend_start < clock_timestamp() - interval '0.5 s'")
        while True:
            found = self.run("psql", "-h", self.home, "-Atc", query, "postgres").split()
            if found:
                return int(found[0])

    def close(self):
        self.run("pg_ctl", "-m", "immediate", "-D", f"{self.home}/data", "stop")
        shutil.rmtree(self.home)


def measure_postgres(options, directory):
    server = Postgres()
    results = {"none": [], "memtrace": []}
    try:
        for _ in range(options.rounds):
            for name in results:
                load = subprocess.Popen(
                    server.command("pgbench", "-h", server.home, "-S", "-c", "1", "-P", "1", "-T", str(options.seconds + 3), "postgres"),
                    cwd=server.home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                with Tracers(name, server.backend(), directory):
                    time.sleep(options.seconds + 0.5)  # the load's own clock: its figures, one a second, are what is measured
                said = load.communicate()[0]
                rates = [float(rate) for rate in re.findall(r"progress: .*?, ([0-9.]+) tps", said)]
                results[name].append(statistics.median(rates[1 : options.seconds + 1]))
                assert "number of failed transactions: 0" in said, said
    finally:
        server.close()
    return {"unit": "transactions/s, pgbench -S -c 1", "better": "higher", "results": results}


def process_cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_rss_mib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def measure_live(options, directory):
    with Target.start("live_million") as target:
        with Memtrace.attach(directory, target.ready(), "--interval", "1s") as memtrace:
            target.go()
            target.truth(timeout=600)
            time.sleep(2)
            before, begin = process_cpu_s(memtrace.process.pid), time.monotonic()
            time.sleep(10)
            cpu = (process_cpu_s(memtrace.process.pid) - before) / (time.monotonic() - begin)
            rss = process_rss_mib(memtrace.process.pid)
            begin = time.monotonic()
            report = memtrace.stop()
            last = time.monotonic() - begin
    assert report["totals"]["live_objects"] == 1_000_000
    return {"results": {
        "collector RSS, MiB": rss,
        "kernel maps, MiB": report["coverage"]["kernel_bytes"] / 2**20,
        "collector CPU, one report a second, share of a core": cpu,
        "SIGINT to exit with the last report written, s": last,
    }}


def measure_attach(options, directory):
    results = []
    for _ in range(options.rounds):
        with Target.start("spin", ["--seconds", "60"]) as target:
            target.ready()
            target.go()
            begin = time.monotonic()
            with Memtrace.attach(directory, target.pid):
                results.append((time.monotonic() - begin) * 1000)
    return {"unit": "ms from the start of memtrace until every call is seen", "better": "lower", "results": {"memtrace": results}}


def show(name, part):
    print(f"\n{name}: {part.get('unit', '')}")
    if "unit" not in part:
        for label, value in part["results"].items():
            print(f"  {label:55} {value:10.2f}")
        return
    base = statistics.median(part["results"].get("none", [0]))
    for label, values in part["results"].items():
        median = statistics.median(values)
        ratio = f"   ratio to none {median / base:7.3f}" if base else ""
        print(f"  {label:12} median {median:12.1f}   lowest {min(values):12.1f}   highest {max(values):12.1f}{ratio}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--only", default="pairs,postgres,live,attach")
    parser.add_argument("--json", help="file for all measurements")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("overhead.py: needs root: run it with sudo")
    if not MEMTRACE.exists():
        sys.exit("overhead.py: build first: make all targets")
    parts = {"pairs": measure_pairs, "postgres": measure_postgres, "live": measure_live, "attach": measure_attach}
    measured = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in options.only.split(","):
            print(f"measuring {name} ...", file=sys.stderr)
            measured[name] = parts[name](options, directory)
            show(name, measured[name])
    if options.json:
        Path(options.json).write_text(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
