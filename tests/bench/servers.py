"""Databases under a load that goes on while tracers come and go: Debian's PostgreSQL with pgbench, its Redis with redis-benchmark,
its MariaDB with mariadb-slap.

    with PostgresLoad(clients=4) as load:
        begin = load.mark()
        ...
        end = load.mark()        # operations, time and CPU time of load.pids() in between: end - begin

Each server is our own, in a directory of its own, reachable by a socket only, and gone at the end.

Client and server are kept on cores of their own, or both on one. Left to the scheduler they are now here, now there, and what an
operation takes differs by a factor of five: on two cores each waits for the other to be woken, on one core nobody ever sleeps.
"""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60


@dataclass(frozen=True)
class Mark:
    """A moment in a load's life."""

    operations: float
    wall_ns: int
    cpu_ns: int

    def per_operation_since(self, begin, lanes=1):
        """Time and CPU time of one operation; `lanes`: how many are worked on at once."""
        done = self.operations - begin.operations
        if done <= 0:
            raise RuntimeError("the load has done nothing")
        return lanes * (self.wall_ns - begin.wall_ns) / done, (self.cpu_ns - begin.cpu_ns) / done


def cpu_ns(pids):
    """CPU time that the threads of these processes have had, those that live now. The processes must live."""
    gone = [pid for pid in pids if not Path(f"/proc/{pid}").exists()]
    if gone:
        raise RuntimeError(f"measured processes have ended: {gone}")
    stats = (stat for pid in pids for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(stat.read_text().split()[0]) for stat in stats)


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not in {PATIENCE_S} s")
        time.sleep(0.02)


def cores(together):
    """[server's cores, client's cores] as taskset wants them. The same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    server, client = (allowed[:1], allowed[:1]) if together or len(allowed) < 2 else (allowed[:-1], allowed[-1:])
    return [",".join(map(str, part)) for part in (server, client)]


class PostgresLoad:
    """pgbench -S. One operation is a transaction; the processes are its backends."""

    def __init__(self, clients, together=False):
        self.clients = clients
        self.server_cores, self.client_cores = cores(together)
        self.operations = 0.0
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        if not found:
            raise RuntimeError("PostgreSQL is not installed")
        self.bin = found[-1].parent
        self.home = tempfile.mkdtemp(prefix="memtrace-bench-")
        shutil.chown(self.home, "postgres")
        self.server = self.load = None

    def __enter__(self):
        try:
            self.run("initdb", "--no-sync", "-D", "data", "--auth=trust", "--locale=C")
            self.log = open(Path(self.home) / "log", "wb")
            self.server = self.popen("postgres", "-D", "data", "-k", self.home, "-c", "listen_addresses=", "-c", "fsync=off",
                                     on=self.server_cores, stdout=self.log, stderr=subprocess.STDOUT)
            wait_until(lambda: self.popen("pg_isready", "-q", "-h", self.home).wait() == 0, "the server starts")
            self.run("pgbench", "-h", self.home, "-i", "-q", "-s", "10", "postgres")
            self.load = self.popen("pgbench", "-h", self.home, "-n", "-S", "-c", str(self.clients), "-P", "1", "-T", "1000000", "postgres",
                                   on=self.client_cores, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
            self.mark_progress()  # the connection with which it looks around first is gone by then
            self._pids = wait_until(self._backends, "all clients connect")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if self.load:
            self.load.kill()
            self.load.communicate()
        if self.server:
            self.server.send_signal(signal.SIGQUIT)
            self.server.wait()
            self.log.close()
        shutil.rmtree(self.home)

    def popen(self, program, *args, on=None, **more):
        pinned = ["taskset", "-c", on] if on else []
        return subprocess.Popen([*pinned, self.bin / program, *args], cwd=self.home, user="postgres", group="postgres", extra_groups=[], **more)

    def run(self, program, *args):
        process = self.popen(program, *args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        out = process.communicate()[0]
        if process.returncode != 0:
            raise RuntimeError(f"{program}: {out}")
        return out

    def _backends(self):
        """Those of pgbench's connections."""
        query = "select pid from pg_stat_activity where application_name = 'pgbench'"
        pids = [int(pid) for pid in self.run("psql", "-h", self.home, "-XAtc", query, "postgres").split()]
        return pids if len(pids) == self.clients else None

    def pids(self):
        return self._pids

    def _next_progress(self):
        """Counts the transactions of the load's own lines, one a second, up to the next one."""
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.load.stdout], [], [], PATIENCE_S)[0]:
                raise RuntimeError("pgbench stands still")
            byte = self.load.stdout.read(1)
            if not byte:
                raise RuntimeError(f"pgbench has ended: {line.decode()}")
            line += byte
        found = re.match(rb"progress: ([\d.]+) s, ([\d.]+) tps, .* (\d+) failed", line)
        if found:
            if int(found[3]):
                raise RuntimeError(f"transactions fail: {line.decode()}")
            self.operations += float(found[2])
        return bool(found)

    def mark_progress(self):
        while not self._next_progress():
            pass

    def mark(self):
        """At the end of the load's current second: its counts are known then."""
        while select.select([self.load.stdout], [], [], 0)[0]:
            self._next_progress()
        self.mark_progress()
        return Mark(self.operations, time.monotonic_ns(), cpu_ns(self._pids))


