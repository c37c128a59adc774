"""The snapshot directory: what is in it, that every format says the same, and that no end of memtrace costs an earlier snapshot."""

import gzip
import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from memtrace_runner import MEMTRACE
from targets import Target
from tracer import Tracer, run_memtrace, wait_until

ALL_FORMATS = {"json": "json", "pprof": "pb.gz", "folded": "folded", "text": "txt"}
NAME = re.compile(r"memtrace-(\d+)-(\d{8}T\d{6}\.\d{3}Z(?:_\d{3})?)\.(json|pb\.gz|folded|txt)")


def moments(directory, pid=None):
    """{stem: {ending: path}} of the snapshots in a directory, oldest first, of one process or all."""
    found = {}
    for path in sorted(Path(directory).iterdir()):
        match = NAME.fullmatch(path.name)
        if match and pid in (None, int(match[1])):
            found.setdefault(f"memtrace-{match[1]}-{match[2]}", {})[match[3]] = path
    return found


def complete_moments(directory, pid=None):
    """Those that are there in every format: the newest may be in the making."""
    return {stem: files for stem, files in moments(directory, pid).items() if len(files) == len(ALL_FORMATS)}


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass
class History:
    """A run over a leak: a moment before it began, some in it, the last after it ended."""

    pid: int
    directory: Path
    truth: object
    begun: str  # the first line of /proc/PID/stat and the like, for comparison
    moments: list = field(default_factory=list)  # {ending: path}, oldest first
    last: dict = field(default_factory=dict)  # the last report on standard output


@pytest.fixture(scope="module", name="history")
def traced_history(tmp_path_factory):
    directory = tmp_path_factory.mktemp("history") / "snapshots"
    with Target.start("leak_rate", ["--rate", "300000", "--size", "1500", "--duration", "3600"]) as target:
        pid = target.ready()
        options = ["--snapshot-dir", directory, "--snapshot-interval", "300ms", "--snapshot-format", ",".join(ALL_FORMATS)]
        with Tracer("--pid", pid, "--output", "json", *options) as tracer:
            tracer.wait_following()
            wait_until(lambda: complete_moments(directory), tracer.err)
            begun = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
            target.go()
            quiet = len(complete_moments(directory)) + 1  # what was in the making when it began
            wait_until(lambda: len(complete_moments(directory)) >= quiet + 4, tracer.err)
            target.send("stop")
            truth = target.truth()
            run = tracer.end(signal.SIGINT)
        assert run.status == 0, run.err
        assert target.finish() == 0
    found = list(complete_moments(directory).values())
    return History(pid, directory, truth, begun, found, run.reports()[-1])


def test_every_moment_has_every_format_and_nothing_else_is_there(history):
    assert {path.name for path in history.directory.iterdir()} == {path.name for files in history.moments for path in files.values()}
    assert len(history.moments) >= 6
    assert all(set(files) == set(ALL_FORMATS.values()) for files in history.moments)
    times = [load(files["json"])["time"] for files in history.moments]
    assert times == sorted(times)
    for files in history.moments:
        stamp = NAME.fullmatch(files["json"].name)[2]
        assert re.sub(r"[-:]", "", load(files["json"])["time"]) == stamp[:20]


# ---- the schema

