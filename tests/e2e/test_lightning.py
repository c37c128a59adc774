"""lightningd, the demo database, without any tracer: its protocol, its bugs, and its own account of what it leaked.

The account is the truth that memtrace is later held to, so it is itself held to two others here: to figures worked out by hand,
request by request, and to Valgrind's, function by function.
"""

import json
import random
import re
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ROOT / ".output" / "targets"
ARENA_BYTES = 24 * 1024
FUNCTIONS = {
    "cursor-buffer": "cursor_buffer_create",
    "cache-unbounded": "cache_entry_create",
    "error-path": "value_buffer_create",
    "connection": "session_arena_create",
}


@pytest.fixture(scope="module", autouse=True)
def programs():
    outputs = [".output/targets/lightningd", ".output/targets/lightning-load"]
    subprocess.run(["make", "-s", *outputs], cwd=ROOT, check=True, timeout=300)


def parse_truth(text):
    """{"leak": {bug: (bytes, count)}, "live": ..., "total": (bytes, count)} of the last account in the text."""
    truth = {"leak": {}, "live": {}, "total": None}
    for line in text.splitlines():
        words = line.split()
        if words and words[0] in ("leak", "live"):
            kind, bug, function, size, count = words
            assert function == FUNCTIONS[bug]
            truth[kind][bug] = (int(size), int(count))
        elif words and words[0] == "leaks-total":
            truth["total"] = (int(words[1]), int(words[2]))
    assert truth["leak"].keys() == truth["live"].keys() == FUNCTIONS.keys()
    assert truth["total"] == tuple(sum(column) for column in zip(*truth["leak"].values()))
    return truth


class Client:
    def __init__(self, server):
        self.socket = server.dial()
        self.file = self.socket.makefile("rb")

    def send(self, request):
        self.socket.sendall(request if isinstance(request, bytes) else request.encode())

    def line(self):
        return self.file.readline().decode().rstrip("\n")

    def ask(self, request):
        self.send(request)
        return self.line()

    def block(self, request):
        self.send(request + "\n")
        lines = []
        while (line := self.line()) != "END":
            assert line, "the connection ended within an answer"
            lines.append(line)
        return "\n".join(lines)

    def truth(self):
        return parse_truth(self.block("LEAKS"))

    def stats(self):
        return {words[1]: int(words[2]) for words in map(str.split, self.block("STATS").splitlines())}

    def close(self):
        self.file.close()
        self.socket.close()


