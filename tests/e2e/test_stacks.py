"""Stacks of programs as distributions ship them: without frame pointers. They must reach the thread's first function.

What is compared with is a program's own knowledge of who called whom, gdb at a breakpoint on the same call, and, for databases, what
everybody knows of them: a server's main at the bottom.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from listening import free_port
from memtrace_runner import Memtrace, counters, traced
from targets import REPOSITORY, TARGETS, Target, bare_name
from test_postgres import Load, only_backend, running_cluster  # noqa: F401 # pylint: disable=unused-import
from tracer import breakpoints, wait_until

sys.path.insert(0, str(REPOSITORY / "tests" / "bench"))
from servers import MariadbServer  # noqa: E402

COMPLETE = 0.99  # of the allocations
COMING_AND_GOING = ["--auto-generate-sql", "--auto-generate-sql-load-type=mixed", "--concurrency=2", "--iterations=1000"]


def names(site):
    """Outermost last. Debian's binaries name only what they export."""
    return [bare_name(frame["function"]) for frame in site["stack"]]


def complete_share(report):
    """Of the allocations whose site is known, those whose stack reaches the thread's first function."""
    sites = [site for site in report["sites"] if site["stack"]]
    allocs = sum(site["allocs"] for site in sites)
    assert allocs > 0
    return sum(site["allocs"] for site in sites if not site["stack_truncated"]) / allocs


def assert_complete(report, capsys, what):
    share = complete_share(report)
    with capsys.disabled():
        print(f"\n    {what}: {share:.2%} of {report['totals']['allocs']:,} allocations with whole stacks")
    cut = {tuple(names(site)): site["allocs"] for site in report["sites"] if site["stack_truncated"]}
    assert share >= COMPLETE, "\n".join(map(str, [what, {name: n for name, n in counters(report).items() if n}, *cut.items()]))


EXPECTED = {  # who called the leaking function, innermost first, as far as all compilers agree
    "leak_while_unwinding": ["~Guard", "guarded", "catcher", "main"],
    "leak_in_handler": ["catcher", "main"],
    "leak_in_signal": ["on_signal", "raise", "signalled", "main"],
    "leak_realigned": ["realigned", "main"],
    "leak_in_callback": ["by_value", "qsort", "sorter", "main"],
    "leak_deep": ["recursion"] * 21 + ["main"],
    "leak_in_thread": ["thread_function"],
}


THREAD_STARTS = {"clone3", "__clone3", "clone", "__clone"}


def is_subsequence(wanted, found):
    rest = iter(found)
    return all(any(name in candidate for candidate in rest) for name in wanted)


def test_each_kind_of_stack_is_whole(tmp_path):
    with Target.start("stacks") as target:
        report, truth = traced(tmp_path, target)
        assert target.finish() == 0, target.stderr()
    assert set(truth.leaks) == set(EXPECTED)
    found = {names(site)[0]: site for site in report["sites"] if site["stack"] and names(site)[0] in EXPECTED}
    assert set(found) == set(EXPECTED)
    for function, site in found.items():
        assert (site["live_bytes"], site["live_objects"]) == truth.leaks[function]
        assert not site["stack_truncated"], (function, names(site))
        assert is_subsequence(EXPECTED[function], names(site)[1:]), (function, names(site))
        bottom = names(site)[-1]
        assert bottom in (THREAD_STARTS if function == "leak_in_thread" else {"_start"}), (function, names(site))
    assert complete_share(report) == 1, counters(report)


@pytest.mark.parametrize("frames, cut", [(64, 20), (127, 10)])
@pytest.mark.parametrize("tier", ["allocator", "pages", "contract"])
def test_walks_that_end_at_the_limit_are_counted(tmp_path, tier, frames, cut):
    """127 is the most that a stack has room for. Of 20 walks half come to 200 calls of a function, half to 100. Pages of the stack and
    the heap are touched at any depth."""
    with Target.start("deep_stack", ["--tier", str(["allocator", "pages", "contract"].index(tier))]) as target:
        report, _ = traced(tmp_path, target, "--max-frames", frames)
        assert target.finish() == 0, target.stderr()
    assert counters(report)["unwind_deep"] >= cut, counters(report)
    stacks = {
        "allocator": [(site["stack"], site["stack_truncated"]) for site in report["sites"]],
        "pages": [(site["stack"], site["stack_truncated"]) for site in report["pages"]["sites"] if site["kind"] == "mmap"],
        "contract": [(resource["acquired_at"], None) for resource in report["resources"]],
    }[tier]
    deep = [(stack, truncated) for stack, truncated in stacks if "leak_deep" in [bare_name(frame["function"]) for frame in stack]]
    depths = [sum(not frame["inlined"] for frame in stack) for stack, _ in deep]
    assert frames in depths
    for depth, (_, truncated) in zip(depths, deep):
        assert depth <= frames and truncated in (depth == frames, None), (depths, stacks)


