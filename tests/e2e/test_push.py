"""--push-profiles: what a store of profiles gets, in its own form, read by `go tool pprof`; and stores that are down, slow, or refuse."""

import base64
import gzip
import json
import re
import socket
import subprocess
import time
import urllib.parse
from contextlib import contextmanager

import pytest

from listening import Receiver, free_port, get, served_url, wait_until
from memtrace_runner import Memtrace
from targets import Target
from tracer import run_memtrace

KINDS = ("alloc_objects", "alloc_space", "inuse_objects", "inuse_space")
LEAK_RATE = 1 << 20  # bytes a second


def query_of(post):
    url = urllib.parse.urlsplit(post.path)
    return url.path, dict(urllib.parse.parse_qsl(url.query, strict_parsing=True, encoding="utf-8", errors="strict"))


def pyroscope_name(text):
    """Name and labels, by the rules of Pyroscope's parser: no quotes; ',' and '}' end a value."""
    name, labels = re.fullmatch(r"([A-Za-z0-9_./-]+)\{(.*)\}", text).groups()
    return name, dict(label.split("=", 1) for label in labels.split(","))


def totals(directory, pprof):
    """The sums of a profile's four kinds of values, as `go tool pprof` reads them."""
    path = directory / "pushed.pb.gz"
    path.write_bytes(pprof)
    raw = subprocess.run(["go", "tool", "pprof", "-raw", path], capture_output=True, check=True, text=True).stdout
    kinds = re.search(r"^Samples:\n(.*)$", raw, re.MULTILINE)[1]
    assert [kind.split("/")[0] for kind in kinds.replace("[dflt]", "").split()] == list(KINDS)
    samples = re.search(r"^Samples:\n.*\n((?:.*\n)*?)Locations$", raw, re.MULTILINE)[1]
    sums = [0] * len(KINDS)
    for line in samples.splitlines():
        if values := re.match(r"\s*(\d+(?:\s+\d+)*):", line):
            sums = [have + int(value) for have, value in zip(sums, values[1].split(), strict=True)]
        else:
            raise AssertionError(f"a label of a sample, which would be a series of its own: {line}")
    return dict(zip(KINDS, sums, strict=True)), raw


def of_report(report):
    sites = report["sites"]
    return {
        "alloc_objects": sum(site["allocs"] for site in sites),
        "alloc_space": sum(site["allocated_bytes"] for site in sites),
        "inuse_objects": sum(site["live_objects"] for site in sites),
        "inuse_space": sum(site["live_bytes"] for site in sites),
    }


@contextmanager
def pushing(directory, url, *options, target=("leak_rate", ["--rate", LEAK_RATE, "--duration", 600]), every="1s"):
    with Target.start(*target) as program:
        options = ("--push-profiles", url, "--push-interval", every, "--interval", "500ms", *options)
        with Memtrace.attach(directory, program.ready(), *options) as memtrace:
            program.go()
            yield program, memtrace


def test_pyroscope_gets_the_heap_and_what_was_allocated_since_the_profile_before(tmp_path):
    (tmp_path / "headers").write_text("Authorization: Bearer secret\n", encoding="utf-8")
    options = ("--push-header-file", tmp_path / "headers", "--push-label", "env=a,b}c", "--push-label", "zone=über west")
    with Receiver() as store, pushing(tmp_path, "pyroscope+" + store.url, *options) as (target, memtrace):
        wait_until(lambda: len(store.posts) >= 3, "three profiles")
        report = memtrace.stop()
    pushed = [totals(tmp_path, post.body)[0] for post in store.posts]
    said = of_report(report)
    for kind in ("inuse_objects", "inuse_space"):
        assert pushed[-1][kind] == said[kind]
    for kind in ("alloc_objects", "alloc_space"):
        assert sum(profile[kind] for profile in pushed) == said[kind]
    assert pushed[0]["inuse_space"] < pushed[-1]["inuse_space"]
    before = 0
    for post in store.posts:
        path, query = query_of(post)
        name, labels = pyroscope_name(query["name"])
        assert (path, name) == ("/ingest", "leak_rate")
        assert labels == {"env": "a_b_c", "host": socket.gethostname(), "pid": str(target.pid), "zone": "über west"}
        assert (query["format"], query["spyName"]) == ("pprof", "memtrace")
        begin, end = int(query["from"]), int(query["until"])
        assert before <= begin <= end <= time.time() and (before == 0 or begin == before)
        before = end
        assert post.headers["Authorization"] == "Bearer secret" and post.headers["Content-Type"] == "application/octet-stream"
        assert gzip.decompress(post.body)


def test_parca_gets_a_series_with_labels(tmp_path):
    with Receiver() as store, pushing(tmp_path, "parca+" + store.url + "/", "--push-label", "pid=", "--push-label", "service_name=db") as (_, memtrace):
        wait_until(lambda: len(store.posts) >= 2, "two profiles")
        report = memtrace.stop()
    for path, headers, body, _ in store.posts:
        assert path == "/api/profiles/writeraw" and headers["Content-Type"] == "application/json"
        (series,) = json.loads(body)["series"]
        labels = {label["name"]: label["value"] for label in series["labels"]["labels"]}
        assert labels == {"__name__": "memory", "host": socket.gethostname(), "service_name": "db"}
        (sample,) = series["samples"]
        sums, raw = totals(tmp_path, base64.b64decode(sample["rawProfile"], validate=True))
        assert "Duration" not in raw, "a profile with a duration is summed up over time"
    assert sums == of_report(report)
    assert "leak_" in raw