class Server:
    """lightningd in a directory of its own; `prefix` runs it under something else."""

    def __init__(self, directory, *options, prefix=(), port=False):
        self.path = directory / "socket"
        where = ["--port", "0"] if port else ["--socket", str(self.path)]
        command = [*prefix, str(TARGETS / "lightningd"), "--db", str(directory / "db"), *where, *options]
        self.errors = open(directory / "stderr", "w+", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        ready = self.process.stdout.readline()
        match = re.fullmatch(r"lightningd ready on (unix:(.*)|tcp:127\.0\.0\.1:(\d+)), pid (\d+)\n", ready)
        assert match, f"no ready line but {ready!r}"
        self.port = int(match[3]) if port else None
        self.pid = int(match[4])
        self.connects = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def dial(self):
        self.connects += 1
        if self.port:
            return socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.path))
        return connection

    def load(self, **options):
        where = ["--port", str(self.port)] if self.port else ["--socket", str(self.path)]
        options = {"connections": 3, "seconds": 2, "rate": 600, "reconnect": 20, "forget": 40, **options}
        flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        run = subprocess.run([TARGETS / "lightning-load", *where, *flags], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stdout + run.stderr
        self.connects += int(re.search(r"connects (\d+)", run.stdout)[1])
        return run.stdout

    def quiet(self, client):
        """Waits until all sessions but `client`'s have come and gone: what they left behind is then in the account."""
        deadline = time.monotonic() + 20
        while True:
            stats = client.stats()
            if stats["sessions_opened"] == self.connects and stats["sessions_closed"] == self.connects - 1:
                return
            assert time.monotonic() < deadline, "sessions do not end"
            time.sleep(0.01)

    def end(self):
        """SIGTERM; the last account."""
        self.process.send_signal(signal.SIGTERM)
        text = self.process.stdout.read()
        assert self.process.wait(timeout=60) == 0
        return parse_truth(text)

    def anonymous_kib(self):
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as running:
        yield running


@pytest.fixture
def client(server):
    connected = Client(server)
    yield connected
    connected.close()


def put(client, key, value):
    return client.ask(f"PUT {key} {len(value)}\n{value}\n")


def get(client, key):
    answer = client.ask(f"GET {key}\n")
    if not answer.startswith("VALUE "):
        return answer
    size = int(answer.split()[1])
    return client.file.read(size + 1).decode()[:-1]


# ---- protocol


def test_values_come_back_and_go(client):
    assert put(client, "a", "one\ntwo") == "OK"
    assert get(client, "a") == "one\ntwo"
    assert put(client, "a", "") == "OK"
    assert get(client, "a") == ""
    assert client.ask("DEL a\n") == "OK"
    assert get(client, "a") == "NOTFOUND"


def test_large_value_passes_the_arena_and_the_cache(client):
    value = "v" * 65536
    assert put(client, "large", value) == "OK"
    assert get(client, "large") == value


def test_values_survive_eviction_and_restart(tmp_path):
    with Server(tmp_path, "--cache-bytes", "2000") as running:
        client = Client(running)
        for i in range(100):
            assert put(client, f"k{i}", f"value {i} " * 10) == "OK"
        stats = client.stats()
        assert stats["cache_evictions"] > 80 and stats["cache_bytes"] <= 2000
        running.end()
    with Server(tmp_path) as running:
        client = Client(running)
        assert all(get(client, f"k{i}") == f"value {i} " * 10 for i in range(100))


def read_batch(client, cursor, rows):
    words = client.ask(f"SCAN NEXT {cursor} {rows}\n").split()
    assert words[0] == "ROWS"
    data = client.file.read(int(words[2])).decode()
    keys = [line.split()[0] for line in data.splitlines()[::2]]
    assert len(keys) == int(words[1])
    return keys, words[3] == "done"


def test_scan_yields_every_row_in_order(client):
    for i in range(50):
        put(client, f"k{i:02}", "x" * 100)
    assert client.ask("SCAN OPEN - 1000\n") == "CURSOR 1"
    put(client, "k99", "came later: not in the cursor's view")
    keys, done = [], False
    while not done:
        batch, done = read_batch(client, 1, 100)
        assert 0 < len(batch) <= 1000 // 100
        keys += batch
    assert keys == [f"k{i:02}" for i in range(50)]
    assert client.ask("SCAN CLOSE 1\n") == "OK"
    assert client.ask("SCAN OPEN k47\n") == "CURSOR 2"
    assert read_batch(client, 2, 2) == (["k47", "k48"], False)


def test_a_scan_has_a_plan_that_rows_pass(client):
    put(client, "a", "1")
    put(client, "b", "2")
    client.ask("SCAN OPEN -\n")
    read_batch(client, 1, 1)
    assert client.block("SCAN PLAN 1") == "\n".join(f"step {step} 1" for step in ("limit", "encode", "filter", "merge", "seek"))
    assert client.ask("SCAN PLAN 2\n") == "ERR cursor no such cursor"


def test_row_larger_than_the_buffer_is_said_and_not_skipped(client):
    put(client, "big", "x" * 2000)
    client.ask("SCAN OPEN - 512\n")
    assert client.ask("SCAN NEXT 1 10\n") == "ERR buffer the next row takes 2010 bytes"
    assert client.ask("SCAN NEXT 1 10\n") == "ERR buffer the next row takes 2010 bytes"


def test_cursors_of_a_session_are_bounded(client):
    answers = [client.ask("SCAN OPEN -\n") for _ in range(65)]
    assert answers[63] == "CURSOR 64" and answers[64].startswith("ERR limit")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\n", b"NOPE\n", b"GET\n", b"GET a b\n", b"GET  a\n", b"GET " + b"k" * 256 + b"\n", b"GET \x00\n", b"DEL \xff\n",
        b"PUT a\n", b"PUT a x\n", b"PUT a -1\n", b"PUT a 99999999999999999999999\n", b"PUT a 3\nabcd\n",
        b"PUT " + b"k" * 256 + b" 3\nabc\n", b"PUT a 65537\n" + b"x" * 65538, b"SCAN\n", b"SCAN OPEN\n", b"SCAN OPEN - 511\n",
        b"SCAN OPEN - 262145\n", b"SCAN NEXT 7 1\n", b"SCAN NEXT 7 0\n", b"SCAN CLOSE 7\n", b"SCAN CLOSE x\n", b"BUG\n",
        b"BUG ON\n", b"BUG ON nothing\n", b"BUG MAYBE connection\n", b"LEAKS now\n", b"z" * 5000 + b"\n",
    ],
)
def test_malformed_request_is_an_error_and_the_session_goes_on(client, request_bytes):
    before = client.stats()["rejected"]
    assert client.ask(request_bytes).startswith("ERR ")
    assert client.ask("PING\n") == "PONG"
    assert client.stats()["rejected"] == before + 1
    assert client.truth()["total"] == (0, 0)