@pytest.mark.parametrize("compressed", ["none", "zlib", "zlib-gnu"])
def test_unwind_information_that_is_in_debug_frame_alone(tmp_path, compressed):
    """The linker adds an .eh_frame that tells of its own code: main and what it calls are not in it."""
    program = tmp_path / "stacks"
    flags = ["-O2", "-g", f"-gz={compressed}", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
    source = REPOSITORY / "tests" / "targets" / "deep_stack.c"
    include = ["-I", source.parent, "-I", REPOSITORY / "include"]
    subprocess.run(["gcc", *flags, *include, "-o", program, source, "-lpthread"], check=True)
    with Target.start(program, ["--depth", "40"]) as target:
        report, truth = traced(tmp_path, target)
        assert target.finish() == 0, target.stderr()
    assert complete_share(report) == 1, counters(report)
    found = {}
    for site in report["sites"]:
        assert names(site)[-1] == "_start" and "main" in names(site), names(site)
        size, count = found.get(names(site)[0], (0, 0))
        found[names(site)[0]] = (size + site["live_bytes"], count + site["live_objects"])
    assert found == truth.leaks
    assert {names(site).count("recurse") for site in report["sites"]} == {0, 21, 41}


def test_return_probes_of_another_tracer_are_seen_through(tmp_path):
    """The kernel writes its trampoline over the return addresses of 21 frames. gdb and others find no function there."""
    program = shutil.copy(TARGETS / "stacks", tmp_path / "own")  # bpftrace's probes are in all that run it, also under Valgrind, which ends it
    with Target.start(program) as target:
        pid = target.ready()
        probe = f"uretprobe:{program}:_ZL9recursioni {{ @returns = count(); }}"
        with subprocess.Popen(["bpftrace", "-p", str(pid), "-e", probe], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as other:
            try:
                wait_until(lambda: breakpoints(pid) or other.poll() is not None, "bpftrace attaches")
                with Memtrace.attach(tmp_path, pid) as memtrace:
                    target.go()
                    target.truth()
                    report = memtrace.stop()
            finally:
                other.send_signal(signal.SIGINT)
                said = other.communicate(timeout=60)[0].decode()
        assert target.finish() == 0, target.stderr()
    assert "@returns: 21" in said
    [site] = [site for site in report["sites"] if site["stack"] and names(site)[0] == "leak_deep"]
    assert names(site)[1:23] == ["recursion"] * 21 + ["main"] and not site["stack_truncated"], names(site)


def test_before_its_library_is_known_a_stack_does_not_pretend_to_be_whole(tmp_path):
    """The library is used within microseconds of its loading, before anyone can have read its unwind information."""
    with Target.start("dlopen_late") as target:
        report, _ = traced(tmp_path, target)
        assert target.finish() == 0, target.stderr()
    late = [site for site in report["sites"] if site["stack"] and "libleaky" in site["stack"][0]["module"]]
    assert late
    for site in late:
        assert site["stack_truncated"] or names(site)[-1] == "_start", names(site)
    first = [site for site in report["sites"] if site["stack"] and names(site)[0] == "leak_in_program"]
    assert first and not any(site["stack_truncated"] for site in first)


@pytest.mark.parametrize("workload", ["select-only", "tpcb-like"])
def test_postgres_backend(tmp_path, cluster, workload, capsys):
    with Load(cluster, "-b", workload) as load:
        backend = only_backend(cluster, load)
        with Memtrace.attach(tmp_path, backend, "--duration", "3s") as memtrace:
            [report] = memtrace.last_reports()
    assert_complete(report, capsys, f"postgres, {workload}")
    assert counters(report)["walks_recalled"] > 0.9 * counters(report)["hits_return"], counters(report)
    stacks = [names(site) for site in report["sites"] if site["stack"]]
    whole = [stack for stack in stacks if stack[-1] == "_start"]
    assert whole and all("main" in stack and "PostgresMain" in stack for stack in whole)
    assert any("standard_ExecutorRun" in stack or "standard_planner" in stack for stack in whole), stacks
    assert all(re.search(r"/(postgres|[^/]*\.so[.0-9]*)$", site["stack"][0]["module"]) for site in report["sites"] if site["stack"])


@pytest.mark.parametrize("name", ["leak_rust", "leak_rust_v0"])
def test_rust_program(tmp_path, name):
    """The standard library comes compiled, without frame pointers."""
    with Target.start(name) as target:
        report, truth = traced(tmp_path, target)
        assert target.finish() == 0, target.stderr()
    assert complete_share(report) == 1, counters(report)
    for function in truth.leaks:
        stacks = [names(site) for site in report["sites"] if site["live_objects"] and any(function in text for text in names(site))]
        assert stacks, function
        for stack in stacks:
            assert is_subsequence(["leak::main", "std::rt::lang_start", "main"], stack) and stack[-1] == "_start", stack


SQL = """create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) insert into t select i, hex(i * 7919) from n;
select count(*) from (select b, count(*) from t group by b order by 2 desc);
"""


def test_sqlite_shell(tmp_path, capsys):
    script = tmp_path / "script.sql"
    script.write_text(SQL, encoding="utf-8")
    with Memtrace.start(tmp_path, "--", "sqlite3", ":memory:", f".read {script}") as memtrace:
        [report] = memtrace.last_reports()
    assert_complete(report, capsys, "sqlite3")
    assert any({"sqlite3VdbeExec", "sqlite3_step"} <= set(names(site)) for site in report["sites"])


def test_mariadb_server(tmp_path, capsys):
    """Under connections that come, insert, join and go."""
    with MariadbServer() as server, server.client("mariadb-slap", *COMING_AND_GOING) as load:
        try:
            with Memtrace.attach(tmp_path, server.process.pid, "--duration", "3s") as memtrace:
                [report] = memtrace.last_reports()
            assert load.poll() is None, "the load ended first"
        finally:
            load.kill()
    assert_complete(report, capsys, "mariadbd")
    assert any("do_command" in text or "handle_one_connection" in text for site in report["sites"] for text in names(site))


def test_redis_server(tmp_path, capsys):
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory], stdout=subprocess.DEVNULL
        )
        try:
            client = ["redis-cli", "-p", str(port)]
            wait_until(lambda: subprocess.run([*client, "ping"], capture_output=True, check=False).stdout == b"PONG\n", str)
            with Memtrace.attach(tmp_path, server.pid) as memtrace:
                load = ["redis-benchmark", "-p", str(port), "-t", "set,lpush", "-n", "4000", "-q"]
                subprocess.run(load, check=True, stdout=subprocess.DEVNULL, timeout=100)
                report = memtrace.stop()
        finally:
            server.terminate()
            server.wait(30)
    assert_complete(report, capsys, "redis-server")


