"""libmemtrace_alloc.so under real programs, over three allocators: they work as without it, and a tracer is told an unbiased sample."""

import contextlib
import math
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from semaphores import Semaphores
from targets import REPOSITORY, TARGETS
from tracer import wait_until

LIBRARY = REPOSITORY / ".output" / "libmemtrace_alloc.so"
CASES = TARGETS / "preload_cases"
ALLOCATORS = {"glibc": [], "jemalloc": ["libjemalloc.so.2"], "tcmalloc": ["libtcmalloc_minimal.so.4"]}
over_each_allocator = pytest.mark.parametrize("allocator", ALLOCATORS)
PROBES = ("alloc", "free")
INTERVAL = 20_000  # bytes: samples enough for the figures here
# Two-sided false-alarm rate of 6e-7. The seeds are the library's own.
LARGEST_Z = 5

SQL = """
CREATE TABLE account(id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER);
WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
  INSERT INTO account SELECT i, 'owner-' || (i * 7919 % 20000), i * 31 % 1000 FROM n;
CREATE INDEX by_owner ON account(owner);
SELECT count(*), sum(balance), max(upper(owner)) FROM account WHERE owner LIKE '%7%';
SELECT group_concat(owner) FROM (SELECT owner FROM account ORDER BY owner LIMIT 5);
"""


def environment(allocator="glibc", interval=None):
    env = {**os.environ, "LD_PRELOAD": ":".join([str(LIBRARY), *ALLOCATORS[allocator]])}
    return {**env, "MEMTRACE_SAMPLE_INTERVAL": str(interval)} if interval else env


class Case:
    """tests/targets/preload_cases, which does nothing before it is told to."""

    def __init__(self, *arguments, **environment_of):
        self.process = subprocess.Popen([CASES, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment(**environment_of))

    def __enter__(self):
        self.pid = int(self.line())
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self):
        return self.process.stdout.readline()

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self):
        out, _ = self.process.communicate("go\n")
        return out, self.process.returncode


def test_needs_libc_alone_and_static_tls():
    said = subprocess.run(["readelf", "-dW", LIBRARY], check=True, capture_output=True, text=True).stdout
    assert re.findall(r"NEEDED.*\[(.*)\]", said) == ["libc.so.6"]
    assert "STATIC_TLS" in said


def test_exports_the_malloc_family_alone():
    said = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r" [A-Z] (\S+)", said)) == {
        "malloc", "free", "calloc", "realloc", "reallocarray", "posix_memalign", "aligned_alloc", "memalign", "valloc", "pvalloc",
        "free_sized", "free_aligned_sized"}  # fmt: skip


@over_each_allocator
@pytest.mark.parametrize("traced", [False, True], ids=["untraced", "traced"])
@pytest.mark.parametrize("case", ["family", "threads", "fork", "tls", "signals"])
def test_hard_cases(case, traced, allocator):
    with Case(case, allocator=allocator, interval=100) as program:
        if traced:
            Semaphores(program.pid, LIBRARY).raise_by_hand()
        out, status = program.finish()
    assert (out, status) == ("ok\n", 0)


@over_each_allocator
def test_sqlite_says_the_same(allocator):
    command = ["sqlite3", ":memory:"]
    expected = subprocess.run(command, input=SQL, check=True, capture_output=True, text=True)
    run = subprocess.run(command, input=SQL, check=True, capture_output=True, text=True, env=environment(allocator))
    assert expected.stdout.count("\n") == 2
    assert (run.stdout, run.stderr) == (expected.stdout, "")


@pytest.mark.parametrize("command", [["bash", "-c", "for i in 1 2 3; do (echo $i | cat); done"], ["python3", "-c", "import ctypes, ssl, sqlite3"]],
                         ids=["bash", "python"])  # fmt: skip
def test_programs_that_fork_or_load_libraries(command):
    expected = subprocess.run(command, check=True, capture_output=True)
    run = subprocess.run(command, check=True, capture_output=True, env=environment())
    assert (run.stdout, run.stderr) == (expected.stdout, b"")


@contextlib.contextmanager
def redis(directory):
    """Debian's: linked with jemalloc. Yields its process and the socket's path."""
    path = Path(directory) / "redis"
    command = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(interval=INTERVAL)) as server:
        try:
            wait_until(lambda: path.exists() or server.poll() is not None, "redis-server listens")
            yield server, path
        finally:
            server.kill()


