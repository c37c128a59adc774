"""The truth of the targets against an independent judge: Valgrind's memcheck, which sees every block, must find the same bytes and
the same number of blocks leaked by the same functions, and nothing that the truth leaves out. No root needed."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import pytest

from targets import REPOSITORY, TARGETS, Target, bare_name, shared_library

VALGRIND = [
    "valgrind",
    "--tool=memcheck",
    "--leak-check=full",
    "--show-leak-kinds=all",
    "--leak-resolution=high",
    "--undef-value-errors=no",
    "--num-callers=500",  # as deep as deep_stack goes, so that every record can be told by its outermost frames too
    "--error-limit=no",
    "--child-silent-after-fork=yes",
    "--run-libc-freeres=no",  # the truth is of the moment of exit
    "--run-cxx-freeres=no",
    "--fair-sched=yes",
    "--xml=yes",
]
OWN_MALLOC = ["--soname-synonyms=somalloc=nouserintercepts"]  # watch libc's malloc, which the program's own calls


@dataclass(frozen=True)
class Case:
    name: str
    args: tuple = ()
    options: tuple = ()
    unloaded: str = ""  # a function whose code is gone at exit, so that Valgrind cannot name it
    caller: str = ""  # the function above that one

    def __str__(self):
        return " ".join((self.name, *self.args))


def case(name, *args, options=(), unloaded="", caller=""):
    return Case(name, args, tuple(options), unloaded, caller)


CASES = [
    case("calloc_overflow"),
    case("churn8", "--ops", "100000"),
    case("churn8", "--ops", "40000", "--seed", "7"),
    case("cross_thread_free", "--items", "3000"),
    case("cxx_new", "--no-throw"),
    case("deep_stack"),
    case("dlopen_late"),
    case("exception_crew", "--rounds", "20", options=OWN_MALLOC),
    case("exception_out", "--rounds", "50", options=OWN_MALLOC),
    case("exec_self", options=["--trace-children=yes"]),
    case("family", "--no-pvalloc"),
    case("fork_child"),
    case("inlined"),
    case("free_null", "--count", "50000"),
    case("hostile", "--seconds", "1", unloaded="leak_in_plugin", caller="load_and_unload"),
    case("leak_rate", "--rate", "200000", "--size", "500", "--duration", "1"),
    case("live_million", "--blocks", "20000"),
    case("longjmp_out", options=OWN_MALLOC),
    case("many_sites"),
    case("memalign_fail"),
    case("own_malloc"),  # by default Valgrind takes the place of any malloc that a program exports
    case("prior_blocks"),
    case("realloc_cases"),
    case("short_lived"),
    case("spin", "--seconds", "1", "--threads", "2"),
    case("stacks"),
    case("thread_exit", options=OWN_MALLOC),
    case("use_malloc", "--ops", "20000"),
]

# Valgrind replaces malloc by preloading, which a static executable does not do. Their truth is checked for consistency below.
# What map_pages keeps is mostly no block of malloc.
# The others tell of other things than blocks of malloc; the tests that are called as they are hold them to that, or test_container_cycles.py, test_pages.py,
# test_sdk_cases.py, test_told_flood.py, test_told_heap.py, and tests/bench/told.py (evictable).
TELLS_OTHERWISE = {
    "containers", "contract", "descriptors", "evictable", "frugal", "holder", "map_untouched", "misuse", "preload_cases", "sdk_cases", "site_paths",
    "told_alloc_only", "told_flood", "told_plain", "told_stacks"
}  # fmt: skip
WITHOUT_VALGRIND = {
    "static_malloc", "static_stripped", "map_pages", "map_pages_stripped", "told_heap", "told_heap_stripped", "many_stacks", *TELLS_OTHERWISE
}  # fmt: skip


@dataclass
class Record:
    """Blocks that were there at exit, of one stack."""

    bytes: int
    blocks: int
    stack: list  # (function, object), innermost first

    def functions(self):
        return [function for function, _ in self.stack]


def own_bytes(what):
    """Of "160 (80 direct, 80 indirect) bytes in 1 blocks" the direct ones: the others have records of their own."""
    direct = re.search(r"\(([\d,]+) direct, ", what.findtext("text"))
    return int(direct.group(1).replace(",", "")) if direct else int(what.findtext("leakedbytes"))


def read_records(path):
    records = []
    for error in ElementTree.parse(path).getroot().iter("error"):
        if not error.findtext("kind").startswith("Leak_"):
            continue
        frames = error.find("stack").findall("frame")
        records.append(
            Record(
                own_bytes(error.find("xwhat")),
                int(error.findtext("xwhat/leakedblocks")),
                [(bare_name(frame.findtext("fn", "")), frame.findtext("obj", "")) for frame in frames],
            )
        )
    return records


def leaks_by_function(records, truth, case_):
    """The same shape as truth.leaks, and the records that belong to no function of the truth."""
    found, others = {}, []
    for record in records:
        function = truth.function_of(record.functions())
        if function is None and case_.unloaded in truth.leaks and record.functions()[1:3] == ["", case_.caller]:
            function = case_.unloaded
        if function is None:
            others.append(record)
            continue
        size, count = found.get(function, (0, 0))
        found[function] = (size + record.bytes, count + record.blocks)
    return found, others


def from_before_go(record, name):
    """Set up by the program (setup_*), or by the loader and the libraries: not a single frame of the program but main
    and a malloc of its own."""
    if any(function.startswith(("setup_", "crew_")) for function in record.functions()):
        return True
    return not any(object_.endswith(f"/targets/{name}") and function not in ("main", "malloc", "_start", "(below main)", "")
                   for function, object_ in record.stack)


@pytest.mark.parametrize("case_", CASES, ids=str)
def test_truth_agrees_with_valgrind(case_, tmp_path):
    assert shutil.which("valgrind"), "valgrind is missing: run sudo scripts/install-deps.sh"
    report = tmp_path / "memcheck.xml"
    prefix = [*VALGRIND, f"--xml-file={report}", *case_.options]
    with Target.start(case_.name, case_.args, wait=False, prefix=prefix) as target:
        truth = target.truth(timeout=120)
        assert target.finish() == 0, target.stderr()
    found, others = leaks_by_function(read_records(report), truth, case_)
    assert truth.leaks or case_.name == "spin"
    assert found == truth.leaks
    if truth.live is not None:
        strangers = [record for record in others if not from_before_go(record, case_.name)]
        assert not strangers, "blocks that the truth does not know of"


def executables():
    sources = [*(REPOSITORY / "tests" / "targets").glob("*.c"), *(REPOSITORY / "tests" / "targets").glob("*.cpp")]
    return sorted(source.stem for source in sources)


def test_every_target_has_a_case():
    assert set(executables()) == {case_.name for case_ in CASES} | WITHOUT_VALGRIND


@pytest.mark.parametrize("name", [name for name in executables() if name not in TELLS_OTHERWISE])
def test_waits_for_go_and_for_the_end(name):
    """The protocol as a tracer uses it; truth() itself checks that the sums and the calls balance."""
    args = {"spin": ["--seconds", "1"], "hostile": ["--seconds", "1"], "leak_rate": ["--duration", "1"]}.get(name, [])
    with Target.start(name, args) as target:
        assert target.ready() == target.process.pid
        assert target.alive()
        target.go()
        truth = target.truth()
        if name != "short_lived":
            assert target.alive()
        assert target.finish() == 0, target.stderr()
    assert truth.leaks or name == "spin"


def test_a_seed_gives_the_same_calls_again():
    """So that a run that went wrong can be had again."""

    def calls(seed):
        with Target.start("use_malloc", ["--seed", seed], wait=False) as target:
            truth = target.truth()
        return truth.leaks, truth.notes

    assert calls(3) == calls(3)
    assert calls(3) != calls(4)


def test_leak_rate_stops_when_told():
    with Target.start("leak_rate", ["--rate", "1000000", "--size", "1000", "--duration", "3600"]) as target:
        target.go()
        target.send("stop")
        truth = target.truth()
        assert target.finish() == 0
    elapsed_s = truth.notes["elapsed_ms"] / 1000
    bytes_, count = truth.leaks.get("leak_steadily", (0, 0))
    assert bytes_ == count * 1000
    assert abs(bytes_ - 1e6 * elapsed_s) <= 2000 + 1000  # a block, and the milliseconds cut off


@pytest.mark.parametrize("library", ["libjemalloc", "libtcmalloc_minimal", "libmimalloc"])
def test_use_malloc_runs_on_other_allocators(library):
    """The same calls have the same truth, whoever serves them."""
    with Target.start("use_malloc", wait=False) as target:
        expected = target.truth()
    with Target.start("use_malloc", wait=True, env={"LD_PRELOAD": shared_library(library)}) as target:
        maps = f"/proc/{target.ready()}/maps"
        with open(maps, encoding="utf-8") as file:
            assert library in file.read()
        target.go()
        truth = target.truth()
        assert target.finish() == 0
    assert truth.leaks == expected.leaks
    assert truth.live == expected.live


def test_dlopen_late_loads_an_allocator():
    with Target.start("dlopen_late", ["--allocator"]) as target:
        target.go()
        truth = target.truth()
        with open(f"/proc/{target.pid}/maps", encoding="utf-8") as file:
            assert "liballocator.so" in file.read()
        assert target.finish() == 0
    assert set(truth.leaks) == {"leak_in_program", "leak_late_allocator", "leak_late_realloc"}


def symbols(name):
    return subprocess.run(["nm", TARGETS / name], capture_output=True, text=True, check=False).stdout


def test_static_targets_differ_in_their_symbols_alone():
    assert " malloc\n" in symbols("static_malloc")
    assert symbols("static_stripped") == ""


@pytest.mark.parametrize("name", ["longjmp_out", "exception_out", "thread_exit", "own_malloc"])
def test_own_malloc_is_exported(name):
    dynamic = subprocess.run(["nm", "-D", "--defined-only", TARGETS / name], capture_output=True, text=True, check=True).stdout
    assert " T malloc\n" in dynamic
