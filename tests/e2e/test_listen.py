"""Who may read what memtrace serves (--listen), and that readers who hang cost it little."""

import socket
import ssl
import subprocess
import urllib.parse
from contextlib import ExitStack
from datetime import datetime, timezone

import pytest

from listening import get, served_url, wait_until
from memtrace_runner import MEMTRACE, PATIENCE_S, Memtrace
from targets import Target

TOKEN = "0123456789abcdefghij"


def test_clients_that_hang_hold_nothing_up(tmp_path):
    """More of them than there are connections: some that say nothing, some that break off, some that do not read."""
    with ExitStack() as stack:
        target = stack.enter_context(Target.start("spin"))
        memtrace = stack.enter_context(Memtrace.attach(tmp_path, target.ready(), "--listen", "127.0.0.1:0", "--interval", "500ms"))
        url = served_url(memtrace)
        place = urllib.parse.urlsplit(url)
        for number in range(60):
            client = stack.enter_context(socket.create_connection((place.hostname, place.port)))
            beginning = [b"", b"GET /metrics HTTP/1.1\r\nHo", b"GET /api/report HTTP/1.1\r\nHost: localhost\r\n\r\n"][number % 3]
            client.sendall(beginning)
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        memtrace.wait_report(lambda report: report["time"] > now)
        wait_until(lambda: get(url + "healthz", timeout=2)[0] == 200, "an answer beside clients that hang")


def memtrace_that_fails(*options):
    with Target.start("spin") as target:
        done = subprocess.run(
            [MEMTRACE, "--pid", str(target.ready()), *map(str, options)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.stdout == ""
        return done.returncode, done.stderr


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """A token, a certificate for localhost, and its key."""
    directory = tmp_path_factory.mktemp("secrets")
    token, certificate, key = directory / "token", directory / "cert.pem", directory / "key.pem"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    return token, certificate, key


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_other_machines_take_a_token_and_tls(tmp_path, secrets):
    token, certificate, key = secrets
    options = ["--listen", "0.0.0.0:0", "--listen-token-file", token, "--listen-tls", f"{certificate},{key}", "--interval", "1s"]
    with Target.start("spin") as target, Memtrace.attach(tmp_path, target.ready(), *options) as memtrace:
        port = urllib.parse.urlsplit(served_url(memtrace)).port
        url = f"https://localhost:{port}/metrics"
        context = ssl.create_default_context(cafile=certificate)
        assert get(url, context=context)[0] == 401
        assert get(url, token=TOKEN[:-1] + "x", context=context)[0] == 401
        status, _, text = get(url, token=TOKEN, context=context)
        assert status == 200 and "memtrace_build_info" in text
        with pytest.raises(OSError):
            get(f"http://localhost:{port}/metrics", token=TOKEN, timeout=5)
        old = ssl.create_default_context(cafile=certificate)
        old.set_ciphers("DEFAULT:@SECLEVEL=0")  # else this side would refuse already
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError):
            get(url, token=TOKEN, context=old)


def test_ipv6(tmp_path):
    with Target.start("spin") as target:
        with Memtrace.attach(tmp_path, target.ready(), "--listen", "[::1]:0") as memtrace:
            url = served_url(memtrace)
            assert url.startswith("http://[::1]:")
            assert get(url + "healthz")[0] == 200


def test_bad_secrets_are_told_in_a_line(tmp_path, secrets):
    token, certificate, key = secrets
    readable = tmp_path / "readable"
    readable.write_text(TOKEN)
    readable.chmod(0o644)
    listen = ["--listen", "127.0.0.1:0"]
    for options, reason in (
        (["--listen-token-file", readable], "chmod o="),
        (["--listen-token-file", tmp_path / "none"], "No such file"),
        (["--listen-tls", f"{certificate},{readable}"], "chmod o="),
        (["--listen-tls", f"{key},{key}"], "certificate and key"),
        (["--listen-tls", f"{certificate},{token}"], "certificate and key"),
    ):
        status, said = memtrace_that_fails(*listen, *options)
        assert status == 1 and reason in said and said.count("\n") == 1, said


def test_a_port_that_is_taken_is_told_in_a_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, said = memtrace_that_fails("--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        assert status == 1 and "cannot listen on" in said and said.count("\n") == 1, said