NUMBER = (int, float)
COUNT = int
FRAME = {"function": str, "file": str, "line": COUNT, "module": str, "offset": COUNT, "inlined": bool}
SITE = {
    "id": str, "live_bytes": COUNT, "live_objects": COUNT, "allocs": COUNT, "frees": COUNT, "oldest_age_s": NUMBER,
    "growth_bytes_per_s": NUMBER, "verdict": str, "confidence": NUMBER, "allocator": str, "stack": [FRAME],
}
SNAPSHOT = {
    "schema": str,
    "tool": {"name": str, "version": str},
    "time": str,
    "duration_s": NUMBER,
    "process": {"pid": COUNT, "start_time": str, "comm": str, "exe": str, "cmdline": [str], "rss_bytes": COUNT},
    "coverage": {
        "mode": str, "sample_interval_bytes": COUNT, "sources": [str], "unmatched_frees": COUNT, "lost": {},
        "overhead": {"ratio": NUMBER, "budget": (*NUMBER, type(None)), "trap_ns": NUMBER, "hits_per_s": NUMBER},
    },
    "totals": {
        "live_bytes": COUNT, "live_objects": COUNT, "allocs": COUNT, "frees": COUNT, "allocated_bytes": COUNT, "freed_bytes": COUNT,
        "live_bytes_ci95": [NUMBER],
    },
    "verdict": {"class": str, "text": str, "evidence": {}},
    "sites": [SITE],
    "resources": [{}],
    "references": {"objects": COUNT, "edges": COUNT, "cycles": [{}], "errors": [{}]},
    "alerts": [{}],
}


def check_shape(value, shape, where="snapshot"):
    """Every field of the schema is there, and of its type. Others may have been added."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        for name, inner in shape.items():
            assert name in value, f"{where} has no {name}"
            check_shape(value[name], inner, f"{where}.{name}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for index, element in enumerate(value):
            check_shape(element, shape[0], f"{where}[{index}]")
    else:
        assert isinstance(value, shape) and (shape is bool or not isinstance(value, bool)), f"{where} is {value!r}"
        assert not isinstance(value, NUMBER) or where.endswith("growth_bytes_per_s") or value >= 0, f"{where} is {value!r}"


RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def check_sense(snapshot):
    """What must hold between the fields of any snapshot in exact mode."""
    assert snapshot["schema"] == "memtrace.snapshot/1"
    assert snapshot["tool"]["name"] == "memtrace" and f"memtrace {snapshot['tool']['version']}" == run_memtrace("--version").out.strip()
    assert RFC3339.fullmatch(snapshot["time"]) and RFC3339.fullmatch(snapshot["process"]["start_time"])
    assert snapshot["process"]["start_time"] <= snapshot["time"]
    totals, sites = snapshot["totals"], snapshot["sites"]
    for name in ("live_bytes", "live_objects", "allocs", "frees"):
        assert totals[name] == sum(site[name] for site in sites), name
    assert totals["allocs"] - totals["frees"] == totals["live_objects"]
    assert totals["allocated_bytes"] - totals["freed_bytes"] == totals["live_bytes"]
    assert totals["live_bytes_ci95"] == [totals["live_bytes"], totals["live_bytes"]]
    assert [site["live_bytes"] for site in sites] == sorted((site["live_bytes"] for site in sites), reverse=True)
    assert len({site["id"] for site in sites}) == len(sites) and all(site["id"] for site in sites)
    for site in sites:
        assert site["verdict"] in ("definite", "probable", "suspect", "stable", "unknown") and site["confidence"] <= 1
        assert site["oldest_age_s"] <= snapshot["duration_s"] and site["stack"]
        assert site["oldest_age_s"] == 0 or site["live_objects"] > 0


def test_json_has_the_schema(history):
    for files in history.moments:
        snapshot = load(files["json"])
        check_shape(snapshot, SNAPSHOT)
        check_sense(snapshot)


def test_json_says_whose_it_is_and_how_it_was_got(history):
    first, last = (load(history.moments[index]["json"]) for index in (0, -1))
    process, coverage = last["process"], last["coverage"]
    assert process["pid"] == history.pid and process["comm"] == "leak_rate"
    assert process["exe"].endswith("/targets/leak_rate") and process["cmdline"] == history.begun.rstrip("\0").split("\0")
    assert process["rss_bytes"] > 0
    assert process["start_time"] == first["process"]["start_time"] < first["time"]
    assert coverage["mode"] == "exact" and coverage["sample_interval_bytes"] == 0 and coverage["lost"] == {}
    assert any("libc.so" in source and "malloc" in source for source in coverage["sources"])
    assert coverage["overhead"]["hits_per_s"] > 0 and coverage["overhead"]["trap_ns"] > 0
    assert first["totals"]["allocs"] == 0 and first["sites"] == []


def test_last_snapshot_is_the_last_report_and_the_truth(history):
    last = load(history.moments[-1]["json"])
    assert last == history.last
    assert (last["totals"]["live_bytes"], last["totals"]["live_objects"]) == history.truth.live
    assert (last["totals"]["allocs"], last["totals"]["frees"]) == (history.truth.notes["allocs"], history.truth.notes["frees"])
    leak = next(site for site in last["sites"] if site["stack"][0]["function"] == "leak_steadily")
    assert (leak["live_bytes"], leak["live_objects"]) == history.truth.leaks["leak_steadily"]
    assert leak["allocator"] == "libc" and leak["frees"] == 0 and leak["oldest_age_s"] > 1
    assert [frame["function"] for frame in leak["stack"][:2]] == ["leak_steadily", "main"]
    frame = leak["stack"][0]
    assert frame["file"].endswith("tests/targets/leak_rate.c") and frame["module"].endswith("/leak_rate") and frame["inlined"] is False
    source = Path(__file__).resolve().parents[1] / "targets" / "leak_rate.c"
    assert "malloc(bytes)" in source.read_text(encoding="utf-8").splitlines()[frame["line"] - 1]


# ---- the other formats

PPROF_UNITS = {"space": "bytes", "objects": "count"}
JSON_FIELD = {"inuse_space": "live_bytes", "inuse_objects": "live_objects", "alloc_space": "allocated_bytes", "alloc_objects": "allocs"}


def pprof_top(profile, index, home):
    """{function: (flat, cumulative)} and the total, as pprof's own reader has it."""
    environment = {**os.environ, "HOME": str(home), "PPROF_TMPDIR": str(home), "GOFLAGS": "", "GOCACHE": str(home / "cache")}
    command = ["go", "tool", "pprof", "-top", "-symbolize=none", f"-sample_index={index}", f"-unit={PPROF_UNITS[index.split('_')[1]]}"]
    command += ["-nodefraction=0", "-edgefraction=0", "-nodecount=1000000", profile]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    assert f"Type: {index}" in run.stdout
    total = re.search(r"of ([\d.]+)B? total$", run.stdout, re.MULTILINE)
    rows = re.findall(r"^\s*([\d.]+)B?\s+\S+%\s+\S+%\s+([\d.]+)B?\s+\S+%\s+(.+?)(?: \(inline\))?$", run.stdout, re.MULTILINE)
    return {name: (int(flat), int(cumulative)) for flat, cumulative, name in rows}, int(total[1]) if total else 0


