"""Recordings: a replay prints what the live run printed, byte for byte, as anybody, anywhere; and of a damaged one all that came
before the damage, then what is wrong with it. The format that these tests take apart is specified in user/store/README.md."""

import os
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from memtrace_runner import MEMTRACE
from targets import Target
from tracer import Run, Tracer, run_memtrace, wait_until

NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
HEADER_SIZE = 12
RECORD_HEADER = struct.Struct("<HHII")
REPORT_DUE, END = 12, 65535


@pytest.fixture(scope="module", name="public")
def public_directory():
    """With a copy of memtrace, where an unprivileged user can get at both."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        shutil.copy(MEMTRACE, directory)
        yield Path(directory)


def replay(recording, *options):
    return run_memtrace("replay", recording, *options)


def replay_as_nobody(public, recording, *options):
    copy = public / "recording"
    shutil.copyfile(recording, copy)
    copy.chmod(0o644)
    command = [*NOBODY, public / MEMTRACE.name, "replay", copy, *options]
    elsewhere = {"cwd": "/", "env": {"TZ": "Asia/Kathmandu"}}
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False, **elsewhere)
    return Run(run.returncode, run.stdout, run.stderr)


def reports_in(text):
    return len(re.findall(r"^memtrace \d", text, re.MULTILINE))


def record_kinds(content):
    """[(offset of the record's end, kind)] of a whole recording."""
    found, position = [], HEADER_SIZE
    while position < len(content):
        kind, _, size, _ = RECORD_HEADER.unpack_from(content, position)
        position += RECORD_HEADER.size + size
        found.append((position, kind))
    assert position == len(content) and found[-1][1] == END
    return found


# ---- the same, byte for byte


def leak_rate(stack):
    target = stack.enter_context(Target.start("leak_rate", ["--rate", "300000", "--size", "700", "--duration", "1"]))
    return [target]


def churn8(stack):
    return [stack.enter_context(Target.start("churn8", ["--ops", "20000"]))]


def exec_self(stack):
    return [stack.enter_context(Target.start("exec_self"))]


def several(stack):
    return leak_rate(stack) + churn8(stack) + [stack.enter_context(Target.start("many_sites"))]


@pytest.mark.parametrize("format_", ["text", "json"])
@pytest.mark.parametrize("start", [leak_rate, churn8, exec_self, several], ids=lambda start: start.__name__)
def test_replay_prints_what_the_live_run_printed(tmp_path, public, start, format_):
    recording = tmp_path / "recording"
    options = ["--output", format_] + (["--interval", "300ms"] if format_ == "text" else [])
    with ExitStack() as stack:
        targets = start(stack)
        pids = [word for target in targets for word in ("--pid", target.ready())]
        tracer = stack.enter_context(Tracer(*pids, *options, "--record", recording))
        tracer.wait_following()
        for target in targets:
            target.go()
        for target in targets:
            target.truth()
        targets[0].finish()  # one of them ends while it is followed; of several, the others do not
        if len(targets) == 1:
            live = tracer.end()
        else:
            tracer.wait_said("has ended")
            live = tracer.end(signal.SIGINT)
    assert live.status == 0, live.err
    for target in targets:
        assert f"pid {target.pid}" in live.out if format_ == "text" else f'"pid":{target.pid},' in live.out
    again = replay_as_nobody(public, recording, "--output", format_)
    assert again.status == 0 and again.err == "" and again.out == live.out


def test_replay_takes_the_options_of_the_text(tmp_path, public):
    recording = tmp_path / "recording"
    with Target.start("many_sites") as target:
        options = ["--top", "3", "--verbose", "--resources", "none", "--min-age", "1ms", "--record", recording]
        with Tracer("--pid", target.ready(), *options) as tracer:
            tracer.wait_following()
            target.go()
            target.truth()
            live = tracer.end(signal.SIGINT)
    assert live.status == 0 and len(re.findall(r"^#\d+ ", live.out, re.MULTILINE)) == 3
    assert replay_as_nobody(public, recording, "--top", "3", "--verbose").out == live.out
    assert len(re.findall(r"^#\d+ ", replay(recording, "--top", "7").out, re.MULTILINE)) == 7


def test_a_program_from_its_first_instruction(tmp_path, public):
    recording, out = tmp_path / "recording", tmp_path / "out"
    with Tracer("--out", out, "--record", recording, "--", "ls", "/", stdout=subprocess.DEVNULL) as tracer:
        assert tracer.end().status == 0
    assert replay_as_nobody(public, recording).out == out.read_text(encoding="utf-8")


def test_a_recording_is_its_owners_alone(tmp_path):
    recording = tmp_path / "recording"
    recording.touch(mode=0o666)
    assert run_memtrace("--record", recording, "--", "true").status == 0
    assert recording.stat().st_mode & 0o777 == 0o600


# ---- damage


@dataclass(frozen=True)
class Recorded:
    content: bytes
    live: str  # the reports that the run printed, one after the other
    pid: int

    def shown_before(self, size):
        """The live reports whose records are whole within the first `size` bytes."""
        due = sum(1 for end, kind in record_kinds(self.content) if kind == REPORT_DUE and end <= size)
        starts = [match.start() for match in re.finditer(r"^memtrace \d", self.live, re.MULTILINE)] + [len(self.live)]
        assert len(starts) - 1 == sum(1 for _, kind in record_kinds(self.content) if kind == REPORT_DUE)
        return self.live[:starts[due]]


@pytest.fixture(scope="module", name="recorded")
def real_recording(tmp_path_factory):
    recording = tmp_path_factory.mktemp("recorded") / "recording"
    with Target.start("leak_rate", ["--rate", "300000", "--size", "700", "--duration", "3600"]) as target:
        target.go()
        with Tracer("--pid", target.pid, "--interval", "250ms", "--record", recording) as tracer:
            wait_until(lambda: reports_in(tracer.out()) >= 4, tracer.err)
            live = tracer.end(signal.SIGINT)
        assert live.status == 0, live.err
    return Recorded(recording.read_bytes(), live.out, target.pid)


def test_truncated_anywhere_it_says_so_after_what_came_before(recorded, tmp_path):
    size = len(recorded.content)
    ends = [end for end, _ in record_kinds(recorded.content)]
    dice = random.Random(17)
    cuts = {*range(HEADER_SIZE + 2), *(size * part // 40 for part in range(40)), size - 1}
    for end in dice.sample(ends[:-1], 15):
        cuts |= {end, end + 1, end + RECORD_HEADER.size}
    cut_file = tmp_path / "cut"
    assert len(cuts) >= 60
    for cut in sorted(cut for cut in cuts if cut < size):
        cut_file.write_bytes(recorded.content[:cut])
        run = replay(cut_file)
        assert run.status == 1 and run.error() == f"memtrace: {cut_file}: truncated at byte {cut}: the recording stopped early (killed?)"
        before = recorded.shown_before(cut)
        assert run.out.startswith(before), cut
        complete = [end for end in ends if end <= cut]
        if len(complete) > 2:
            assert f"leak_rate (pid {recorded.pid})" in run.out, cut
        assert before == "" or "leak_steadily" in run.out


def test_flipped_bytes_are_found(recorded, tmp_path):
    """Every byte is guarded. What came before the damage is reported, nothing after it."""
    dice = random.Random(19)
    size = len(recorded.content)
    damaged = tmp_path / "damaged"
    positions = [*range(HEADER_SIZE), *(dice.randrange(HEADER_SIZE, size) for _ in range(60)), size - 1]
    ends = [end for end, _ in record_kinds(recorded.content)]
    for position in positions:
        content = bytearray(recorded.content)
        content[position] ^= 1 << dice.randrange(8)
        damaged.write_bytes(content)
        run = replay(damaged)
        assert run.status == 1 and str(damaged) in run.error(), position
        assert re.search("damaged at byte|truncated at byte|not a recording|is newer than", run.error()), run.err
        if position >= HEADER_SIZE:
            begin = max((end for end in ends if end <= position), default=HEADER_SIZE)
            assert re.search(rf"damaged at byte {begin}:|truncated at byte {size}:", run.error()), (position, run.err)
            before = recorded.shown_before(begin)
            assert run.out.startswith(before) and reports_in(run.out) <= reports_in(before) + 1


def test_lost_doubled_and_added_records_are_found(recorded, tmp_path):
    ends = [HEADER_SIZE] + [end for end, _ in record_kinds(recorded.content)]
    begin, end = ends[len(ends) // 2], ends[len(ends) // 2 + 1]
    content = recorded.content
    damaged = tmp_path / "damaged"
    for name, bad in {
        "lost": content[:begin] + content[end:],
        "doubled": content[:end] + content[begin:],
        "added": content + b"\0",
        "joined": content + content,
    }.items():
        damaged.write_bytes(bad)
        run = replay(damaged)
        assert run.status == 1 and "damaged" in run.error(), name


def test_killed_while_recording_it_replays_up_to_there(tmp_path):
    recording = tmp_path / "recording"
    with Target.start("leak_rate", ["--duration", "3600"]) as target:
        target.go()
        for _ in range(3):
            with Tracer("--pid", target.pid, "--interval", "200ms", "--record", recording) as tracer:
                wait_until(lambda: reports_in(tracer.out()) >= 3, tracer.err)
                tracer.kill()
                live = tracer.out()
            run = replay(recording)
            assert run.status == 1 and "truncated" in run.error()
            starts = [match.start() for match in re.finditer(r"^memtrace \d", live, re.MULTILINE)]
            assert run.out.startswith(live[:starts[-1]])  # the last may have been printed and not yet recorded
            assert "leak_steadily" in run.out[starts[-1]:]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "truncated at byte 0"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "not a recording of memtrace"),
        (b'{"schema":"memtrace.snapshot/1"}\n', "not a recording of memtrace"),
        (b"MTREC\0\n\0\1\0\0\0", "not a recording of memtrace"),  # as a transfer leaves it that translates line ends
        (b"MTREC\0\r\n\2\0\0\0", "format version 2 is newer"),
    ],
    ids=["empty", "ELF", "JSON", "line ends", "newer"],
)
def test_what_is_no_recording(tmp_path, content, words):
    file = tmp_path / "file"
    file.write_bytes(content)
    run = replay(file)
    assert run.status == 1 and run.out == "" and words in run.error() and str(file) in run.error()


def test_no_file_to_replay(tmp_path):
    for path, words in ((tmp_path / "missing", "No such file"), (tmp_path, "directory")):
        run = replay(path)
        assert run.status == 1 and run.out == "" and words in run.error() and str(path) in run.error()


# ---- --fail-on

RANKS = ["suspect", "probable", "definite"]


@pytest.fixture(scope="module", name="leaking_run")
def run_that_finds_a_leak(tmp_path_factory):
    """(the live run with --fail-on probable, its recording): growth is a probable leak after ten seconds."""
    recording = tmp_path_factory.mktemp("leaking") / "recording"
    with Target.start("leak_rate", ["--rate", "300000", "--duration", "3600"]) as target:
        target.go()
        options = ["--sample", "exact", "--duration", "11500ms", "--output", "json", "--fail-on", "probable", "--record", recording]
        return run_memtrace("--pid", target.pid, *options), recording


def test_fail_on_tells_a_leak_by_the_exit_status(leaking_run):
    live, recording = leaking_run
    assert live.status == 3, live
    report = live.reports()[-1]
    found = {site["verdict"] for site in report["sites"]}
    assert "probable" in found and report["verdict"]["class"] == "leak" and "leak_steadily" in report["verdict"]["text"]
    for rank, verdict in enumerate(RANKS):
        run = replay(recording, "--fail-on", verdict, "--output", "json")
        assert run.status == (3 if found & set(RANKS[rank:]) else 0), verdict
        assert run.out == live.out
    assert replay(recording).status == 0


def test_fail_on_is_silent_where_nothing_leaks(tmp_path):
    recording = tmp_path / "recording"
    with Target.start("spin", ["--seconds", "3600"]) as target:
        target.go()
        run = run_memtrace("--pid", target.pid, "--duration", "2s", "--fail-on", "suspect", "--record", recording)
    assert run.status == 0, run
    assert replay(recording, "--fail-on", "suspect").status == 0
