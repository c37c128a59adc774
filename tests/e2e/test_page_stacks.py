"""Stacks of the pages tier, of programs as distributions ship them: from the instruction that maps or touches memory to the thread's first
function. What is compared with is gdb, at the same system calls."""

import os
import subprocess

import pytest

from memtrace_runner import Memtrace, counters
from targets import Target, bare_name
from test_postgres import Load, only_backend, running_cluster  # noqa: F401 # pylint: disable=unused-import
from test_stacks import COMPLETE, load_addresses
from tracer import wait_until

# Freed memory is not given back, so that brk only grows: shrinking it is no site. And mappings are made at one fixed size.
ENVIRONMENT = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "1000000000"}

SQL = """create table t(a integer primary key, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select i, hex(i * 7919) from n;
select count(*) from (select b, count(*) from t group by b order by 2 desc);
create index i on t(b);
select length(group_concat(b)) from t;
select max(length(c)) from (select hex(zeroblob(a)) c from t where a % 997 = 0);
"""

# Of each brk, and of each mapping that is left at the end, the addresses of the frames that are not inlined, innermost first: what holds
# nothing is no site of a report. malloc removes mappings whole. It ends when the shell has written its last word.
GDB = """
import gdb
for command in ("set pagination off", "set backtrace past-main on", "catch syscall mmap munmap mremap brk write"):
    gdb.execute(command)
print("CATCHING", flush=True)
WRITE, MMAP, MUNMAP, BRK, MREMAP = 1, 9, 11, 12, 25
register = lambda name: int(gdb.parse_and_eval(f"(unsigned long) ${name}"))
breaks, mapped, returned = set(), {}, True
while True:
    gdb.execute("continue")
    returned = not returned
    if not returned:
        continue
    stack = []
    frame = gdb.newest_frame()
    while frame:
        if frame.type() != gdb.INLINE_FRAME:
            stack.append(hex(frame.pc()))
        frame = frame.older()
    call = register("orig_rax")
    if call == WRITE and bytes(gdb.selected_inferior().read_memory(register("rsi"), register("rdx"))).endswith(b"done\\n"):
        break
    if call in (MUNMAP, MREMAP):
        mapped.pop(register("rdi"))
    if call in (MMAP, MREMAP):
        mapped[register("rax")] = tuple(stack)
    elif call == BRK:
        breaks.add(tuple(stack))
for stack in breaks | set(mapped.values()):
    print("STACK", *stack)
"""


def names(site):
    return [bare_name(frame["function"]) for frame in site["stack"]]


def events_of(report, kinds):
    """How many events there were, and how many of them with stacks that reach the thread's first function."""
    sites = [site for site in report["pages"]["sites"] if site["kind"] in kinds]
    return sum(site["events"] for site in sites), sum(site["events"] for site in sites if not site["stack_truncated"])


def assert_complete(report, capsys, what):
    for kinds in (["fault"], ["mmap", "brk"]):
        events, whole = events_of(report, kinds)
        with capsys.disabled():
            print(f"\n    {what}: {whole} of {events} events ({', '.join(kinds)}) with whole stacks")
        assert events > 0 and whole >= COMPLETE * events, (counters(report), [names(s) for s in report["pages"]["sites"]])


class Shell:
    """SQLite's, which has read nothing yet but waits for it."""

    def __init__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(["sqlite3", ":memory:"], env=ENVIRONMENT, **pipes)
        self.write("select 'ready';\n")
        assert self.process.stdout.readline() == "ready\n"
        self.bases = load_addresses(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def write(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def run(self):
        """Until all is answered; it still waits then."""
        self.write(SQL + "select 'done';\n")
        while (line := self.process.stdout.readline()) != "done\n":
            assert line, "the shell has ended"


def gdb_stacks(tmp_path):
    """The different stacks of a shell's run, as modules and offsets."""
    script = tmp_path / "stacks.py"
    script.write_text(GDB, encoding="utf-8")
    with Shell() as shell:
        command = ["gdb", "-q", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-p", str(shell.process.pid), "-x", script]
        log = tmp_path / "gdb.log"
        with open(log, "w", encoding="utf-8") as out:
            gdb = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: "CATCHING\n" in log.read_text(encoding="utf-8") or gdb.poll() is not None, log.read_text)
            shell.run()
            assert gdb.wait(60) == 0, log.read_text(encoding="utf-8")
        finally:
            gdb.kill()
            gdb.wait()
        bases = sorted(((base, module) for module, base in shell.bases.items()), reverse=True)

    def place(address):
        base, module = next(entry for entry in bases if entry[0] <= address)
        return module, address - base

    lines = log.read_text(encoding="utf-8").splitlines()
    return {tuple(place(int(word, 16)) for word in line.split()[1:]) for line in lines if line.startswith("STACK")}


def test_sqlite_maps_where_gdb_says(tmp_path, capsys):
    """The same work in two processes of the same program: the same sites, frame by frame."""
    theirs = gdb_stacks(tmp_path)
    with Shell() as shell, Memtrace.attach(tmp_path, shell.process.pid) as memtrace:
        shell.run()
        report = memtrace.stop()
    sites = [site for site in report["pages"]["sites"] if site["kind"] in ("mmap", "brk")]
    ours = {tuple((frame["module"], frame["offset"]) for frame in site["stack"] if not frame["inlined"]) for site in sites}
    with capsys.disabled():
        print(f"\n    {len(theirs)} different stacks of gdb, {len(ours)} of memtrace")
    assert len(ours) >= 3
    assert ours == theirs, (ours - theirs, theirs - ours)
    assert_complete(report, capsys, "sqlite3")
    assert any({"sqlite3VdbeExec", "sqlite3_step"} <= set(names(site)) for site in sites)


# Sorts and hashes of some megabytes: memory that a backend takes, and gives back.
GROWING = """select count(*) from (select repeat(md5(i::text), 10) t from generate_series(1, 5000) i order by 1) s;
select count(distinct t) from (select md5((i % 1000)::text) t from generate_series(1, 20000) i) s;
"""


def test_postgres_backend(tmp_path, cluster, capsys):
    script = cluster.directory / "growing.sql"
    script.write_text(GROWING, encoding="utf-8")
    with Load(cluster, "-f", script) as load:
        backend = only_backend(cluster, load)
        with Memtrace.attach(tmp_path, backend, "--duration", "3s") as memtrace:
            [report] = memtrace.last_reports()
    assert_complete(report, capsys, "postgres")
    whole = [names(site) for site in report["pages"]["sites"] if site["stack"] and not site["stack_truncated"]]
    assert all(stack[-1] == "_start" and "main" in stack and "PostgresMain" in stack for stack in whole), whole


@pytest.mark.parametrize("name, mode", [("map_pages", "exact"), ("map_pages_stripped", "pages")])
def test_tables_are_there_without_an_allocator_too(tmp_path, name, mode):
    """What is followed for its pages alone has its stacks unwound as well."""
    with Target.start(name) as target, Memtrace.attach(tmp_path, target.ready()) as memtrace:
        target.go()
        target.truth()
        report = memtrace.stop()
        assert target.finish() == 0, target.stderr()
    assert report["coverage"]["mode"] == mode
    assert report["pages"]["sites"] and not any(site["stack_truncated"] for site in report["pages"]["sites"]), report["pages"]["sites"]
