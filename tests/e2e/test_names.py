"""Names: functions inlined into each other, Rust's, those of a stripped program; and names that are looked up later, elsewhere, by
build-id: `memtrace report SNAPSHOT --symbols DIR`, and the same of a recording."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from elsewhere import build_id_of, expect_names, expect_no_names, marked_line, put, trace_elsewhere
from memtrace_runner import Launched, traced
from targets import REPOSITORY, TARGETS, Target
from tracer import run_memtrace


def stack_with(report, pattern):
    """The stack of the only site with a function like that, as it is in the report."""
    stacks = [site["stack"] for site in report["sites"] if any(re.search(pattern, frame["function"]) for frame in site["stack"])]
    assert len(stacks) == 1, f"{len(stacks)} sites with {pattern}"
    return stacks[0]


# ---- while tracing


def test_functions_inlined_into_each_other(tmp_path):
    with Target.start("inlined") as target:
        report, truth = traced(tmp_path, target)
    stack = stack_with(report, r"^leak_inlined\(")
    expected = [
        ("shelf::Box<int>::keep(truth_site*, unsigned long)", "keep", "malloc", True),
        ("leak_inlined::{lambda}::operator()", "put", "keep", True),
        ("leak_inlined()", "leak", "put", False),
    ]
    for frame, (function, mark, callee, inlined) in zip(stack, expected):
        line, text = marked_line("inlined.cpp", mark)
        assert (frame["function"], Path(frame["file"]).name, frame["line"]) == (function, "inlined.cpp", line)
        assert frame["inlined"] == inlined
        start = text.index(f"{callee}(") + 1
        assert start <= frame["column"] <= start + len(callee), (frame, start)
    assert len({frame["offset"] for frame in stack[:3]}) == 1
    assert stack[3]["function"] == "main" and stack[3]["offset"] != stack[0]["offset"]
    assert truth.leaks == {"leak_inlined": (10 * 120, 10)}


def test_columns_are_in_the_text_and_in_the_profile(tmp_path):
    with Target.start("inlined") as target:
        options = ["--snapshot-dir", tmp_path / "snapshots", "--snapshot-format", "text,pprof"]
        report, _ = traced(tmp_path, target, *options)
    first = stack_with(report, r"^leak_inlined\(")[0]
    place = f"(inlined.cpp:{first['line']}:{first['column']})"
    text, = (tmp_path / "snapshots").glob("*.txt")
    assert place in text.read_text(encoding="utf-8")
    profile, = (tmp_path / "snapshots").glob("*.pb.gz")
    raw = subprocess.run(["go", "tool", "pprof", "-raw", profile], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"shelf::Box.*inlined\.cpp:{first['line']}", raw), raw


@pytest.mark.parametrize("name, hash_", [("leak_rust", r"17h[0-9a-f]{16}E"), ("leak_rust_v0", r"_R[NI]")])
def test_rust(tmp_path, name, hash_):
    """Both ways of rustc's to mangle names, with debug information and, stripped of it, from the symbols alone."""
    symbols = subprocess.run(["nm", TARGETS / name], capture_output=True, text=True, check=True).stdout
    assert re.search(rf"{hash_}.*", "\n".join(line for line in symbols.splitlines() if "keep_in_closure" in line))
    plain = tmp_path / "plain"
    subprocess.run(["strip", "--strip-debug", "-o", plain, TARGETS / name], check=True)
    for path in (name, plain):
        with Target.start(path) as target:
            report, truth = traced(tmp_path, target)
        found = {}
        for site in report["sites"]:
            names = [frame["function"] for frame in site["stack"]]
            for function in truth.leaks:
                if any(re.search(rf"\b{function}\b", text) for text in names) and site["live_objects"]:
                    size, count = found.get(function, (0, 0))
                    found[function] = (size + site["live_bytes"], count + site["live_objects"])
                    break
        assert found == truth.leaks
        names = {frame["function"] for site in report["sites"] for frame in site["stack"]}
        assert "leak::keep_in_closure" in names
        assert any(re.fullmatch(r"<leak::Store<\[u8; 512(usize)?\]> as leak::Keep>::keep_boxes", text) for text in names), names
        generic = r"leak::keep_generic" + (r"::<(u64|&str)>" if name.endswith("v0") else "")
        assert any(re.fullmatch(generic, text) for text in names), names
        for text in names:
            assert not re.search(r"17h[0-9a-f]{16}|^_R|\$LT\$|\$u20\$", text), text


