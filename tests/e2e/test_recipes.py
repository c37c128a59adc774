"""The mapped tier: by the recipes of scripts/recipes/, programs that tell nothing are found to keep what they should have given back, each
with its kind and the place where it was acquired; and nothing is found where they do not. What `keeper` does:
tests/targets/recipes/keeper.c."""

import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest

from memtrace_runner import Memtrace, counters
from targets import REPOSITORY, Target, shared_library
from test_postgres import Load, running_cluster  # noqa: F401 # pylint: disable=unused-import
from tracer import run_memtrace, wait_until

sys.path.insert(0, str(REPOSITORY / "tests" / "bench"))
from servers import MariadbServer  # noqa: E402

RECIPES = REPOSITORY / "scripts" / "recipes"
OFTEN = ["--interval", "200ms"]


def of_kind(report, kind):
    return [resource for resource in report["resources"] if resource["kind"] == kind]


def told(report):
    """But what the kernel gives out to every process."""
    return [resource for resource in report["resources"] if not resource["kind"].startswith(("fd:", "os:"))]


def findings(report):
    """Resources that something is wrong with."""
    return [resource for resource in report["resources"] if resource["verdict"] != "stable"]


def calls(report, kind):
    """How many were acquired, and how many released."""
    return next(((row["acquired"], row["released"]) for row in report["resource_kinds"] if row["kind"] == kind), (0, 0))


def functions(resource):
    return [frame["function"].split("(")[0] for frame in resource["acquired_at"]]


def attached(*kinds):
    """A report says that those recipes are attached."""
    return lambda report: all(any(f": {kind} (" in source for source in report["references"].get("sources", [])) for kind in kinds)


def kept(directory, recipe, options, kinds, keep=True):
    """What memtrace says of `keeper`: the first report with a finding, or the last where it keeps nothing."""
    recording = directory / "keeper.rec"
    with Target.start("keeper", [*options, *(["--keep"] if keep else [])]) as target:
        with Memtrace.attach(directory, target.ready(), "--config", RECIPES / f"{recipe}.toml", "--record", recording, *OFTEN) as memtrace:
            target.go()
            memtrace.wait_report(attached(*kinds))
            if "--sqlite" in options:
                target.send("use it")
            target.truth()
            if keep:
                memtrace.wait_report(findings)
            report = memtrace.stop()
    assert report["coverage"]["lost"] == {}
    replayed = run_memtrace("replay", recording, "--output", "json")
    assert replayed.status == 0 and replayed.reports()[-1]["resources"] == report["resources"]
    return report


CASES = {
    "sqlite": (["--sqlite", "libsqlite3"], "sqlite-statement", ["prepare_statement", "keep_statement", "use_sqlite"]),
    "openssl": (["--openssl"], "openssl-ssl", ["begin_connection", "serve"]),
    "pthread": (["--threads"], "pthread", ["keep_thread", "use_threads"]),
}


def options_of(recipe):
    return [shared_library(option) if option.startswith("lib") else option for option in CASES[recipe][0]]


@pytest.mark.parametrize("recipe", CASES)
def test_what_is_kept_is_found(tmp_path, recipe):
    _, kind, stack = CASES[recipe]
    report = kept(tmp_path, recipe, options_of(recipe), [kind])
    [finding] = [resource for resource in findings(report) if resource["kind"] == kind]
    assert {resource["kind"] for resource in findings(report)} - {kind} <= {"openssl-bio"}  # those of the SSL
    assert functions(finding)[: len(stack)] == stack
    assert (finding["state"], finding["verdict"]) == ("leaked", "definite" if recipe == "sqlite" else "probable")
    assert report["verdict"]["class"] == "leak" and kind in report["verdict"]["text"]


@pytest.mark.parametrize("recipe", CASES)
def test_a_program_without_the_mistake_reports_nothing(tmp_path, recipe):
    kind = CASES[recipe][1]
    report = kept(tmp_path, recipe, options_of(recipe), [kind], keep=False)
    assert findings(report) == [] and of_kind(report, kind) == []
    assert counters(report)["mapped_hits"] > 0