@pytest.mark.parametrize("index", JSON_FIELD)
def test_pprof_reads_the_figures_of_the_json(history, index, tmp_path):
    for files in (history.moments[-3], history.moments[-1]):
        sites = load(files["json"])["sites"]
        flat, cumulative = Counter(), Counter()
        for site in sites:
            names = [frame["function"] for frame in site["stack"]]
            flat[names[0]] += site[JSON_FIELD[index]]
            for name in set(names):
                cumulative[name] += site[JSON_FIELD[index]]
        rows, total = pprof_top(files["pb.gz"], index, tmp_path)
        assert total == sum(flat.values()) > 0
        expected = {name: (flat[name], size) for name, size in cumulative.items() if size}
        assert {name: row for name, row in rows.items() if row[1]} == expected


def test_folded_stacks_are_those_of_the_json(history):
    for files in history.moments:
        found, expected = Counter(), Counter()
        for line in files["folded"].read_text(encoding="utf-8").splitlines():
            stack, size = line.rsplit(" ", 1)
            found[stack] += int(size)
        for site in load(files["json"])["sites"]:
            if site["live_bytes"]:
                expected[";".join(frame["function"] for frame in reversed(site["stack"]))] += site["live_bytes"]
        assert found == expected
    assert found


def test_text_snapshot_names_the_leak(history):
    text = history.moments[-1]["txt"].read_text(encoding="utf-8")
    assert "leak_steadily (leak_rate.c:" in text and f"pid {history.pid}" in text
    assert "\x1b" not in text