def test_split_dwarf(tmp_path):
    """Functions are in a .dwo where the program was compiled; in a .dwp beside it; nowhere."""
    shop = tmp_path / "shop"
    shop.mkdir()
    source = REPOSITORY / "tests" / "targets" / "inlined.cpp"
    command = ["g++", "-std=c++20", "-O1", "-g", "-gsplit-dwarf", "-I", source.parent, source, "-o", "shelf", "-lpthread"]
    subprocess.run(command, cwd=shop, check=True)
    dwo, = shop.glob("*.dwo")

    def stack():
        with Target.start(shop / "shelf") as target:
            report, _ = traced(tmp_path, target)
        return stack_with(report, r"leak_inlined\(")

    expect_names(stack())
    subprocess.run(["llvm-dwp-19", dwo, "-o", shop / "shelf.dwp"], check=True)
    dwo.unlink()
    expect_names(stack())
    (shop / "shelf.dwp").unlink()
    first = stack()[0]
    assert first["function"] == "leak_inlined()" and not first["inlined"] and first["line"] == marked_line("inlined.cpp", "keep")[0]


# ---- elsewhere, while tracing


def in_the_dark(tmp_path, start):
    """What start(program, options) reports of a stripped program whose names are below tmp_path / symbols; and what is recorded."""
    program = tmp_path / "shelf"
    subprocess.run(["strip", "-o", program, TARGETS / "inlined"], check=True)
    put(TARGETS / "inlined", tmp_path / "symbols" / "some" / "where" / "else")
    report = start(program, ["--symbols", tmp_path / "symbols", "--record", tmp_path / "recording"])
    recorded, = run_memtrace("replay", tmp_path / "recording", "--output", "json").reports()
    return [[site["stack"] for site in of["sites"] if site["live_objects"]][0] for of in (report, recorded)]


def test_symbols_of_a_running_process(tmp_path):
    def attached(program, options):
        with Target.start(program) as target:
            return traced(tmp_path, target, *options)[0]

    for stack in in_the_dark(tmp_path, attached):
        expect_names(stack)


def test_symbols_of_a_command(tmp_path):
    for stack in in_the_dark(tmp_path, lambda program, options: Launched.run(tmp_path, program, options=options).report):
        expect_names(stack)


def test_symbols_of_another_build_while_tracing(tmp_path):
    program = tmp_path / "shelf"
    subprocess.run(["strip", "-o", program, TARGETS / "inlined"], check=True)
    put(TARGETS / "deep_stack", tmp_path / "symbols" / str(program)[1:])
    for quiet in ([], ["--quiet"]):
        run = run_memtrace("--duration", "5s", *quiet, "--symbols", tmp_path / "symbols", "--sample", "exact", "--", program)
        assert (" is of another build than what was traced as " in run.err) == (not quiet), run.err


def test_no_such_directory_for_a_run(tmp_path):
    run = run_memtrace("--symbols", tmp_path / "missing", "--record", tmp_path / "recording", "--", "/bin/true")
    assert run.status == 1 and "cannot open the directory" in run.error() and run.out == ""
    assert not (tmp_path / "recording").exists()


# ---- later, elsewhere


@pytest.fixture(scope="module", name="elsewhere")
def traced_elsewhere(tmp_path_factory):
    return trace_elsewhere(tmp_path_factory.mktemp("elsewhere"))


def test_without_names_there_are_module_build_id_and_offset(elsewhere):
    stack, _ = elsewhere.stack()
    expect_no_names(stack)
    for frame in stack[:2]:
        assert frame["module"] == elsewhere.module and frame["build_id"] == elsewhere.build_id and frame["offset"] > 0


def test_debug_file_by_its_build_id(elsewhere, tmp_path):
    debug = tmp_path / "shelf.debug"
    subprocess.run(["objcopy", "--only-keep-debug", elsewhere.whole, debug], check=True)
    put(debug, tmp_path / "flat" / elsewhere.debug_path())
    expect_names(elsewhere.stack("--symbols", tmp_path / "flat")[0])
    put(debug, tmp_path / "tree" / "usr" / "lib" / "debug" / elsewhere.debug_path())
    expect_names(elsewhere.stack("--symbols", tmp_path / "tree")[0])


def test_program_by_its_path(elsewhere, tmp_path):
    put(elsewhere.whole, tmp_path / elsewhere.module[1:])
    stack, said = elsewhere.stack("--symbols", tmp_path)
    expect_names(stack)
    assert said == ""


def test_any_file_with_that_build_id(elsewhere, tmp_path):
    put(elsewhere.whole, tmp_path / "some" / "where" / "else")
    put("/bin/true", tmp_path / "other" / "program")
    expect_names(elsewhere.stack("--symbols", tmp_path)[0])


def test_stripped_program_beside_its_debug_file(elsewhere, tmp_path):
    """By path there is only a file that says nothing; the debug file must be found all the same."""
    stripped = put(elsewhere.whole, tmp_path / elsewhere.module[1:])
    subprocess.run(["strip", stripped], check=True)
    expect_no_names(elsewhere.stack("--symbols", tmp_path)[0])
    debug = put(elsewhere.whole, tmp_path / "debug" / "files" / "x.debug")
    subprocess.run(["objcopy", "--only-keep-debug", debug], check=True)
    expect_names(elsewhere.stack("--symbols", tmp_path)[0])