def test_redis_under_load_while_tracers_come_and_go():
    with tempfile.TemporaryDirectory() as directory, redis(directory) as (server, path):
        semaphores = Semaphores(server.pid, LIBRARY)
        for _ in range(3):
            with sampled(server.pid) as told:
                load = ["redis-benchmark", "-s", path, "-q", "-n", "20000", "-r", "5000", "-d", "200", "-t", "set,lpush,lpop,sadd"]
                subprocess.run(load, check=True, capture_output=True, env=environment())
            assert told["allocs"] > 20
            assert told["known_frees"] > 10
            wait_until(lambda: semaphores.are(0), "the semaphores fell")
        reply = subprocess.run(["redis-cli", "-s", path, "--no-raw", "bgsave"], check=True, capture_output=True, text=True)
        assert "started" in reply.stdout
        info = ["redis-cli", "-s", path, "info", "persistence"]
        wait_until(lambda: "rdb_bgsave_in_progress:0" in subprocess.run(info, check=True, capture_output=True, text=True).stdout,
                   "the forked child has saved")  # fmt: skip
        assert "rdb_last_bgsave_status:ok" in subprocess.run(info, check=True, capture_output=True, text=True).stdout
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0


def interrupted(bpftrace):
    """What it printed at its end. It heeds SIGINT only while it waits for events: one that comes between two waits is lost."""
    for _ in range(10):
        bpftrace.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return bpftrace.communicate(timeout=10)[0]
    raise AssertionError("bpftrace does not end")


@contextlib.contextmanager
def sampled(pid):
    """Counts what the probes tell, by a tracer that is not ours, whose probes are in all that use the library, whatever -p says. The dictionary has
    the figures when the block is left."""
    program = f"""
usdt:{LIBRARY}:otel_memory:alloc /pid == {pid}/ {{ @allocs = count(); @bytes = sum(arg2); @size = sum(arg1); @live[arg0] = 1; }}
usdt:{LIBRARY}:otel_memory:free /pid == {pid}/ {{ @frees = count(); if (@live[arg0]) {{ @known_frees = count(); delete(@live[arg0]); }} }}
END {{ clear(@live); }}"""
    told = dict.fromkeys(["allocs", "bytes", "size", "frees", "known_frees"], 0)
    semaphores = Semaphores(pid, LIBRARY)
    with subprocess.Popen(["bpftrace", "-p", str(pid), "-e", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tracer:
        try:
            wait_until(lambda: tracer.poll() is not None or all(semaphores.values().values()), "the semaphores rose")
            yield told
            out = interrupted(tracer)
        finally:
            tracer.kill()
    told.update({name: int(value) for name, value in re.findall(r"^@(\w+): (\d+)$", out, re.MULTILINE)})
    told["out"] = out


@over_each_allocator
def test_a_tracer_is_told_an_unbiased_sample_and_its_frees(allocator):
    count = 100_000
    with Case("sample", count, allocator=allocator, interval=INTERVAL) as program:
        assert Semaphores(program.pid, LIBRARY).are(0)
        program.go()
        with sampled(program.pid) as told:
            program.go()
            bytes_allocated = int(program.line().split()[1])
            program.go()
            assert program.line() == "freed\n"
    sizes = [(100, 3000, 50000)[(1 if i % 50 == 0 else 0) if i % 3 else (2 if i % 90 == 0 else 0)] for i in range(count)]
    # Of the process, the program's blocks are all but what stdio takes.
    assert sum(sizes) == bytes_allocated
    keep = {size: -math.expm1(-size / INTERVAL) for size in set(sizes)}
    variance = sum(size * size * (1 - keep[size]) / keep[size] for size in sizes)
    assert abs(told["bytes"] - bytes_allocated) < LARGEST_Z * math.sqrt(variance) + told["allocs"], told
    expected = sum(keep[size] for size in sizes)
    assert abs(told["allocs"] - expected) < LARGEST_Z * math.sqrt(sum(keep[size] * (1 - keep[size]) for size in sizes)) + 2, told
    # Every sampled block was freed, and told so once.
    assert told["frees"] == told["known_frees"]
    assert 0 <= told["allocs"] - told["known_frees"] <= 2, told