KEEPER_ROUNDS = 20


def test_what_is_given_back_was_heard_of(tmp_path):
    """Of the kinds that `keeper` keeps none of: so often acquired, so often released."""
    sqlite = kept(tmp_path, "sqlite", options_of("sqlite"), ["sqlite-blob"], keep=False)
    assert calls(sqlite, "sqlite-blob") == (KEEPER_ROUNDS, KEEPER_ROUNDS)
    openssl = kept(tmp_path, "openssl", options_of("openssl"), ["openssl-ctx", "openssl-md-ctx", "openssl-cipher-ctx"], keep=False)
    assert calls(openssl, "openssl-ctx") == (1, 1)
    assert calls(openssl, "openssl-md-ctx")[0] >= KEEPER_ROUNDS and of_kind(openssl, "openssl-md-ctx") == []
    assert calls(openssl, "openssl-cipher-ctx")[0] >= KEEPER_ROUNDS


def test_what_is_known_of_a_statement(tmp_path):
    report = kept(tmp_path, "sqlite", options_of("sqlite"), ["sqlite-statement"])
    [statement] = of_kind(report, "sqlite-statement")
    assert statement["name"] == "select kept from t"
    assert re.fullmatch("0x[0-9a-f]+", statement["parent"])
    assert of_kind(report, "sqlite-connection") == []  # it is given back by the second function, not by the first, which refuses
    assert counters(report)["mapped_failed"] >= 20 + 1


@contextlib.contextmanager
def shell(command, **popen):
    """A client that reads statements from its standard input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **popen) as client:
        try:
            yield client
        finally:
            client.kill()


def psql(cluster, database="postgres"):
    return shell([cluster.binaries / "psql", *cluster.server(), "-X", "-A", "-t", "-q", database], cwd=cluster.directory)


def tell(client, sql):
    """Statements, and what the client writes until they are done."""
    client.stdin.write(f"{sql} select 'told';\n")
    client.stdin.flush()
    lines = []
    while (line := client.stdout.readline()) not in ("told\n", ""):
        lines.append(line.strip())
    return lines


def shortened(directory, recipe):
    """The recipe with a limit that a test can wait for."""
    text, count = re.subn(r'^max_idle = "60s"$', 'max_idle = "500ms"', (RECIPES / f"{recipe}.toml").read_text(), flags=re.MULTILINE)
    assert count == 1
    path = directory / f"{recipe}.toml"
    path.write_text(text)
    return path


def test_a_session_idle_in_its_transaction(cluster, tmp_path):
    with psql(cluster) as client:
        backend = int(*tell(client, "select pg_backend_pid();"))
        with Memtrace.attach(tmp_path, backend, "--config", shortened(tmp_path, "postgresql"), *OFTEN) as memtrace:
            memtrace.wait_report(attached("postgresql-transaction", "postgresql-sort"))
            tell(client, "begin;")
            memtrace.wait_report(findings)
            report = memtrace.stop()
    [session] = findings(report)
    assert (session["kind"], session["state"], session["verdict"]) == ("postgresql-transaction", "overdue", "probable")
    assert int(session["id"]) == backend
    assert "StartTransactionCommand" in functions(session)
    assert "held beyond its limit (postgresql-transaction)" in report["verdict"]["text"]


def test_a_session_that_ends_its_transactions(cluster, tmp_path):
    with psql(cluster) as client:
        backend = int(*tell(client, "select pg_backend_pid();"))
        with Memtrace.attach(tmp_path, backend, "--config", shortened(tmp_path, "postgresql"), *OFTEN) as memtrace:
            memtrace.wait_report(attached("postgresql-transaction", "postgresql-sort"))
            tell(client, "begin; lock table pgbench_branches; commit; begin; select 1/0; rollback;")
            tell(client, "select count(*) from (select * from pgbench_accounts order by abalance, filler) as sorted;")
            report = memtrace.stop()
    assert told(report) == [] and report["coverage"]["lost"] == {}
    acquired = {kind["kind"]: kind["acquired"] for kind in report["resource_kinds"]}
    assert acquired["postgresql-transaction"] >= 3 and acquired["postgresql-query"] >= 8 and acquired["postgresql-sort"] == 1


def test_a_session_that_waits_for_a_lock(cluster, tmp_path):
    with psql(cluster) as holder, psql(cluster) as client:
        backend = int(*tell(client, "select pg_backend_pid();"))
        with Memtrace.attach(tmp_path, backend, "--config", "postgresql", *OFTEN) as memtrace:
            memtrace.wait_report(attached("postgresql-lock-wait"))
            tell(holder, "begin; lock table pgbench_branches;")
            client.stdin.write("begin; lock table pgbench_branches;\n")
            client.stdin.flush()
            report = memtrace.wait_report(lambda report: of_kind(report, "postgresql-lock-wait"))
            tell(holder, "commit;")
            tell(client, "commit;")
            after = memtrace.stop()
    [wait] = of_kind(report, "postgresql-lock-wait")
    assert int(wait["id"]) == backend and "LockAcquireExtended" in functions(wait)
    assert calls(after, "postgresql-lock-wait") == (1, 1)


def test_pages_that_a_session_reads(cluster, tmp_path):
    """Of a database that nobody has used since the server began: none of its tables is in the server's buffers."""
    with psql(cluster, "template1") as client:
        backend = int(*tell(client, "select pg_backend_pid();"))
        with Memtrace.attach(tmp_path, backend, "--config", "postgresql", *OFTEN) as memtrace:
            memtrace.wait_report(attached("postgresql-buffer-read"))
            tell(client, "select count(*) from pg_description;")
            pages = int(*tell(client, "select pg_relation_size('pg_description') / 8192;"))
            report = memtrace.stop()
    acquired, released = calls(report, "postgresql-buffer-read")
    assert acquired == released >= pages > 10 and report["coverage"]["lost"] == {}