def complete_reply(answer):
    """Whether a bulk string of Redis's protocol, "$LENGTH", line end, bytes, line end, is there to its end."""
    head = re.match(rb"\$(\d+)\r\n", answer)
    return bool(head) and len(answer) >= head.end() + int(head[1]) + 2


class RedisLoad:
    """redis-benchmark -t set -P 8. One operation is a command."""

    KEYS = 10_000

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="memtrace-bench-")
        self.socket = str(Path(self.home) / "redis.sock")
        self.server = self.load = self.connection = None

    def __enter__(self):
        try:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            server_cores, client_cores = cores(together=False)
            self.server = subprocess.Popen(["taskset", "-c", server_cores, "redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", self.home],
                                           **quiet)
            wait_until(self._connect, "Redis starts")
            self.load = subprocess.Popen(["taskset", "-c", client_cores, "redis-benchmark", "-s", self.socket, "-t", "set", "-P", "8",
                                          "-r", str(self.KEYS), "-n", "2000000000", "-q"], **quiet)
            wait_until(lambda: self._commands() > 20 * self.KEYS, "all keys are there")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if self.connection:
            self.connection.close()
        for process in (self.load, self.server):
            if process:
                process.kill()
                process.wait()
        shutil.rmtree(self.home)

    def _connect(self):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(PATIENCE_S)
        try:
            self.connection.connect(self.socket)
        except OSError:
            self.connection.close()
            return False
        return True

    def _commands(self):
        """Commands processed so far."""
        self.connection.sendall(b"INFO stats\r\n")
        answer = b""
        while not complete_reply(answer):
            data = self.connection.recv(65536)
            if not data:
                raise RuntimeError("Redis has ended")
            answer += data
        return int(re.search(rb"total_commands_processed:(\d+)", answer)[1])

    def pids(self):
        return [self.server.pid]

    def mark(self):
        if self.load.poll() is not None:
            raise RuntimeError("redis-benchmark has ended")
        return Mark(self._commands(), time.monotonic_ns(), cpu_ns(self.pids()))


class MariadbServer:
    """`process`, reachable by `socket`."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="memtrace-bench-"))
        shutil.chown(self.home, "mysql", "mysql")
        self.socket = self.home / "socket"
        self.process = None

    def __enter__(self):
        try:
            where = [f"--datadir={self.home / 'data'}", "--user=mysql"]
            install = ["mariadb-install-db", "--no-defaults", *where, "--skip-test-db", "--auth-root-authentication-method=normal"]
            subprocess.run(install, check=True, stdout=subprocess.DEVNULL, timeout=100)
            server = ["/usr/sbin/mariadbd", "--no-defaults", *where, "--skip-networking", f"--socket={self.socket}", "--innodb-flush-log-at-trx-commit=0"]
            with open(self.home / "log", "wb") as log:
                self.process = subprocess.Popen(server, stdout=log, stderr=subprocess.STDOUT)
            wait_until(lambda: self.client("mariadb-admin", "ping").wait() == 0, "MariaDB starts")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home)

    def client(self, program, *args, **more):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | more
        return subprocess.Popen([program, "--no-defaults", f"--socket={self.socket}", *args], **quiet)


class MariadbLoad(MariadbServer):
    """Two clients read and change rows of a table, for ever."""

    ROWS = 1000

    def __enter__(self):
        super().__enter__()
        try:
            some = f"(floor(1 + rand() * {self.ROWS}))"
            sql = f"create table t (id int primary key, n int, pad varchar(100)); insert into t select seq, 0, repeat('x', 100) from seq_1_to_{self.ROWS}"
            load = f"select n, pad from t where id = {some}; update t set n = n + 1 where id = {some}; select count(*), sum(n) from t where id > {some}"
            self.load = self.client("mariadb-slap", f"--create={sql}", f"--query={load}", "--delimiter=;", "--concurrency=2", "--number-of-queries=2000000000",
                                    stderr=subprocess.PIPE)
            wait_until(lambda: self._questions() > 10 * self.ROWS, "the load runs")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if load := getattr(self, "load", None):
            load.kill()
            load.communicate()
        super().__exit__()

    def _questions(self):
        if self.load.poll() is not None:
            raise RuntimeError(f"mariadb-slap has ended: {self.load.stderr.read().decode()}")
        out = self.client("mariadb", "--batch", "--skip-column-names", "-e", "show global status like 'Questions'", stdout=subprocess.PIPE).communicate()[0]
        return int(out.split()[1])

    def pids(self):
        return [self.process.pid]
