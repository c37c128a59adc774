"""memtrace on the demo database: its figures against the database's own account, and the demo as a user runs it."""

import json
import signal
import subprocess
import time

import pytest

from test_lightning import FUNCTIONS, ROOT, Client, Server, programs  # noqa: F401  (programs builds the server)

MEMTRACE = ROOT / ".output" / "memtrace"


class Tracer:
    """memtrace attached to a process, from the end of the constructor until end()."""

    def __init__(self, pid, directory):
        self.directory = directory / "snapshots"
        self.directory.mkdir()
        options = ["--interval", "1s", "--snapshot-dir", self.directory, "--snapshot-format", "json", "--snapshot-interval", "1s"]
        self.log = open(directory / "memtrace.log", "w+", encoding="utf-8")
        command = [MEMTRACE, "--pid", str(pid), "--sample", "exact", *options]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 30
        while not list(self.directory.glob("*.json")):
            assert self.process.poll() is None and time.monotonic() < deadline, self.text()
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def end(self):
        """The last snapshot."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=30) == 0, self.text()
        snapshots = [json.loads(path.read_text(encoding="utf-8")) for path in self.directory.glob("*.json")]
        return max(snapshots, key=lambda snapshot: snapshot["time"])


def live_by_caller(snapshot):
    live = dict.fromkeys(FUNCTIONS.values(), (0, 0))
    for site in snapshot["sites"]:
        function = site["stack"][0]["function"].split("(")[0] if site["stack"] else ""
        if function in live:
            size, count = live[function]
            live[function] = (size + site["live_bytes"], count + site["live_objects"])
    return live


@pytest.mark.parametrize("bugs", [*FUNCTIONS, ",".join(FUNCTIONS), ""])
def test_attached_before_the_first_client_the_figures_are_exact(tmp_path, bugs):
    with Server(tmp_path, "--cache-bytes", "50000", "--bug", bugs) as server, Tracer(server.pid, tmp_path) as tracer:
        server.load(seconds=3, rate=800, keys=3000, mix="get=40,put=30,delete=5,scan=15,bad=10")
        client = Client(server)
        server.quiet(client)
        truth = client.truth()
        snapshot = tracer.end()
        assert client.truth() == truth and client.ask("PING\n") == "PONG"
    assert snapshot["coverage"]["mode"] == "exact" and not snapshot["coverage"]["lost"]
    assert live_by_caller(snapshot) == {FUNCTIONS[bug]: live for bug, live in truth["live"].items()}
    assert all(truth["leak"][bug] > (0, 0) for bug in FUNCTIONS if bug in bugs)


@pytest.mark.parametrize("bugs", ["cursor-buffer,connection", "cache-unbounded"])
def test_demo_finds_the_leak(bugs):
    # Built by `make test-root` before this: the demo's own `make` finds nothing to do.
    command = [ROOT / "scripts/run-demo.sh", "--no-install", "--seconds", "12", "--bugs", bugs]
    run = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    assert "verdict: FOUND" in run.stdout.splitlines()[-1]
