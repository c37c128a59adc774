"""What is traced. Each workload measures itself under an arm and returns a sample: time and CPU time of one operation, and what the
tracer said of its cost meanwhile.

CPU time is that of the traced threads alone. On a machine that others use too it is the figure to go by; time also has what the
tracers' own processes take from two cores that are few.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from servers import PostgresLoad, RedisLoad, cpu_ns  # noqa: E402
from targets import Target  # noqa: E402

PATIENCE_S = 600


def sample(wall_ns, cpu, said, **more):
    return {"wall_ns": wall_ns, "cpu_ns": cpu, "said": said, **more}


class Workload:
    """`arms`: those that are measured where --arms does not say otherwise. `slow`: only by name."""

    better = "time"  # or "throughput": how one speaks of it
    slow = False
    restarts = False  # can be run through a tool

    def __init__(self, name, what, arms):
        self.name = name
        self.what = what
        self.arms = arms

    def missing(self):
        """Why it cannot run on this machine, or None."""
        return None

    def open(self):
        """Context in which it can be measured."""
        return contextlib.nullcontext()

    def processes(self):
        """How many an arm is to attach to."""
        return 1

    def measure(self, arm, seconds, directory):
        raise NotImplementedError


class Pairs(Workload):
    """malloc/free pairs as fast as they go, attached to under way."""

    restarts = True

    def __init__(self, name, threads, arms):
        super().__init__(name, f"malloc/free pair, {threads} thread{'s' if threads > 1 else ''}", arms)
        self.threads = threads

    def measure(self, arm, seconds, directory):
        options = ["--threads", self.threads, "--seconds", max(1, round(seconds)), "--hold"]
        with Target.start("spin", map(str, options), prefix=arm.prefix(directory)) as target:
            pid = target.ready()
            target.go()
            with arm.attach([pid], directory) as listener:
                time.sleep(arm.settle_s)
                begin = time.monotonic()
                target.send("measure")
                values = target.truth(timeout=PATIENCE_S).values
                end = time.monotonic()
        wall, cpu = values["ns_per_pair"], values["cpu_ns_per_pair"]
        return sample(wall, cpu, listener.said(begin, end, self.threads * cpu / wall))


class Leak(Workload):
    """A program that leaks 1 MiB/s beside 20,000 pairs of malloc and free a second. Its rate is fixed: only its CPU time tells."""

    def __init__(self, arms):
        super().__init__("leak", "a second of leaking 1 MiB beside 20,000 pairs, CPU time", arms)

    def measure(self, arm, seconds, directory):
        with Target.start("leak_rate", ["--duration", "3600"]) as target:
            pid = target.ready()
            target.go()
            with arm.attach([pid], directory) as listener:
                time.sleep(arm.settle_s)
                begin, cpu = time.monotonic(), cpu_ns([pid])
                time.sleep(seconds)
                end, used = time.monotonic(), cpu_ns([pid]) - cpu
        return sample(None, used / (end - begin), listener.said(begin, end, used / 1e9 / (end - begin)))


SQLITE_ROWS = 300_000
SQLITE_SCRIPT = f"""
CREATE TABLE account(id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER);
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {SQLITE_ROWS})
  INSERT INTO account SELECT i, 'owner-' || (i * 7919 % {SQLITE_ROWS}), i * 31 % 1000 FROM n;
