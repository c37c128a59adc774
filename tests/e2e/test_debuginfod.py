"""Debug files from servers (--debuginfod): a real one, from Debian's package, and some that fail in every way there is. Whatever a
server does, the report comes, in time; and without the option nobody is asked."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from elsewhere import build_id_of, expect_names, expect_no_names, trace_elsewhere
from memtrace_runner import MEMTRACE, Memtrace, wait_for_report
from targets import TARGETS, Target
from tracer import run_memtrace, wait_until


@pytest.fixture(scope="module", name="elsewhere")
def traced_elsewhere(tmp_path_factory):
    return trace_elsewhere(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(name="env")
def environment(tmp_path):
    """Nothing in the cache, no server but those that a test names."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DEBUGINFOD_")}
    return {**inherited, "DEBUGINFOD_CACHE_PATH": str(tmp_path / "cache")}


def debug_file(directory):
    """The debug information of tests/targets/inlined, split off."""
    path = directory / "inlined.debug"
    subprocess.run(["objcopy", "--only-keep-debug", TARGETS / "inlined", path], check=True)
    return path


@contextlib.contextmanager
def running(program):
    """The target stripped, as `program`, after its truth: it lives, and leaks no more."""
    subprocess.run(["strip", "-o", program, TARGETS / "inlined"], check=True)
    with Target.start(program) as target:
        yield target


class Server:
    """Answers every request by answer(handler), in a thread of its own, and keeps their paths."""

    def __init__(self, answer):
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.over = threading.Event()  # for answers that wait
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.http.shutdown()
        self.http.server_close()


def send(handler, content, **headers):
    handler.send_response(200)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def report_of(elsewhere, env, server, *options):
    """The site's stack, what was said, how long it took."""
    begin = time.monotonic()
    stack, said = elsewhere.stack(f"--debuginfod={server.url}", *options, env=env)
    return stack, said, time.monotonic() - begin


def launch(directory, env, *options):
    """A running memtrace with that environment, once it follows."""
    out = directory / "report.json"
    background = "--ignore-signal=INT"  # as a shell starts what it runs in the background: it must end by SIGINT all the same
    command = ["env", background, "-i", *(f"{name}={value}" for name, value in env.items()), MEMTRACE, "--sample", "exact", "--output", "json",
               "--out", out, *options]
    return Memtrace(command, out).following()


def stack_of(report):
    return [site["stack"] for site in report["sites"] if site["live_objects"]][0]


# ---- a server as there are


@dataclass
class Real:
    url: str
    log: Path
    process: subprocess.Popen = field(repr=False)


@pytest.fixture(scope="module", name="real")
def real_server(tmp_path_factory):
    """debuginfod, with the debug file of a target to serve."""
    directory = tmp_path_factory.mktemp("debuginfod")
    files = directory / "files"
    files.mkdir()
    debug_file(files)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = directory / "log"
    env = {name: value for name, value in os.environ.items() if name != "DEBUGINFOD_URLS"}
    with open(log, "w", encoding="utf-8") as out:
        command = ["/usr/bin/debuginfod", "-v", "-F", "-p", str(port), "-d", directory / "index.sqlite", "-t", "0", files]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
    try:
        url = f"http://127.0.0.1:{port}"
        address = f"{url}/buildid/{build_id_of(TARGETS / 'inlined')}/debuginfo"

        def serves():
            assert process.poll() is None, log.read_text(encoding="utf-8")
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                return urllib.request.urlopen(address, timeout=5).status == 200
            return False

        wait_until(serves, lambda: log.read_text(encoding="utf-8"))
        yield Real(url, log, process)
    finally:
        process.terminate()
        process.wait(30)


def test_names_from_a_server_in_the_last_report(real, env, tmp_path):
    with running(tmp_path / "shelf") as target:
        command = ["--pid", target.ready(), f"--debuginfod={real.url}"]
        with launch(tmp_path, env, *command) as memtrace:
            target.go()
            target.truth()
            report = memtrace.stop()
    expect_names(stack_of(report))