def test_waits_for_the_locks_of_the_server(cluster, tmp_path):
    with Load(cluster, "-c", 8, "-j", 2) as load:
        wait_until(lambda: len(cluster.backends("pgbench")) == 8, load.said)
        with Memtrace.attach(tmp_path, cluster.backends("pgbench")[0], "--config", "postgresql", *OFTEN) as memtrace:
            report = memtrace.wait_report(lambda report: calls(report, "postgresql-lwlock-wait")[1] > 5)
            memtrace.stop()
    acquired, released = calls(report, "postgresql-lwlock-wait")
    assert acquired - released in (0, 1) and findings(report) == []


def test_the_locks_of_the_server(cluster, tmp_path):
    with psql(cluster) as client:
        backend = int(*tell(client, "select pg_backend_pid();"))
        with Memtrace.attach(tmp_path, backend, "--config", "postgresql-lwlocks", *OFTEN) as memtrace:
            memtrace.wait_report(attached("postgresql-lwlock"))
            tell(client, "create table mine(a int); insert into mine select generate_series(1, 100); select count(*) from mine;")
            report = memtrace.stop()
    acquired, released = calls(report, "postgresql-lwlock")
    assert acquired == released > 100 and told(report) == [] and report["coverage"]["lost"] == {}


def test_mariadb_connections_and_tables(tmp_path):
    """The state of a connection that has ended is kept for the next one: here that of the fixture's, so it takes two for a new one."""
    with MariadbServer() as server:
        command = ["mariadb", "--no-defaults", f"--socket={server.socket}", "--unbuffered", "--skip-column-names", "--batch"]
        with Memtrace.attach(tmp_path, server.process.pid, "--config", "mariadb", *OFTEN) as memtrace:
            memtrace.wait_report(attached("mariadb-connection", "mariadb-table"))
            with shell(command) as other, shell(command) as client:
                assert tell(other, "select 1;") == ["1"]
                tell(client, "create database d; create table d.t(a int); lock tables d.t read;")
                report = memtrace.wait_report(lambda report: of_kind(report, "mariadb-table"))
                tell(client, "unlock tables;")
                last = memtrace.stop()
    [table] = of_kind(report, "mariadb-table")
    assert re.fullmatch("(mariadb-connection )?0x[0-9a-f]+", table["parent"])
    assert of_kind(report, "mariadb-connection") != []
    assert of_kind(last, "mariadb-table") == [] and findings(last) == []