def test_garbage_and_broken_connections_do_not_kill_the_server(server, client):
    dice = random.Random(7)
    verbs = [b"PUT a 40\n", b"SCAN OPEN -\n", b"GET a\n", b"SCAN NEXT 1 9\n"]
    for _ in range(200):
        noise = b"".join(dice.choice([*verbs, dice.randbytes(dice.randrange(1, 60)), b"\n"]) for _ in range(12))
        broken = Client(server)
        broken.send(noise)
        broken.close()
    server.quiet(client)
    assert client.ask("PING\n") == "PONG"
    truth = client.truth()
    assert truth["total"] == (0, 0)
    assert truth["live"]["cursor-buffer"] == truth["live"]["error-path"] == (0, 0)
    assert truth["live"]["connection"] == (ARENA_BYTES, 1)


def test_loopback_tcp_serves_too(tmp_path):
    with Server(tmp_path, port=True) as running:
        client = Client(running)
        assert client.ask("PING\n") == "PONG"
        assert " 0 errors" in running.load(seconds=1)


@pytest.mark.parametrize("options", [[], ["--db", "x"], ["--db", "x", "--port", "70000"], ["--db", "x", "--socket", "s", "--bug", "b"]])
def test_bad_usage_is_status_2(tmp_path, options):
    run = subprocess.run([TARGETS / "lightningd", *options], capture_output=True, text=True, timeout=20, cwd=tmp_path)
    assert run.returncode == 2 and run.stderr.startswith("lightningd: ")