def test_another_build_is_refused(elsewhere, tmp_path):
    other = put(TARGETS / "deep_stack", tmp_path / elsewhere.module[1:])
    stack, said = elsewhere.stack("--symbols", tmp_path)
    expect_no_names(stack)
    assert said == (f"memtrace: {tmp_path}{elsewhere.module} is of another build than what was traced as {elsewhere.module}: build-id "
                    f"{build_id_of(other)} instead of {elsewhere.build_id}; its names are not used\n")
    # A file with the right build-id elsewhere in the directory is taken, and nothing is said.
    put(elsewhere.whole, tmp_path / "right" / "one")
    stack, said = elsewhere.stack("--symbols", tmp_path)
    expect_names(stack)
    assert said == ""


def test_build_id_in_the_right_place_and_another_file_there(elsewhere, tmp_path):
    put(TARGETS / "deep_stack", tmp_path / elsewhere.debug_path())
    expect_no_names(elsewhere.stack("--symbols", tmp_path)[0])


def test_links_lead_nowhere_out_of_the_directory(elsewhere, tmp_path):
    inside = tmp_path / "inside"
    link = inside / elsewhere.debug_path()
    link.parent.mkdir(parents=True)
    link.symlink_to(put(elsewhere.whole, tmp_path / "outside" / "shelf"))
    expect_no_names(elsewhere.stack("--symbols", inside)[0])


def test_the_verdict_names_the_site_too(elsewhere, tmp_path):
    """The text of the verdict ends with a site's name, or with its id where it has none."""
    report = json.loads(elsewhere.snapshot.read_text(encoding="utf-8"))
    site = [site for site in report["sites"] if site["live_objects"]][0]
    report["verdict"] = {"class": "leak", "text": f"1 call site leaks, most of it from {site['id']}", "evidence": {"site": site["id"]}}
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(report), encoding="utf-8")
    put(elsewhere.whole, tmp_path / "symbols" / "shelf")
    run = run_memtrace("report", edited, "--symbols", tmp_path / "symbols")
    assert "most of it from shelf::Box<int>::keep(truth_site*, unsigned long)\n" in run.out, run.out


def test_replay_of_a_recording(elsewhere, tmp_path):
    plain = run_memtrace("replay", elsewhere.recording, "--output", "json")
    expect_no_names([site["stack"] for site in plain.reports()[0]["sites"] if site["live_objects"]][0])
    put(elsewhere.whole, tmp_path / "shelf")
    run = run_memtrace("replay", elsewhere.recording, "--output", "json", "--symbols", tmp_path)
    assert run.status == 0 and run.err == ""
    report, = run.reports()
    expect_names([site["stack"] for site in report["sites"] if site["live_objects"]][0])
    before, = plain.reports()
    assert [site["id"] for site in report["sites"]] == [site["id"] for site in before["sites"]]
    assert report["totals"] == before["totals"]


def test_diff_of_two_snapshots(elsewhere, tmp_path):
    earlier = json.loads(elsewhere.snapshot.read_text(encoding="utf-8"))
    for site in earlier["sites"]:
        site["live_bytes"] //= 2
    before = tmp_path / "before.json"
    before.write_text(json.dumps(earlier), encoding="utf-8")
    assert "leak_inlined" not in run_memtrace("diff", before, elsewhere.snapshot).out
    put(elsewhere.whole, tmp_path / "symbols" / "shelf")
    run = run_memtrace("diff", before, elsewhere.snapshot, "--symbols", tmp_path / "symbols")
    assert run.status == 0 and run.err == ""
    line, _ = marked_line("inlined.cpp", "keep")
    assert f"shelf::Box<int>::keep(truth_site*, unsigned long) (inlined.cpp:{line}:" in run.out, run.out
    assert "leak_inlined()" in run.out


def test_names_that_were_known_stay(tmp_path):
    """A directory that knows less than the machine did takes nothing away."""
    with Target.start("inlined") as target:
        traced(tmp_path, target, "--snapshot-dir", tmp_path / "snapshots")
    snapshot, = (tmp_path / "snapshots").glob("*.json")
    stripped = put(TARGETS / "inlined", tmp_path / "symbols" / "shelf")
    subprocess.run(["strip", stripped], check=True)
    shown = run_memtrace("report", snapshot, "--format", "json", "--symbols", tmp_path / "symbols")
    assert shown.out == run_memtrace("report", snapshot, "--format", "json").out


def test_no_such_directory(elsewhere, tmp_path):
    run = run_memtrace("report", elsewhere.snapshot, "--symbols", tmp_path / "missing")
    assert run.status == 1 and "cannot open the directory" in run.error() and run.out == ""
