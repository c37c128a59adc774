"""Asks a memtrace that listens, and the servers that ask it."""

import re
import socket
import time
import urllib.error
import urllib.request

PATIENCE_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url, token=None, context=None, timeout=20):
    """Status, headers and text of what is answered."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def wait_until(condition, what):
    """Waits until condition() is true of something. Returns that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if found := condition():
                return found
        except OSError:
            pass  # a server that does not listen yet
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.1)


def served_url(memtrace):
    memtrace.wait_said("serving metrics")
    return re.search(r"https?://\S+/", memtrace.said)[0]