CREATE INDEX by_owner ON account(owner);
UPDATE account SET balance = balance + 1 WHERE id % 4 = 0;
SELECT count(*), sum(balance), max(upper(owner)) FROM account WHERE owner LIKE '%7%';
SELECT count(*) FROM account a JOIN account b ON b.owner = 'owner-' || a.id WHERE a.id < 30000;
DROP TABLE account;
"""


class SqliteShell:
    """Debian's sqlite3 with a database in memory, driven through its standard input. Its own timer measures each statement."""

    def __init__(self, prefix):
        self.process = subprocess.Popen([*prefix, "sqlite3", "-batch", "-bail", ":memory:"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)

    def __enter__(self):
        self.run("SELECT 1;")
        return self

    def __exit__(self, *exception):
        if not exception[0]:
            self.process.stdin.close()
            self.process.wait(PATIENCE_S)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def run(self, script):
        """Time and CPU time of a script's statements, seconds."""
        self.process.stdin.write(f".timer on\n{script}\n.timer off\n.print done\n")
        self.process.stdin.flush()
        wall = cpu = 0.0
        said = []
        for line in self.process.stdout:
            if line == "done\n":
                return wall, cpu
            said.append(line)
            if found := re.match(r"Run Time: real ([\d.]+) user ([\d.]+) sys ([\d.]+)", line):
                wall += float(found[1])
                cpu += float(found[2]) + float(found[3])
        raise RuntimeError("sqlite3 has ended: " + "".join(said))


class Sqlite(Workload):
    restarts = True

    def __init__(self, arms, name="sqlite", what=f"SQLite script, {SQLITE_ROWS:,} rows in memory"):
        super().__init__(name, what, arms)

    def missing(self):
        return None if shutil.which("sqlite3") else "sqlite3 is not installed"

    def passes(self, shell):
        return 1

    def measure(self, arm, seconds, directory):
        with SqliteShell(arm.prefix(directory)) as shell:
            count = self.passes(shell)
            with arm.attach([shell.process.pid], directory) as listener:
                time.sleep(arm.settle_s if count == 1 else 0)
                begin = time.monotonic()
                times = [shell.run(SQLITE_SCRIPT) for _ in range(count)]
                end = time.monotonic()
        wall, cpu = (1e9 * sum(column) / count for column in zip(*times))
        return sample(wall, cpu, listener.said(begin, end), passes=times)


class LongSqlite(Sqlite):
    """The script again and again for half a minute or more: what `auto` is for. The time in which it finds its mode counts."""

    SECONDS = 32
    slow = True
    restarts = False

    def __init__(self, arms):
        super().__init__(arms, "sqlite-long", f"SQLite script for {self.SECONDS} s")

    def passes(self, shell):
        return max(1, round(self.SECONDS / shell.run(SQLITE_SCRIPT)[0]))


class Server(Workload):
    """A load that goes on in one server process (or one for each client) while arms come and go."""

    better = "throughput"

    def __init__(self, name, what, arms, make_load, needs, clients=1):
        super().__init__(name, what, arms)
        self.make_load = make_load
        self.needs = needs
        self.clients = clients
        self.load = None

    def missing(self):
        absent = [tool for tool in self.needs if not shutil.which(tool)]
        return f"not installed: {', '.join(absent)}" if absent else None

    def processes(self):
        return self.clients

    @contextlib.contextmanager
    def open(self):
        with self.make_load() as self.load:
            yield

    def measure(self, arm, seconds, directory):
        with arm.attach(self.load.pids(), directory) as listener:
            time.sleep(arm.settle_s)
            first = self.load.mark()
            time.sleep(max(0.0, seconds - 0.5))
            last = self.load.mark()
        wall, cpu = last.per_operation_since(first, self.clients)
        return sample(wall, cpu, listener.said(first.wall_ns / 1e9, last.wall_ns / 1e9, cpu / wall))


def all_workloads():
    """In the order in which they are measured. `auto` takes its time, and is measured where that says most."""
    everything = ["none", "detached", "exact", "sampled", "auto", "floor", "bpftrace", "heaptrack", "valgrind"]
    attached = everything[:-2]
    short = [arm for arm in everything if arm != "auto"]  # over before auto has found its mode
    few = ["none", "exact", "sampled", "floor"]
    pgbench = ["pgbench", "psql"]
    return [
        Pairs("pairs", 1, everything),
        Pairs("pairs-2", 2, [*few, "bpftrace"]),
        Sqlite(short),
        Server("pgbench", "pgbench -S, 1 client", attached, lambda: PostgresLoad(1), pgbench),
        Server("pgbench-near", "pgbench -S, 1 client on the server's core", few, lambda: PostgresLoad(1, together=True), pgbench),
        Server("pgbench-4", "pgbench -S, 4 clients", few, lambda: PostgresLoad(4), pgbench, clients=4),
        Server("redis", "redis SET -P 8", attached, RedisLoad, ["redis-server", "redis-benchmark"]),
        Leak([*few, "auto"]),
        LongSqlite(["none", "auto"]),
    ]