GDB_STOPS = 1000


def gdb_stacks(pid, function, seconds):
    """Return addresses of each stop at the function's entry, without its own frame."""
    script = f"set pagination off\nset width 0\nset backtrace past-main on\nset print address on\nbreak *{function}\n"
    script += "define each\nwhile 1\ncontinue\necho STOP\\n\nbacktrace\nend\nend\neach\n"
    with tempfile.NamedTemporaryFile("w", suffix=".gdb") as file:
        file.write(script)
        file.flush()
        gdb = subprocess.Popen(
            ["gdb", "-q", "-nx", "-p", str(pid), "-iex", "set debuginfod enabled off", "-x", file.name],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        stacks = []
        deadline = time.monotonic() + seconds
        for line in gdb.stdout:
            if line.startswith("STOP"):
                if len(stacks) > GDB_STOPS or time.monotonic() > deadline:
                    break
                stacks.append([])
            elif stacks and (match := re.match(r"#(\d+) +0x([0-9a-f]+) in", line)) and match[1] != "0":
                stacks[-1].append(int(match[2], 16))
        gdb.send_signal(signal.SIGTERM)
        gdb.stdout.close()
        gdb.wait(30)
    return [tuple(stack) for stack in stacks[:-1]]  # the last one may be cut


def load_addresses(pid):
    """Path of each mapped file -> the address that its first byte lies at."""
    bases = {}
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5].startswith("/") and words[2] == "00000000":
            bases.setdefault(words[5], int(words[0].partition("-")[0], 16))
    return bases


# The same in each transaction, and nothing is written: what gdb sees memtrace must have seen.
QUERIES = """select abalance from pgbench_accounts where aid = 77;
select bid, count(*), sum(abalance) from pgbench_accounts where aid < 300 group by bid order by 3 desc;
select a.aid, b.bbalance from pgbench_accounts a join pgbench_branches b using (bid) where a.aid between 10 and 40 order by a.filler, b.bid;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 30) select string_agg(md5(i::text), ',' order by i desc) from n;
select tid, rank() over (order by tbalance), array_agg(tid) over () from pgbench_tellers;
select regexp_replace(repeat('abc', 200), '(a)(b)', '\\2\\1', 'g'), to_char(now(), 'YYYY-MM-DD'), numeric '1e50' / 7;
"""


def test_stacks_are_those_that_gdb_sees(tmp_path, cluster, capsys):
    """Every stack that gdb sees at malloc's entry is one of those that memtrace has, frame by frame, to the end."""
    script = cluster.directory / "queries.sql"
    script.write_text(QUERIES, encoding="utf-8")
    with Load(cluster, "-f", script) as load:
        backend = only_backend(cluster, load)
        bases = load_addresses(backend)
        # gdb first: once the process has had uprobes, the kernel takes a foreign breakpoint at the same place for one of its own, and
        # removes it when any tracer leaves that place, in whichever process: that of another test.
        stops = gdb_stacks(backend, "__libc_malloc", 60)  # the dynamic linker has a malloc too
        with Memtrace.attach(tmp_path, backend, "--duration", "3s") as memtrace:
            [report] = memtrace.last_reports()
        load.process.kill()
    ours = {tuple(bases[frame["module"]] + frame["offset"] for frame in site["stack"]) for site in report["sites"] if site["stack"]}
    theirs = set(stops)
    with capsys.disabled():
        print(f"\n    {len(stops)} stops of gdb: {len(theirs)} different stacks, {len(ours)} of memtrace")
    assert len(stops) == GDB_STOPS
    assert theirs <= ours, (theirs - ours, ours)