# ---- memtrace report, memtrace diff


def test_report_renders_a_snapshot_again(history, tmp_path):
    """Byte for byte, but for what the JSON does not hold: the nanoseconds of pprof's time, and the growth since the last report."""
    files = history.moments[-1]
    for format_ in ("json", "folded"):
        assert run_memtrace("report", files["json"], "--format", format_).out == files[ALL_FORMATS[format_]].read_text(encoding="utf-8")
    profile = tmp_path / "again.pb.gz"
    with open(profile, "wb") as file:
        subprocess.run([MEMTRACE, "report", files["json"], "--format", "pprof"], stdout=file, check=True)
    for index in JSON_FIELD:
        assert pprof_top(profile, index, tmp_path) == pprof_top(files["pb.gz"], index, tmp_path)
    text, default = (run_memtrace("report", files["json"], *more) for more in (["--format", "text"], []))
    assert text.status == 0 and text.out == default.out
    without_growth = re.sub(r", ([+-][\d.]+ \w+|unchanged) in the last [\w.]+", "", files["txt"].read_text(encoding="utf-8"))
    same = set(text.out.splitlines()) & set(without_growth.splitlines())
    assert set(text.out.splitlines()) - same <= {"Live, largest first", "What grew"}, text.out


def sections(diff):
    """{"grew": text, ...} of the output of memtrace diff."""
    parts = re.split(r"^(grew|new|gone|shrank): .*\n", diff, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def test_diff_says_what_is_new_what_grew_and_what_went(history):
    paths = [files["json"] for files in history.moments]
    early, late, end = load(paths[-4]), load(paths[-2]), load(paths[-1])
    blocks = {}
    for name, snapshot in (("early", early), ("late", late), ("end", end)):
        blocks[name] = next(site["live_objects"] for site in snapshot["sites"] if site["stack"][0]["function"] == "leak_steadily")
    assert 0 < blocks["early"] < blocks["late"] <= blocks["end"]

    fresh = run_memtrace("diff", paths[0], paths[-2])
    assert fresh.status == 0 and set(sections(fresh.out)) == {"new"}, fresh.out
    assert "leak_steadily" in sections(fresh.out)["new"] and "balanced_churn" in sections(fresh.out)["new"]

    grown = run_memtrace("diff", paths[-4], paths[-2])
    assert grown.status == 0 and "leak_steadily" in sections(grown.out)["grew"], grown.out
    assert f"{blocks['early']:,} -> {blocks['late']:,} blocks (+{blocks['late'] - blocks['early']:,})" in sections(grown.out)["grew"]
    assert "gone" not in sections(grown.out) and "new" not in sections(grown.out)

    over = run_memtrace("diff", paths[-2], paths[-1])
    assert over.status == 0 and "balanced_churn" in sections(over.out)["gone"] and "leak_steadily" not in sections(over.out)["gone"]

    back = run_memtrace("diff", paths[-2], paths[-4])
    assert "leak_steadily" in sections(back.out)["shrank"] and "wrong way round" in back.out

    nothing = run_memtrace("diff", paths[-1], paths[-1])
    assert nothing.status == 0 and sections(nothing.out) == {} and "nothing changed" in nothing.out


def test_diff_of_two_programs_says_so(history, tmp_path):
    with Target.start("live_million", ["--blocks", "1000"]) as target:
        with Tracer("--pid", target.ready(), "--snapshot-dir", tmp_path, "--output", "json") as tracer:
            tracer.wait_following()
            target.go()
            target.truth()
            assert tracer.end(signal.SIGINT).status == 0
    other = next(iter(moments(tmp_path).values()))["json"]
    diff = run_memtrace("diff", history.moments[-1]["json"], other)
    assert diff.status == 0 and "different programs" in diff.out
    assert set(sections(diff.out)) == {"new", "gone"} and "leak_steadily" in sections(diff.out)["gone"]


def test_damaged_snapshot_is_one_clear_line(history, tmp_path):
    whole = history.moments[-1]["json"].read_bytes()
    bad = tmp_path / "bad.json"
    cases = [whole[:len(whole) * part // 25] for part in range(25)]
    cases += [b"null", b"[]", b"{}", b"[" * 100_000, b"\xff\xfe", whole.replace(b"snapshot/1", b"snapshot/2"), whole + b"{}"]
    cases += [whole.replace(b'"live_bytes":', b'"live_bytes":-', 1), whole.replace(b'"sites":[', b'"sites":[7,')]
    cases += [history.moments[-1]["pb.gz"].read_bytes()]
    for content in cases:
        bad.write_bytes(content)
        for args in (["report", bad], ["diff", bad, history.moments[-1]["json"]], ["diff", history.moments[-1]["json"], bad]):
            run = run_memtrace(*args)
            assert run.status == 1 and run.out == "" and str(bad) in run.error(), (content[:60], run)


# ---- retention, several processes


def test_retention_keeps_the_newest_and_what_is_not_its_own(tmp_path):
    foreign = ["notes.txt", "memtrace-1-20200101T000000.000Z.json", "memtrace-x.json", "memtrace-1-.pb.gz"]
    for name in foreign:
        (tmp_path / name).write_text("mine", encoding="ascii")
    with Target.start("leak_rate", ["--duration", "3600"]) as one, Target.start("leak_rate", ["--duration", "3600"]) as other:
        pids = [one.ready(), other.ready()]
        one.go()
        other.go()
        options = ["--snapshot-dir", tmp_path, "--snapshot-interval", "100ms", "--snapshot-keep", "2"]
        options += ["--snapshot-format", ",".join(ALL_FORMATS)]
        with Tracer(*(word for pid in pids for word in ("--pid", pid)), *options, "--output", "json") as tracer:
            seen = {pid: set() for pid in pids}

            def enough():
                for pid in pids:
                    seen[pid] |= set(moments(tmp_path, pid))
                return min(map(len, seen.values())) >= 6

            wait_until(enough, tracer.err)
            run = tracer.end(signal.SIGINT)
    assert run.status == 0, run.err
    for pid in pids:
        kept = moments(tmp_path, pid)
        assert len(kept) == 2 and all(set(files) == set(ALL_FORMATS.values()) for files in kept.values())
        assert min(kept) > sorted(seen[pid])[-3]
        assert all(load(files["json"])["process"]["pid"] == pid for files in kept.values())
    assert all((tmp_path / name).read_text(encoding="ascii") == "mine" for name in foreign)


def test_process_that_ends_has_its_last_figures_in_one_snapshot(tmp_path):
    """However often reports and snapshots are due after that."""
    with Target.start("live_million", ["--blocks", "1000"]) as ending, Target.start("leak_rate", ["--duration", "3600"]) as lasting:
        pids = [ending.ready(), lasting.ready()]
        lasting.go()
        options = ["--interval", "100ms", "--snapshot-dir", tmp_path, "--snapshot-interval", "700ms"]
        with Tracer(*(word for pid in pids for word in ("--pid", pid)), *options, "--output", "json") as tracer:
            wait_until(lambda: moments(tmp_path, ending.pid), tracer.err)
            ending.go()
            truth = ending.truth()
            ending.finish()
            tracer.wait_said("has ended")
            tracer.wait_reports(len(tracer.reports()) + 3)  # in these it is told of for the last time
            enough = len(moments(tmp_path, lasting.pid)) + 3
            wait_until(lambda: len(moments(tmp_path, lasting.pid)) >= enough, tracer.err)
            assert tracer.end(signal.SIGINT).status == 0
    over = [load(files["json"]) for files in moments(tmp_path, ending.pid).values()]
    assert [snapshot["process"]["state"] for snapshot in over].count("exited") == 1
    assert (over[-1]["totals"]["live_bytes"], over[-1]["totals"]["live_objects"]) == truth.live


# ---- kill -9


def check_whole(path):
    """It is complete, whatever its format."""
    if path.name.endswith(".json"):
        snapshot = load(path)
        check_shape(snapshot, SNAPSHOT)
        assert path.read_bytes().endswith(b"}\n")
    elif path.name.endswith(".pb.gz"):
        assert gzip.decompress(path.read_bytes())
    elif path.name.endswith(".folded"):
        text = path.read_text(encoding="utf-8")
        assert text == "" or all(re.fullmatch(r".+ \d+", line) for line in text.removesuffix("\n").split("\n")) and text.endswith("\n")
    else:
        assert path.read_text(encoding="utf-8").endswith("\n\n") and NAME.fullmatch(path.name), path


def temporaries(directory):
    return [path for path in directory.iterdir() if path.name.startswith(".")]


def wait_temporary(directory, tracer):
    """Without a pause, unlike wait_until: a temporary file lives for milliseconds."""
    deadline = time.monotonic() + 30
    while not temporaries(directory):
        assert tracer.process.poll() is None and time.monotonic() < deadline, tracer.err()


def test_killed_while_writing_loses_nothing_and_the_next_start_cleans_up(tmp_path):
    directory = tmp_path / "snapshots"
    directory.mkdir()
    dice = random.Random(13)
    left = 0
    with Target.start("many_sites") as target:
        pid = target.ready()
        target.go()
        target.truth()
        with Target.start("leak_rate", ["--duration", "3600"]) as leaking:
            leaking.go()
            for _ in range(10):
                leftovers = set(temporaries(directory))
                earlier = {path.name: path.read_bytes() for files in moments(directory).values() for path in files.values()}
                options = ["--snapshot-dir", directory, "--snapshot-interval", "100ms", "--snapshot-format", ",".join(ALL_FORMATS)]
                with Tracer("--pid", leaking.pid, "--pid", pid, "--output", "json", *options) as tracer:
                    tracer.wait_following()
                    assert not leftovers & set(temporaries(directory))
                    wait_until(lambda: len(moments(directory)) > len(earlier) // len(ALL_FORMATS), tracer.err)
                    wait_temporary(directory, tracer)
                    time.sleep(dice.random() * 0.004)  # the moment is what is tested
                    tracer.kill()
                left += bool(temporaries(directory))
                for files in moments(directory).values():
                    for path in files.values():
                        check_whole(path)
                assert earlier.items() <= {path.name: path.read_bytes() for path in directory.iterdir()}.items()
    assert left >= 1, "no kill hit a snapshot in the making"
    (directory / ".memtrace-1-0.tmp").write_text("left behind long ago", encoding="ascii")
    run = run_memtrace("--snapshot-dir", directory, "--output", "json", "--", "true")
    assert run.status == 0, run.err
    assert temporaries(directory) == []


def test_two_share_a_directory(tmp_path):
    """The start of one does not take the other's unfinished files for leftovers."""
    with Target.start("leak_rate", ["--duration", "3600"]) as target:
        target.go()
        options = ["--pid", target.pid, "--output", "json", "--snapshot-dir", tmp_path, "--snapshot-interval", "100ms"]
        with Tracer(*options) as first:
            wait_until(lambda: moments(tmp_path), first.err)
            for _ in range(6):
                assert run_memtrace(*options, "--duration", "100ms").status == 0
            run = first.end(signal.SIGINT)
        assert run.status == 0 and "snapshot" not in run.err, run.err
    assert temporaries(tmp_path) == []
    for files in moments(tmp_path).values():
        check_whole(files["json"])