def test_servers_of_the_environment(real, env, tmp_path):
    """And a file that has come is in the reports that follow, not only in the last one."""
    with running(tmp_path / "shelf") as target:
        options = ["--pid", target.ready(), "--debuginfod", "--interval", "200ms"]
        with launch(tmp_path, {**env, "DEBUGINFOD_URLS": real.url}, *options) as memtrace:
            target.go()
            target.truth()
            report = memtrace.wait_report(lambda report: any(stack[0]["inlined"] for stack in map(lambda s: s["stack"], report["sites"])))
            assert memtrace.process.poll() is None
            expect_names(stack_of(report))
            memtrace.stop()


def test_names_of_a_snapshot_and_of_a_recording(real, env, elsewhere):
    stack, said, _ = report_of(elsewhere, env, real)
    expect_names(stack)
    assert said == ""
    run = run_memtrace("replay", elsewhere.recording, "--output", "json", f"--debuginfod={real.url}", env=env)
    expect_names(stack_of(run.reports()[0]))


def test_a_file_that_came_once_is_not_asked_for_again(real, env, elsewhere):
    report_of(elsewhere, env, real)
    with Server(lambda handler: handler.send_error(500)) as server:
        stack, said, _ = report_of(elsewhere, env, server)
        expect_names(stack)
        assert elsewhere.build_id not in "".join(server.asked) and "inlined" not in said


# ---- nobody asked


def test_without_the_option_nobody_is_asked(env, elsewhere, tmp_path):
    with Server(lambda handler: handler.send_error(404)) as server:
        env["DEBUGINFOD_URLS"] = server.url
        expect_no_names(elsewhere.stack(env=env)[0])
        expect_no_names(elsewhere.stack("--symbols", tmp_path, env=env)[0])
        with running(tmp_path / "shelf") as target, launch(tmp_path, env, "--pid", target.ready()) as memtrace:
            target.go()
            target.truth()
            libraries = Path(f"/proc/{memtrace.process.pid}/maps").read_text(encoding="utf-8")
            expect_no_names(stack_of(memtrace.stop()))
        assert "debuginfod" not in libraries and "libcurl" not in libraries
        assert server.asked == []


def test_the_option_without_a_server(env):
    run = run_memtrace("--pid", os.getpid(), "--debuginfod", env=env)
    assert run.status == 2 and "DEBUGINFOD_URLS names no server" in run.err
    run = run_memtrace("--pid", os.getpid(), "--debuginfod=example", env=env)
    assert run.status == 2 and "no URL of a server" in run.err


# ---- servers that fail


def test_a_server_that_does_not_have_it(env, elsewhere):
    with Server(lambda handler: handler.send_error(404)) as server:
        stack, said, took = report_of(elsewhere, env, server)
        assert f"/buildid/{elsewhere.build_id}/debuginfo" in server.asked
    expect_no_names(stack)
    assert said == "" and took < 10


def test_a_server_that_is_not_there(env, elsewhere):
    with Server(None) as server:
        pass
    stack, said, _ = report_of(elsewhere, env, server)
    expect_no_names(stack)
    assert f"memtrace: no debug file for {elsewhere.module} from debuginfod: " in said


def hang(handler):
    time.sleep(60)


def trickle(handler):
    """A byte now and then: alive, and never done."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(600):
        handler.wfile.write(b"x")
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [hang, trickle])
def test_a_server_that_takes_too_long(env, elsewhere, answer):
    with Server(answer) as server:
        stack, said, took = report_of(elsewhere, env, server, "--debuginfod-timeout", "2s")
    expect_no_names(stack)
    assert f"no debug file for {elsewhere.module} from debuginfod: it takes too long" in said
    # Two modules have a build-id and no debug file here: the program, and libc unless its package of debug files is installed.
    assert 1.9 < took < 2 * (2 + 3) + 5


def test_tracing_goes_on_while_a_server_hangs(env, tmp_path):
    with running(tmp_path / "shelf") as target, Server(hang) as server:
        options = ["--pid", target.ready(), f"--debuginfod={server.url}", "--debuginfod-timeout", "20s", "--interval", "200ms"]
        with launch(tmp_path, env, *options) as memtrace:
            target.go()
            target.truth()
            wait_until(lambda: server.asked, "a request")
            begin = time.monotonic()
            times = {wait_for_report(memtrace.out, lambda report: True, memtrace.process)["time"]}
            while len(times) < 6:
                times.add(memtrace.wait_report(lambda report: report["time"] not in times, timeout=5)["time"])
            assert time.monotonic() - begin < 8, "five reports at 200 ms each, while the server is silent"
            memtrace.interrupt()
            memtrace.wait_said("waiting for debug files")
            memtrace.interrupt()  # a second one leaves at once
            assert memtrace.finish(timeout=5) == -signal.SIGINT


def test_the_last_report_waits_so_long_and_no_longer(env, tmp_path):
    with running(tmp_path / "shelf") as target, Server(hang) as server:
        options = ["--pid", target.ready(), f"--debuginfod={server.url}", "--debuginfod-timeout", "2s"]
        with launch(tmp_path, env, *options) as memtrace:
            target.go()
            target.truth()
            begin = time.monotonic()
            report = memtrace.stop()
            assert time.monotonic() - begin < 2 + 5
    expect_no_names(stack_of(report))
    assert report["totals"]["live_objects"] == 10


def endless(handler):
    """Says no size, and does not end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 20))