def test_load_without_a_server_fails(tmp_path):
    command = [TARGETS / "lightning-load", "--socket", tmp_path / "none", "--seconds", "1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert run.returncode == 1 and "cannot connect" in run.stderr


def test_load_keeps_its_rate_and_its_time(server):
    start = time.monotonic()
    answer = server.load(seconds=2, rate=300)
    assert time.monotonic() - start < 10
    assert 500 <= int(re.search(r"ops (\d+) in", answer)[1]) <= 620


# ---- the bugs and the account, by hand


def test_cursor_buffer_is_lost_on_close_and_on_disconnect(server, client):
    client.ask("BUG ON cursor-buffer\n")
    client.ask("SCAN OPEN - 1000\n")
    assert client.truth()["leak"]["cursor-buffer"] == (0, 0)  # open: live, not lost
    assert client.truth()["live"]["cursor-buffer"] == (1000, 1)
    client.ask("SCAN CLOSE 1\n")
    assert client.truth()["leak"]["cursor-buffer"] == (1000, 1)
    other = Client(server)
    other.ask("SCAN OPEN - 700\n")
    other.ask("SCAN OPEN - 600\n")
    other.close()
    server.quiet(client)
    assert client.truth()["leak"]["cursor-buffer"] == client.truth()["live"]["cursor-buffer"] == (2300, 3)


def test_error_path_loses_the_value_that_was_read(server, client):
    client.ask("BUG ON error-path\n")
    assert put(client, "a", "12345") == "OK"
    assert client.truth()["total"] == (0, 0)
    assert client.ask("PUT a 5\n123456\n").startswith("ERR length")
    assert client.ask(f"PUT {'k' * 256} 9\n123456789\n").startswith("ERR key")
    broken = Client(server)
    broken.send("PUT a 99\nhalf of it")
    broken.close()
    server.quiet(client)
    assert client.truth()["leak"]["error-path"] == client.truth()["live"]["error-path"] == (6 + 10 + 100, 3)


def test_connection_loses_its_arena_on_disconnect(server, client):
    client.ask("BUG ON connection\n")
    for ending in ("QUIT\n", "GET a\n", "PUT a 5\n1"):
        other = Client(server)
        other.send(ending)
        other.close()
    server.quiet(client)
    truth = client.truth()
    assert truth["leak"]["connection"] == (3 * ARENA_BYTES, 3)
    assert truth["live"]["connection"] == (4 * ARENA_BYTES, 4)  # with the asking session's own


def test_unbounded_cache_owes_exactly_what_exceeds_its_bound(tmp_path):
    with Server(tmp_path, "--cache-bytes", "4000", "--bug", "cache-unbounded") as running:
        client = Client(running)
        for i in range(10):
            put(client, f"k{i}", "x" * 1000)
        truth = client.truth()
        entry = truth["live"]["cache-unbounded"][0] // 10
        assert 1000 < entry < 1100 and truth["live"]["cache-unbounded"] == (10 * entry, 10)
        assert truth["leak"]["cache-unbounded"] == (7 * entry, 7)  # three fit
        assert get(client, "k0") == "x" * 1000  # an overdue entry is used again, another takes its place
        assert client.stats()["cache_hits"] == 1
        assert client.truth()["leak"]["cache-unbounded"] == (7 * entry, 7)
        client.ask("DEL k1\n")
        assert client.truth()["leak"]["cache-unbounded"] == (6 * entry, 6)
        client.ask("BUG OFF cache-unbounded\n")
        get(client, "k9")
        assert client.truth()["leak"]["cache-unbounded"] == (0, 0)
        assert client.truth()["live"]["cache-unbounded"] == (3 * entry, 3)


def test_switched_off_a_bug_loses_no_more(client):
    for switch, lost in (("ON", (600, 1)), ("OFF", (600, 1)), ("ON", (1200, 2))):
        assert client.ask(f"BUG {switch} cursor-buffer\n") == "OK"
        cursor = client.ask("SCAN OPEN - 600\n").split()[1]
        client.ask(f"SCAN CLOSE {cursor}\n")
        assert client.truth()["leak"]["cursor-buffer"] == lost


def test_bug_list_names_every_bug_and_its_state(client):
    client.ask("BUG ON connection\n")
    states = {line.split()[1]: tuple(line.split()[2:4]) for line in client.block("BUG LIST").splitlines()}
    assert {bug: states[bug][1] for bug in FUNCTIONS} == FUNCTIONS
    assert {bug for bug, (state, _) in states.items() if state == "on"} == {"connection"}


def test_sigusr1_prints_the_account(server, client):
    client.ask("BUG ON cursor-buffer\n")
    client.ask("SCAN OPEN - 800\n")
    client.ask("SCAN CLOSE 1\n")
    server.process.send_signal(signal.SIGUSR1)
    lines = [server.process.stdout.readline() for _ in range(2 * len(FUNCTIONS) + 1)]
    assert parse_truth("".join(lines))["leak"]["cursor-buffer"] == (800, 1)
    assert client.ask("PING\n") == "PONG"


# ---- under load


def test_under_load_without_bugs_nothing_is_lost_and_memory_is_flat(server, client):
    settled = None
    for _ in range(4):
        server.load(seconds=2.5, rate=0, keys=5000, reconnect=100)
        server.quiet(client)
        assert client.truth()["total"] == (0, 0)
        if settled is None:
            settled = server.anonymous_kib()
    assert client.stats()["cache_evictions"] > 1000
    # Tens of thousands of requests later: less than the connections' arenas alone would have come to.
    assert server.anonymous_kib() < settled + 3000
    assert server.end()["live"] == {bug: (0, 0) for bug in FUNCTIONS}


@pytest.mark.parametrize("bug", FUNCTIONS)
def test_under_load_the_account_grows_for_the_bug_that_is_on_and_no_other(tmp_path, bug):
    with Server(tmp_path, "--bug", bug, "--cache-bytes", "50000") as running:
        client = Client(running)
        sizes = [0]
        for seed in (1, 2):
            running.load(seconds=1.5, seed=seed, mix="get=40,put=30,delete=5,scan=15,bad=10")
            running.quiet(client)
            truth = client.truth()
            assert all(truth["leak"][other] == (0, 0) for other in FUNCTIONS if other != bug)
            sizes.append(truth["leak"][bug][0])
        assert 0 < sizes[1] < sizes[2]
        client.close()
        last = running.end()
        assert last["leak"][bug][0] >= sizes[2]
        assert last["live"] == {**{other: (0, 0) for other in FUNCTIONS}, bug: last["leak"][bug]}


# ---- against Valgrind


def valgrind_leaks(report):
    """(kind, direct caller of the allocator) -> (bytes, blocks), whatever is left at the end."""
    left = {}
    for error in ElementTree.parse(report).getroot().iter("error"):
        kind = error.findtext("kind")
        if kind and kind.startswith("Leak_"):
            frames = [frame.findtext("fn") or "?" for frame in error.find("stack").iter("frame")]
            assert len(frames) > 1
            size, count = left.get((kind, frames[1]), (0, 0))
            what = error.find("xwhat")
            left[kind, frames[1]] = (size + int(what.findtext("leakedbytes")), count + int(what.findtext("leakedblocks")))
    return left


def run_under_valgrind(directory, *options):
    """The server's last account, and what Valgrind found left."""
    report = directory / "valgrind.xml"
    prefix = ["valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=all", "--xml=yes", f"--xml-file={report}"]
    with Server(directory, "--cache-bytes", "20000", *options, prefix=prefix) as running:
        running.load(seconds=3, rate=250, keys=500, mix="get=40,put=30,delete=5,scan=15,bad=10")
        truth = running.end()
    return truth, valgrind_leaks(report)


def test_valgrind_finds_nothing_lost_without_bugs(tmp_path):
    truth, left = run_under_valgrind(tmp_path)
    assert truth["total"] == (0, 0)
    assert not [site for site in left if site[0] == "Leak_DefinitelyLost" or site[1] in FUNCTIONS.values()]


@pytest.mark.parametrize("bug", FUNCTIONS)
def test_valgrind_finds_what_the_account_says(tmp_path, bug):
    truth, left = run_under_valgrind(tmp_path, "--bug", bug)
    assert truth["total"] > (0, 0)
    # A stale word on a stack may make a lost block look reachable to Valgrind: every kind counts.
    found = Counter()
    for (_, function), (size, count) in left.items():
        found.update({(function, "bytes"): size, (function, "count"): count})
    for name, function in FUNCTIONS.items():
        assert (found[function, "bytes"], found[function, "count"]) == truth["leak"][name]
    kinds = {kind for kind, function in left if function == FUNCTIONS[bug]}
    if bug == "cache-unbounded":
        assert kinds == {"Leak_StillReachable"}  # it has grown, it is not lost
    else:
        assert "Leak_DefinitelyLost" in kinds


# ---- the demo's comparison of snapshots with the account


def write_demo_input(directory, seen, named="cursor_buffer_create(unsigned long)", leaks=True):
    """An account that grows by 1000 bytes/s, and two snapshots ten seconds apart that saw `seen` bytes of growth."""
    lines = []
    for tenth in range(0, 200, 2):
        grown = 100 * tenth
        lines.append(f"at {tenth / 10}")
        lines.append(f"leak cursor-buffer cursor_buffer_create {grown if leaks else 0} 1")
        lines.append(f"live cursor-buffer cursor_buffer_create {grown + 50} 1")
    (directory / "truth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for second, live in ((5, 700), (15, 700 + seen)):
        stack = [{"function": named}, {"function": "main"}]
        steady = {"id": "b", "live_bytes": 10**9, "stack": [{"function": "steady"}]}
        sites = [steady, {"id": "a", "live_bytes": live, "stack": stack}]
        text = json.dumps({"time": f"1970-01-01T00:00:{second:02}.000Z", "sites": sites})
        (directory / f"{second}.json").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    "case, status, word",
    [
        ({"seen": 10000}, 0, "FOUND"),
        ({"seen": 10900}, 0, "FOUND"),  # within what half a second to either side explains
        ({"seen": 13000}, 1, "WRONG FIGURES"),
        ({"seen": 8000}, 1, "WRONG FIGURES"),
        ({"seen": 10000, "named": "somebody_else"}, 1, "MISSED"),
        ({"seen": 0}, 1, "MISSED"),
        ({"seen": 10000, "leaks": False}, 2, "nothing to compare"),
    ],
)
def test_verdict_of_the_demo(tmp_path, case, status, word):
    write_demo_input(tmp_path, **case)
    command = ["/usr/bin/python3", ROOT / "tests/targets/lightning/demo.py", "verdict", tmp_path, tmp_path / "truth"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert run.returncode == status and word in run.stdout.splitlines()[-1], run.stdout + run.stderr


def test_verdict_wants_two_snapshots(tmp_path):
    write_demo_input(tmp_path, seen=10000)
    (tmp_path / "5.json").unlink()
    command = ["/usr/bin/python3", ROOT / "tests/targets/lightning/demo.py", "verdict", tmp_path, tmp_path / "truth"]
    assert subprocess.run(command, capture_output=True, text=True, timeout=20).returncode == 2
    assert subprocess.run([*command[:2], "last", tmp_path], capture_output=True, text=True).stdout == f"{tmp_path}/15.json\n"


@pytest.mark.parametrize("options", [["--seconds", "5"], ["--rate", "0"], ["--bugs"], ["--what"]])
def test_demo_turns_down_bad_options(options):
    run = subprocess.run([ROOT / "scripts/run-demo.sh", *options], capture_output=True, text=True, timeout=20)
    assert run.returncode == 1 and run.stderr.startswith("run-demo: ") and run.stderr.count("\n") == 1