def test_mariadb_transactions(tmp_path):
    with MariadbServer() as server:
        command = ["mariadb", "--no-defaults", f"--socket={server.socket}", "--unbuffered", "--skip-column-names", "--batch"]
        with shell(command) as client, shell(command) as other:
            assert tell(client, "select 1;") == tell(other, "select 1;") == ["1"]
            with Memtrace.attach(tmp_path, server.process.pid, "--config", shortened(tmp_path, "mariadb"), *OFTEN) as memtrace:
                memtrace.wait_report(attached("mariadb-transaction", "mariadb-statement", "mariadb-table"))
                tell(other, "start transaction; commit;")
                tell(client, "prepare kept from 'select 4'; start transaction;")
                memtrace.wait_report(findings)
                report = memtrace.stop()
    [transaction] = findings(report)
    assert (transaction["kind"], transaction["state"]) == ("mariadb-transaction", "overdue")
    assert "mysql_execute_command" in functions(transaction)
    [statement] = of_kind(report, "mariadb-statement")
    assert statement["parent"] == transaction["id"]


def test_recipes_by_name_and_several(tmp_path):
    with Target.start("keeper", ["--openssl", "--threads"]) as target:
        with Memtrace.attach(tmp_path, target.ready(), "--config", "openssl", "--config", "pthread", *OFTEN) as memtrace:
            memtrace.wait_report(attached("openssl-ssl", "openssl-bio", "pthread"))
            target.go()
            target.truth()
            report = memtrace.stop()
    assert findings(report) == []


@pytest.mark.parametrize("method", ["uprobe_multi", "perf_event"])
def test_every_way_to_attach(tmp_path, method):
    with Target.start("keeper", ["--openssl", "--threads", "--keep"]) as target:
        options = ["--config", "openssl", "--config", "pthread", "--attach", method]
        with Memtrace.attach(tmp_path, target.ready(), *options, *OFTEN) as memtrace:
            target.go()
            target.truth()
            report = memtrace.wait_report(lambda report: len(findings(report)) == 4)
            memtrace.stop()
    assert {finding["kind"] for finding in findings(report)} == {"openssl-ssl", "openssl-bio", "pthread"}


def test_processes_that_are_followed(tmp_path):
    """SQLite's shell, started by another program that is followed. It works on a statement without end."""
    sql = "with recursive c(n) as (select 1 union all select n + 1 from c where n < 1e15) select max(n) from c;"
    with subprocess.Popen(["sh", "-c", "read go; sqlite3 :memory:; true"], stdin=subprocess.PIPE, start_new_session=True) as parent:
        try:
            with Memtrace.attach(tmp_path, parent.pid, "--follow", "--config", "sqlite", *OFTEN) as memtrace:
                parent.stdin.write(b"go\n")
                parent.stdin.flush()
                memtrace.wait_report(attached("sqlite-statement"))
                parent.stdin.write(sql.encode() + b"\n")
                parent.stdin.flush()
                report = memtrace.wait_report(lambda report: of_kind(report, "sqlite-statement"))
        finally:
            os.killpg(parent.pid, signal.SIGKILL)
    assert report["process"]["comm"] == "sqlite3"
    assert [statement["name"] for statement in of_kind(report, "sqlite-statement")] == [sql[:63]]