def announced(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 40))
    handler.send_header("X-DEBUGINFOD-SIZE", str(1 << 40))
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(bytes(1 << 20))


@pytest.mark.parametrize("answer, limit", [(announced, None), (endless, 8 << 20), (announced, 8 << 20)])
def test_a_file_that_is_too_large(env, elsewhere, tmp_path, answer, limit):
    """A terabyte is over our own limit; what has no size in front is stopped at the user's, which is lower."""
    if limit:
        env["DEBUGINFOD_MAXSIZE"] = str(limit)
    with Server(answer) as server:
        stack, said, _ = report_of(elsewhere, env, server, "--debuginfod-timeout", "20s")
    expect_no_names(stack)
    assert f"no debug file for {elsewhere.module} from debuginfod: it is larger than {limit or 1 << 30} bytes" in said
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert kept < 64 << 20


def test_another_builds_file(env, elsewhere):
    content = (TARGETS / "deep_stack").read_bytes()
    with Server(lambda handler: send(handler, content)) as server:
        stack, said, _ = report_of(elsewhere, env, server)
    expect_no_names(stack)
    assert f"no debug file for {elsewhere.module} from debuginfod: what came is none, or of another build" in said


def test_garbage(env, elsewhere, tmp_path):
    with Server(lambda handler: send(handler, b"\x7fELF" + bytes(range(256)) * 100)) as server:
        stack, said, _ = report_of(elsewhere, env, server)
        assert "what came is none, or of another build" in said
        expect_no_names(stack)
        with running(tmp_path / "shelf") as target:
            live = {**env, "DEBUGINFOD_CACHE_PATH": str(tmp_path / "another")}
            with launch(tmp_path, live, "--pid", target.ready(), f"--debuginfod={server.url}") as memtrace:
                target.go()
                target.truth()
                expect_no_names(stack_of(memtrace.stop()))
                assert "what came is none, or of another build" in memtrace.said


# ---- the process that asks


def helpers(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [int(child) for child in children if Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip() == "memtrace-names"]


def test_its_end_is_not_the_tracers(env, tmp_path):
    with running(tmp_path / "shelf") as target, Server(hang) as server:
        with launch(tmp_path, env, "--pid", target.ready(), f"--debuginfod={server.url}", "--interval", "200ms") as memtrace:
            helper, = helpers(memtrace.process.pid)
            target.go()
            target.truth()
            wait_until(lambda: server.asked, "a request")
            os.kill(helper, signal.SIGKILL)
            memtrace.wait_said("the helper for debuginfod has ended")
            report = memtrace.stop(timeout=10)
    assert report["totals"]["live_objects"] == 10


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_the_tracer_and_holds_nothing_of_it(env, tmp_path, how):
    with running(tmp_path / "shelf") as target, Server(hang) as server:
        options = ["--pid", target.ready(), f"--debuginfod={server.url}", "--debuginfod-timeout", "1s"]
        with launch(tmp_path, env, *options) as memtrace:
            helper, = helpers(memtrace.process.pid)
            held = [os.readlink(path) for path in Path(f"/proc/{helper}/fd").iterdir()]
            assert not [name for name in held if "bpf" in name or "perf" in name or "pidfd" in name], held
            memtrace.process.send_signal(how)
            memtrace.finish(timeout=30)
        wait_until(lambda: not Path(f"/proc/{helper}").exists(), "the helper to end")
