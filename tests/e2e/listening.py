"""Asks a memtrace that listens, and the servers that ask it."""

import contextlib
import re
import socket
import urllib.error
import urllib.request

import tracer


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
    """tracer.wait_until, where condition() asks a server that may not listen yet."""

    def found():
        with contextlib.suppress(OSError):
            return condition()
        return None

    return tracer.wait_until(found, what)


def served_url(memtrace):
    memtrace.wait_said("serving metrics")
    return re.search(r"https?://\S+/", memtrace.said)[0]