CURSORS = {
    "limit": ("[[resource]]\nkind = 'cursor'\nmax_age = '300ms'\n", ("overdue", "probable"), "the limit of its kind is 0.3 s"),
    "thresholds": ("[resources]\nmin_released = 1\nmin_age = '300ms'\n", ("live", "suspect"), "99 % of its kind for at most"),
}


@pytest.mark.parametrize("which", CURSORS)
def test_limits_and_thresholds_of_what_a_program_tells_itself(tmp_path, which):
    """A cursor that the SDK tells of and that is held; replayed, it is found again, without the file."""
    text, found, why = CURSORS[which]
    path, recording = tmp_path / "mine.toml", tmp_path / "mine.rec"
    path.write_text(text)
    with Target.start("contract") as target:
        with Memtrace.attach(tmp_path, target.ready(), "--config", path, "--record", recording, *OFTEN) as memtrace:
            target.go()
            target.truth()
            memtrace.wait_report(findings)
            report = memtrace.stop()
    [cursor] = findings(report)
    assert (cursor["kind"], cursor["id"]) == ("cursor", "1")
    assert (cursor["state"], cursor["verdict"]) == found and why in cursor["evidence"]
    path.unlink()
    replayed = run_memtrace("replay", recording, "--output", "json")
    assert replayed.status == 0 and replayed.reports()[-1]["resources"] == report["resources"]


def test_without_them_nothing_is_found(tmp_path):
    with Target.start("contract") as target:
        with Memtrace.attach(tmp_path, target.ready(), *OFTEN) as memtrace:
            target.go()
            target.truth()
            memtrace.wait_report(lambda report: any(cursor["age_s"] > 0.5 for cursor in of_kind(report, "cursor")))
            assert findings(memtrace.stop()) == []


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("[resources]\nfactor = 0\n", r"bad.toml:2: factor is no number from 1 to 1000000"),
        ("[[resource]]\nkind = 'a'\nacquire = 'f() -> id'\n", r"bad.toml:1: a needs acquire and release"),
        ("[[resource]]\nkind = 'a'\naquire = 'f() -> id'\n", r"bad.toml:3: unknown key \"aquire\" \(known: .*\)"),
        ("\n[[resource]\n", r"bad.toml:2: .*"),
    ],
)
def test_bad_recipes_are_one_line(tmp_path, text, complaint):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with Target.start("prior_blocks") as target:
        run = run_memtrace("--pid", target.ready(), "--config", path)
    assert run.status == 1
    assert re.fullmatch(f"memtrace: .*{complaint}", run.error())


def test_a_recipe_of_which_half_is_missing_is_left_out(tmp_path):
    path = tmp_path / "half.toml"
    path.write_text("[[resource]]\nkind = 'block'\nobject = 'libc.so.6'\nacquire = 'malloc(bytes) -> id'\nrelease = 'no_such_function(id)'\n")
    with Target.start("prior_blocks") as target:
        with Memtrace.attach(tmp_path, target.ready(), "--config", path) as memtrace:
            report = memtrace.stop()
    assert "half.toml:1: libc.so.6 has nothing that releases a block: it is left out" in memtrace.said
    assert told(report) == []


def test_probes_lists_what_it_would_attach_to():
    with Target.start("keeper", ["--threads"]) as target:
        run = run_memtrace("probes", "--pid", target.ready(), "--config", "pthread")
    assert run.status == 0
    assert re.search(r"^    libc.so.6: pthread \(pthread_join, .*, pthread_create, thrd_create\)$", run.out, re.MULTILINE)


def test_all_recipes_together(tmp_path):
    """On a process that has next to nothing of them."""
    options = [word for path in sorted(RECIPES.glob("*.toml")) for word in ("--config", path)]
    with Target.start("prior_blocks") as target:
        with Memtrace.attach(tmp_path, target.ready(), *options) as memtrace:
            report = memtrace.stop()
    assert [source.split(" ")[1] for source in report["references"]["sources"]] == ["pthread"]
    assert told(report) == []
