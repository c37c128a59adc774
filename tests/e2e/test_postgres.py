"""memtrace on a real database under load: PostgreSQL from Debian's package, driven by pgbench.

The database is not ours to break: it must live on, answer every transaction, and be left without a trace, however memtrace ends.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tracer import Tracer, assert_nothing_left, breakpoints, descendants, wait_until

LOAD_S = 300  # longer than any test takes, however busy the machine is: they end it themselves
PROGRESS = re.compile(r"^progress: ([\d.]+) s, ([\d.]+) tps", re.MULTILINE)


def newest_binaries():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    assert found, "PostgreSQL is not installed: run sudo scripts/install-deps.sh"
    return found[-1].parent


class Cluster:
    """A database of its own, reachable by a socket in its directory only, owned by the unprivileged user postgres."""

    def __init__(self):
        self.binaries = newest_binaries()
        self.directory = Path(tempfile.mkdtemp(prefix="memtrace-postgres-"))
        user = pwd.getpwnam("postgres")
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        self.process = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        data = self.directory / "data"
        self.run("initdb", "-D", data, "--no-sync", "--auth=trust", "--username=postgres", "--locale=C", "--encoding=UTF8")
        self.log = open(self.directory / "log", "w+", encoding="utf-8")
        settings = {"listen_addresses": "", "unix_socket_directories": self.directory, "fsync": "off", "autovacuum": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.process = self.popen("postgres", "-D", data, *options, stdout=self.log, stderr=subprocess.STDOUT)
        wait_until(lambda: self.popen("pg_isready", "-q", "-h", self.directory).wait() == 0, self.said)
        self.run("pgbench", "-i", "-q", "-s", 2, *self.server())
        self.start_size = len(self.said())

    def server(self):
        return ["-h", str(self.directory), "-U", "postgres"]

    def popen(self, program, *args, **more):
        command = [str(self.binaries / program), *map(str, args)]
        return subprocess.Popen(command, user="postgres", group="postgres", extra_groups=[], cwd=self.directory, **more)

    def run(self, program, *args):
        process = self.popen(program, *args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, f"{program}: {out}"
        return out

    def query(self, sql):
        return self.run("psql", *self.server(), "-X", "-A", "-t", "-q", "-c", sql, "postgres").splitlines()

    def backends(self, application):
        """The pids of the server processes of an application's connections."""
        rows = self.query(f"select pid from pg_stat_activity where application_name = '{application}'")
        return [int(row) for row in rows]

    def said(self):
        return (self.directory / "log").read_text(encoding="utf-8")

    def said_since_start(self):
        return self.said()[self.start_size:]

    def close(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.log.close()
        shutil.rmtree(self.directory)


class Load:
    """pgbench with one connection, which tells its throughput every second."""

    def __init__(self, cluster, *options):
        self.log = open(cluster.directory / "pgbench.log", "w+", encoding="utf-8")
        arguments = ["-n", "-c", 1, "-T", LOAD_S, "-P", 1, *options, *cluster.server()]
        self.process = cluster.popen("pgbench", *arguments, stdout=self.log, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.end()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
        self.log.close()

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def seconds(self):
        """Transactions in each second so far."""
        return [float(tps) for _, tps in PROGRESS.findall(self.said())]

    def wait_seconds(self, count):
        """Waits until that many seconds have passed, and returns their throughput."""
        return wait_until(lambda: len(self.seconds()) >= count and self.seconds(), self.said)

    def end(self):
        """Between two transactions: one that is cut off leaves its backend without a client, which the server calls FATAL."""
        self.process.send_signal(signal.SIGALRM)  # by which pgbench tells itself that its time is over

    def finish(self):
        """Ends it, after three seconds at the least: no transaction has failed, no connection was lost, nobody was told of an error."""
        wait_until(lambda: len(self.seconds()) >= 3 and sum(self.seconds()) > 100, self.said)
        self.end()
        assert self.process.wait(60) == 0, self.said()
        said = self.said()
        assert re.search(r"^number of failed transactions: 0 \(", said, re.MULTILINE), said
        assert int(re.search(r"^number of transactions actually processed: (\d+)", said, re.MULTILINE)[1]) > 100, said
        assert not re.search(r"error|fatal|aborted|lost", said, re.IGNORECASE), said


@pytest.fixture(scope="module", name="cluster")
def running_cluster():
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture(autouse=True)
def healthy_server(cluster):
    """A backend that dies of us makes the server restart all of them, and says so."""
    yield
    assert cluster.process.poll() is None
    assert cluster.query("select 1") == ["1"]
    trouble = r"terminated by signal|PANIC|FATAL|server process \(PID \d+\) exited"
    assert not re.search(trouble, cluster.said_since_start()), cluster.said()


def only_backend(cluster, load):
    """That of pgbench's connection. Before it there is another for a moment, with which pgbench looks at the tables."""
    load.wait_seconds(1)
    pids = cluster.backends("pgbench")
    assert len(pids) == 1
    return pids[0]


def assert_database_functions_allocate(report):
    """Next to malloc stands PostgreSQL's allocator. Debian's binary has no symbols of static functions, such as AllocSetAlloc up to
    version 15: that frame has no name then (and not a wrong one), but its module, and its caller has both."""
    stacks = [site["stack"] for site in report["sites"] if site["stack"]]
    names = {next((frame["function"] for frame in stack if frame["function"]), "") for stack in stacks if inside_server(stack[0])}
    assert any(re.match(r"AllocSet|MemoryContext|palloc", name) for name in names), names


def inside_server(frame):
    return frame["module"].endswith("/bin/postgres")


def assert_untouched(pid):
    assert breakpoints(pid) == []


@pytest.mark.parametrize("workload", [["-S"], ["-b", "tpcb-like"]], ids=["select-only", "tpcb-like"])
def test_backend_under_load_is_followed_and_left_as_it_was(cluster, workload, capsys):
    with Load(cluster, *workload) as load:
        backend = only_backend(cluster, load)
        without = load.wait_seconds(2)
        with Tracer("--pid", backend, "--output", "json", "--interval", "500ms") as tracer:
            tracer.wait_following()
            held = tracer.kernel_objects()
            assert breakpoints(backend), "the comparison does not see the breakpoints that are there now"
            first = tracer.wait_reports(1)[0]
            attached_at = len(load.seconds())
            traced = load.wait_seconds(attached_at + 3)[attached_at + 1:]  # the second of attaching left out
            last = tracer.end(signal.SIGINT)
        assert last.status == 0, last.err
        assert load.process.poll() is None, "the load ended too early for what follows to mean anything"
        assert_untouched(backend)
        assert_nothing_left(held)
        load.finish()
    report = last.reports()[-1]
    assert report["process"]["pid"] == backend and report["process"]["comm"] == "postgres"
    assert report["totals"]["allocs"] > first["totals"]["allocs"] > 0
    assert report["coverage"]["mode"] == "exact" and report["coverage"]["lost"] == {}
    assert_database_functions_allocate(report)
    base, slowed = max(without), max(traced)
    with capsys.disabled():
        print(f"\n    pgbench {' '.join(workload)}: {base:,.0f} transactions/s, traced {slowed:,.0f} ({slowed / base:.2f})")


def dynamic_functions(program):
    """(start, end, name) of each function that the program's .dynsym names."""
    listing = subprocess.run(["nm", "-D", "-S", "--defined-only", program], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [(int(row[0], 16), int(row[0], 16) + int(row[1], 16), row[3]) for row in rows if len(row) == 4 and row[2] in "TtWw"]


def test_names_of_a_program_that_has_dynamic_symbols_only(cluster):
    """Debian's binary is stripped. What .dynsym names has that name, wherever in the stack; nothing else has one, but says where it is."""
    program = cluster.binaries / "postgres"
    sections = subprocess.run(["readelf", "-SW", program], capture_output=True, text=True, check=True).stdout
    assert ".dynsym" in sections and ".symtab" not in sections and ".debug_info" not in sections
    build_id = re.search(r"Build ID: (\w+)", subprocess.run(["readelf", "-n", program], capture_output=True, text=True, check=True).stdout)[1]
    assert not Path(f"/usr/lib/debug/.build-id/{build_id[:2]}/{build_id[2:]}.debug").exists(), "its debug package is installed"
    with Load(cluster, "-S") as load:
        backend = only_backend(cluster, load)
        with Tracer("--pid", backend, "--output", "json") as tracer:
            tracer.wait_following()
            load.wait_seconds(3)
            run = tracer.end(signal.SIGINT)
        load.finish()
    report, = run.reports()
    functions = dynamic_functions(program)
    frames = [frame for site in report["sites"] for frame in site["stack"] if inside_server(frame)]
    named = 0
    for frame in frames:
        names = {name for start, end, name in functions if start < frame["offset"] <= end}
        assert frame["function"] in (names or {""}), frame
        assert frame["build_id"] == build_id and frame["offset"] > 0
        named += bool(names)
    assert named >= len(frames) / 2 and named > 5


def test_memtrace_killed_under_load_leaves_the_backend_as_it_was(cluster):
    with Load(cluster, "-S") as load:
        backend = only_backend(cluster, load)
        for _ in range(3):
            with Tracer("--pid", backend, "--output", "json", "--interval", "200ms") as tracer:
                reports = tracer.wait_reports(1)
                held = tracer.kernel_objects()
                assert breakpoints(backend)
                tracer.kill()
            assert reports[0]["totals"]["allocs"] > 0
            assert_nothing_left(held)
            assert_untouched(backend)
        assert load.process.poll() is None
        load.finish()


def test_postmaster_with_follow_reports_the_backend_that_connects(cluster):
    with Tracer("--pid", cluster.process.pid, "--follow", "--output", "json", "--interval", "500ms") as tracer:
        tracer.wait_following()
        with Load(cluster, "-S") as load:
            backend = only_backend(cluster, load)
            wait_until(lambda: any(report["process"]["pid"] == backend for report in tracer.reports()), tracer.err)
            assert breakpoints(backend)
            run = tracer.end(signal.SIGINT)
            assert run.status == 0, run.err
            assert load.process.poll() is None
            assert_untouched(backend)
            assert_untouched(cluster.process.pid)
            load.finish()
    last = [report for report in run.reports() if report["process"]["pid"] == backend][-1]
    assert last["totals"]["allocs"] > 0
    assert_database_functions_allocate(last)


def test_postmaster_without_follow_leaves_backends_alone(cluster):
    """A forked backend inherits the postmaster's breakpoints: they do nothing there, and go with memtrace."""
    with Tracer("--pid", cluster.process.pid, "--output", "json") as tracer:
        tracer.wait_following()
        with Load(cluster, "-S") as load:
            backend = only_backend(cluster, load)
            run = tracer.end(signal.SIGTERM)
            assert run.status == 0, run.err
            assert load.process.poll() is None
            assert_untouched(backend)
            load.finish()
    assert {report["process"]["pid"] for report in run.reports()} == {cluster.process.pid}


def test_backends_that_come_and_go_under_follow(cluster):
    """A connection for each transaction: backends that end before, while and after they are attached to. Then one that stays."""
    with Tracer("--pid", cluster.process.pid, "--follow", "--output", "json", "--interval", "500ms") as tracer:
        tracer.wait_following()
        held = tracer.kernel_objects()
        with Load(cluster, "-S", "-C") as load:
            load.finish()
        with Load(cluster, "-S") as load:
            backend = only_backend(cluster, load)
            wait_until(lambda: any(report["process"]["pid"] == backend for report in tracer.reports()), tracer.err)
            run = tracer.end(signal.SIGINT)
            assert load.process.poll() is None
            assert_untouched(backend)
    assert run.status == 0, run.err
    assert_nothing_left(held)
    assert_untouched(cluster.process.pid)
    for pid in descendants(cluster.process.pid):
        with contextlib.suppress(FileNotFoundError):  # the load's backend ends about now
            assert_untouched(pid)
