"""A run on a program whose names are elsewhere: what it left, and what can name it later. The program is tests/targets/inlined.cpp.

    elsewhere = trace_elsewhere(directory)
    stack, said = elsewhere.stack("--symbols", somewhere)      # memtrace report, of the only site
    expect_names(stack)                                        # or expect_no_names
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from memtrace_runner import traced
from targets import REPOSITORY, TARGETS, Target
from tracer import run_memtrace

SOURCES = REPOSITORY / "tests" / "targets"


def marked_line(source, mark):
    lines = (SOURCES / source).read_text(encoding="utf-8").splitlines()
    found = [number for number, line in enumerate(lines, 1) if line.endswith(f"// @{mark}")]
    assert len(found) == 1, mark
    return found[0], lines[found[0] - 1]


@dataclass(frozen=True)
class Elsewhere:
    """What a run on a stripped copy of a target left, and what names it. The program lies at /.../machine/opt/shop/shelf, and is gone."""

    snapshot: Path
    recording: Path
    whole: Path  # the program with all its debug information
    module: str  # its path when it ran
    build_id: str

    def stack(self, *options, **popen):
        """That of the only site, and what was said."""
        run = run_memtrace("report", self.snapshot, "--format", "json", *options, **popen)
        assert run.status == 0, run.err
        report, = run.reports()
        return [site["stack"] for site in report["sites"] if site["live_objects"]][0], run.err

    def debug_path(self):
        return Path(".build-id") / self.build_id[:2] / f"{self.build_id[2:]}.debug"


def build_id_of(path):
    notes = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True).stdout
    return re.search(r"Build ID: ([0-9a-f]+)", notes)[1]


def trace_elsewhere(directory):
    program = directory / "machine" / "opt" / "shop" / "shelf"
    program.parent.mkdir(parents=True)
    subprocess.run(["strip", "-o", program, TARGETS / "inlined"], check=True)
    with Target.start(program) as target:
        options = ["--snapshot-dir", directory / "snapshots", "--record", directory / "recording"]
        traced(directory, target, *options)
    snapshot, = (directory / "snapshots").glob("*.json")
    shutil.rmtree(directory / "machine")
    return Elsewhere(snapshot, directory / "recording", TARGETS / "inlined", str(program), build_id_of(TARGETS / "inlined"))


def put(source, place):
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, place)
    return place


def expect_names(stack):
    line, _ = marked_line("inlined.cpp", "keep")
    assert [frame["function"] for frame in stack[:4]] == [
        "shelf::Box<int>::keep(truth_site*, unsigned long)", "leak_inlined::{lambda}::operator()", "leak_inlined()", "main"]
    assert [frame["inlined"] for frame in stack[:4]] == [True, True, False, False]
    assert stack[0]["line"] == line and stack[0]["column"] > 0


def expect_no_names(stack):
    assert all(frame["function"] == "" for frame in stack[:2])
