"""Asks a memtrace that listens, and the servers that ask it; receives what it sends."""

import contextlib
import re
import socket
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

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


class Post(NamedTuple):
    path: str
    headers: dict
    body: bytes
    status: int  # of the answer


class Receiver:
    """An HTTP server that keeps what is posted to it. `answer(n)`: the status of the n-th answer, from 0; hold: no answer until let go."""

    def __init__(self, answer=lambda number: 200, hold=False, port=0):
        posts = self.posts = []
        let_go = self.let_go = threading.Event()
        if not hold:
            let_go.set()
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    status = answer(len(posts))
                    posts.append(Post(self.path, dict(self.headers), body, status))
                let_go.wait(60)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def taken(self):
        return [post for post in self.posts if post.status == 200]