def test_each_process_is_pushed_and_one_that_has_ended_once_more(tmp_path):
    with Receiver() as store, Target.start("leak_rate", ["--rate", LEAK_RATE, "--duration", 600]) as one:
        with Target.start("leak_rate", ["--rate", LEAK_RATE, "--duration", 600]) as other:
            options = ("--push-profiles", "pyroscope+" + store.url, "--push-interval", "1s")
            with Memtrace.attach(tmp_path, [one.ready(), other.ready()], *options) as memtrace:
                one.go()
                other.go()

                def pushed(target):
                    names = [pyroscope_name(query_of(post)[1]["name"])[1] for post in store.posts]
                    return sum(labels["pid"] == str(target.pid) for labels in names)

                wait_until(lambda: pushed(one) and pushed(other), "a profile of each")
                other.close()
                count = pushed(one)
                wait_until(lambda: pushed(one) >= count + 3, "three more of the one")
                ended = pushed(other)
                wait_until(lambda: pushed(one) >= count + 5, "two more of the one")
                assert pushed(other) == ended
                memtrace.stop_all()


def test_a_store_that_is_down_gets_them_when_it_is_back(tmp_path):
    port = free_port()
    with pushing(tmp_path, f"pyroscope+http://127.0.0.1:{port}", "--listen", "127.0.0.1:0") as (_, memtrace):
        memtrace.wait_said("it is tried again")
        assert f"http://127.0.0.1:{port}/ingest: curl failed with status 7" in memtrace.said
        url = served_url(memtrace)
        wait_until(lambda: re.search(r"^memtrace_profile_push_failures_total [1-9]", get(url + "metrics")[2], re.MULTILINE), "a failure")
        report = memtrace.wait_report(lambda report: report["coverage"]["counters"].get("profile_push_failures"))
        memtrace.wait_report(lambda later: later["duration_s"] > report["duration_s"] + 1)
        with Receiver(port=port) as store:
            memtrace.wait_said("takes profiles again")
            wait_until(lambda: re.search(r"^memtrace_profiles_pushed_total [1-9]", get(url + "metrics")[2], re.MULTILINE), "a profile")
            last = memtrace.stop()
            sums = [totals(tmp_path, post.body)[0] for post in store.posts]
        assert sum(each["alloc_space"] for each in sums) == of_report(last)["alloc_space"], "none is lost"
        assert last["coverage"]["counters"]["profiles_lost"] == 0


def test_a_store_that_hangs_keeps_nobody(tmp_path):
    with Receiver(hold=True) as store, pushing(tmp_path, "pyroscope+" + store.url) as (_, memtrace):
        wait_until(lambda: store.posts, "an attempt")
        first = memtrace.wait_report(lambda report: True)
        memtrace.wait_report(lambda report: report["duration_s"] > first["duration_s"] + 3)
        memtrace.interrupt()
        wait_until(lambda: json.loads(memtrace.out.read_text())["process"]["state"] == "detached", "the last report")
        store.let_go.set()
        assert memtrace.finish() == 0


@pytest.mark.parametrize("status", [401, 500])
def test_what_fails_is_tried_again_in_its_order(tmp_path, status):
    with Receiver(lambda number: status if number < 2 else 200) as store, pushing(tmp_path, "pyroscope+" + store.url) as (_, memtrace):
        memtrace.wait_said(f"curl: (22) The requested URL returned error: {status}; it is tried again")
        memtrace.wait_said("takes profiles again")
        memtrace.stop()
    untils = [int(query_of(post)[1]["until"]) for post in store.taken()]
    assert untils == sorted(untils)
    assert store.posts[0].body == store.posts[1].body == store.posts[2].body


def test_what_a_store_refuses_is_dropped_and_counted(tmp_path):
    with Receiver(lambda number: 413 if number == 0 else 200) as store, pushing(tmp_path, "pyroscope+" + store.url) as (_, memtrace):
        memtrace.wait_said("returned error: 413; it is dropped")
        memtrace.wait_said("takes profiles again")
        report = memtrace.wait_report(lambda report: report["coverage"]["counters"].get("profiles_pushed"))
        assert report["coverage"]["counters"]["profiles_lost"] == 1
        memtrace.stop()
    assert store.posts[0].body != store.posts[1].body


def test_a_store_that_never_takes_one_loses_them_and_it_is_said(tmp_path):
    with Receiver(lambda _: 500) as store, pushing(tmp_path, "parca+" + store.url) as (_, memtrace):
        wait_until(lambda: len(store.posts) >= 2, "two attempts")
        memtrace.stop()
    assert re.search(r"/api/profiles/writeraw: [1-9]\d* profiles are lost: it did not take them", memtrace.said)


@pytest.mark.parametrize(
    "options, said",
    [
        (["--push-profiles", "http://127.0.0.1:4040"], "does not say what is there"),
        (["--push-profiles", "pyroscope+ftp://h"], "is no address"),
        (["--push-profiles", "parca+http://h/?a=b"], "has a query"),
        (["--push-label", "a=b"], "go with --push-profiles"),
        (["--push-profiles", "parca+http://h", "--push-label", "1a=b"], "is no label"),
        (["--push-profiles", "parca+http://h", "--push-interval", "0.1s"], "at least 1s"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    run = run_memtrace("--pid", 1, *options)
    assert run.status == 2 and said in run.error()


def test_a_header_file_that_is_not_there_is_told_before_anything_is_attached(tmp_path):
    with Target.start("leak_rate", ["--rate", 10, "--duration", 600]) as target:
        run = run_memtrace("--pid", target.ready(), "--push-profiles", "parca+http://127.0.0.1:1", "--push-header-file", tmp_path / "none")
        assert run.status == 1 and "--push-header-file: cannot open" in run.error()
