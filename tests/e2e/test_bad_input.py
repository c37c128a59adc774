"""What memtrace does where it cannot do what it was asked: it says what, why and what to do in one line, leaves with the status
that says so, and leaves the target as it was. Whatever the moment, and however it ends itself."""

import contextlib
import errno
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from memtrace_runner import MEMTRACE
from targets import TARGETS, Target
from tracer import Run, Tracer, assert_nothing_left, breakpoints, run_memtrace, small_disk, wait_until

NEEDED = {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"}


@pytest.fixture(name="target")
def leaking_target():
    """A program to trace: a steady leak until `stop`."""
    with Target.start("leak_rate", ["--rate", "200000", "--size", "1000", "--duration", "3600"]) as target:
        target.go()
        yield target


def assert_refused(run, *patterns, status=1):
    """Told in one line, which matches all of the patterns, and nothing else was printed."""
    assert run.status == status and run.out == "", run
    for pattern in patterns:
        assert re.search(pattern, run.error()), run.err


def assert_well(target):
    """It has no breakpoints, works, and its own account of its memory adds up (Target.truth checks that)."""
    assert breakpoints(target.pid) == []
    target.send("stop")
    target.truth()
    assert target.finish() == 0, target.stderr()


# ---- what cannot be traced


def free_pid():
    """A pid that no process has: the highest ones are the last to be given out."""
    limit = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    return next(pid for pid in range(min(limit, 1 << 22) - 1, 1, -1) if not Path(f"/proc/{pid}").exists())


def test_no_such_process():
    pid = free_pid()
    assert_refused(run_memtrace("--pid", pid), rf"no process {pid}")
    assert_refused(run_memtrace("probes", "--pid", pid), rf"no process {pid}")


def test_no_process_of_that_name_or_cgroup(tmp_path):
    assert_refused(run_memtrace("--comm", "no-such-name"), "no process is called")
    assert_refused(run_memtrace("--cgroup", tmp_path), "no cgroup")


@pytest.mark.parametrize("pid", ["0", "-1", "4194305", "99999999999", "1e30", "", "x", "12x", "1.5", "nan", "self", "1,2", "--", "١"])
def test_pid_that_is_none(pid):
    assert_refused(run_memtrace("--pid", pid), "--", status=2)


def test_pid_of_a_thread():
    with Target.start("spin", ["--threads", "2", "--seconds", "1"]) as target:
        pid = target.ready()
        thread = next(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid)
        assert_refused(run_memtrace("--pid", thread), rf"{thread} is a thread")
        assert breakpoints(pid) == []


def test_kernel_thread():
    def is_kernel_thread(pid):
        with contextlib.suppress(OSError):
            return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[6]) & 0x200000 != 0

    pid = next(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_kernel_thread(entry.name))
    assert_refused(run_memtrace("--pid", pid), rf"process {pid} is a kernel thread")
    assert_refused(run_memtrace("probes", "--pid", pid), rf"process {pid} is a kernel thread")


def test_program_under_valgrind():
    """It runs translations of the code that it finds in memory: breakpoints in there would end the program."""
    with Target.start("stacks", prefix=["valgrind", "--quiet"]) as target:
        pid = target.ready()
        assert_refused(run_memtrace("--pid", pid), rf"process {pid} runs under Valgrind")
        assert_refused(run_memtrace("probes", "--pid", pid), rf"process {pid} runs under Valgrind")
        assert breakpoints(pid) == []
        target.go()
        target.truth()
        assert target.finish() == 0, target.stderr()


def test_static_program_without_symbols():
    with Target.start("static_stripped") as target:
        pid = target.ready()
        run = run_memtrace("--pid", pid, "--allocator", "libc")
        assert_refused(run, rf"process {pid} \(static_stripped\)", "allocator libc", "stripped")
        assert run_memtrace("probes", "--pid", pid).status == 1
        assert breakpoints(pid) == []
        target.go()
        target.truth()


def test_zombie():
    with Target.start("short_lived", wait=False) as target:
        target.ready()
        wait_until(lambda: " Z " in Path(f"/proc/{target.pid}/stat").read_text(encoding="utf-8"), "the end of short_lived")
        assert_refused(run_memtrace("--pid", target.pid), rf"process {target.pid} has ended", "zombie")


@contextlib.contextmanager
def running(command, **popen):
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, **popen)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_exec(process, program):
    wait_until(lambda: os.path.realpath(f"/proc/{process.pid}/exe") == str(program), f"{program} to run")


GO_PROGRAM = """package main
%s
import ("fmt"; "time")
func main() {
    for i := 0; ; i++ {
        fmt.Println(i, len(make([]byte, 1000+i)))
        time.Sleep(5 * time.Millisecond)
    }
}
"""


@pytest.fixture(scope="module", name="go_programs")
def built_go_programs(tmp_path_factory):
    """{with C: path}. With C inside it maps libc's malloc."""
    directory = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "HOME": str(directory), "GOCACHE": str(directory / "cache"), "GO111MODULE": "off", "GOFLAGS": ""}
    programs = {}
    for with_c in (False, True):
        source = directory / f"ticker{int(with_c)}.go"
        source.write_text(GO_PROGRAM % ('import "C"' if with_c else ""), encoding="ascii")
        programs[with_c] = source.with_suffix("")
        build = ["go", "build", "-ldflags", "-s -w", "-o", programs[with_c], source]
        subprocess.run(build, check=True, cwd=directory, env={**environment, "CGO_ENABLED": str(int(with_c))})
    return programs


@pytest.mark.parametrize("with_c", [False, True], ids=["static", "with C"])
def test_go_program(go_programs, with_c):
    """Its stacks move, and return probes on them would crash it."""
    program = go_programs[with_c]
    with running([program], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert ("libc.so" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")) == with_c
        assert_refused(run_memtrace("--pid", process.pid), rf"process {process.pid} is a Go program")
        assert_refused(run_memtrace("probes", "--pid", process.pid), "Go program")
        assert breakpoints(process.pid) == []
        for _ in range(20):
            assert process.stdout.readline()
        assert process.poll() is None
    assert_refused(run_memtrace("--", program), "Go program")


@pytest.mark.parametrize("with_c", [False, True], ids=["static", "with C"])
def test_program_that_becomes_a_go_program_is_left_alone(go_programs, with_c):
    """The probes in libc were its own until then: they must not stay in the new program."""
    script = 'read line; exec "$@"'
    command = ["sh", "-c", script, "sh", go_programs[with_c]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            with Tracer("--pid", process.pid, "--output", "json") as tracer:
                tracer.wait_following()
                process.stdin.write(b"\n")
                process.stdin.flush()
                run = tracer.end()
            assert run.status == 0 and f"process {process.pid} is a Go program" in run.err, run.err
            assert [report["process"]["state"] for report in run.reports()] == ["exec"]
            for _ in range(20):
                assert process.stdout.readline()
            assert breakpoints(process.pid) == [] and process.poll() is None
        finally:
            process.kill()


NO_LIBC_PROGRAM = """
void _start(void) {
    for (;;) {
        long call = 29, result;  /* pause */
        __asm__ volatile("int $0x80" : "=a"(result) : "a"(call) : "memory");
    }
}
"""


def test_program_of_another_word_size(tmp_path):
    source, program = tmp_path / "pause.c", tmp_path / "pause"
    source.write_text(NO_LIBC_PROGRAM, encoding="ascii")
    machine = {"x86_64": ["gcc", "-m32"]}.get(os.uname().machine)
    if machine is None:
        return  # only x86-64's compiler makes both
    subprocess.run([*machine, "-nostdlib", "-static", "-fno-pie", "-no-pie", "-o", program, source], check=True)
    try:
        subprocess.run([program], timeout=0.1, check=False)
    except subprocess.TimeoutExpired:
        pass
    except OSError as error:  # this kernel runs no such programs: there is none to attach to
        assert error.errno == errno.ENOEXEC
        return
    with running([program]) as process:
        wait_exec(process, program)
        assert_refused(run_memtrace("--pid", process.pid), rf"process {process.pid} is of another architecture")
        assert process.poll() is None


def test_program_whose_file_is_gone(tmp_path):
    """An upgrade replaces the files of a running server: it is traced all the same."""
    program = tmp_path / "replaced"
    shutil.copy(TARGETS / "leak_rate", program)
    with running([program, "--duration", "3600"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        program.unlink()
        program.write_text("something else\n", encoding="ascii")
        run = run_memtrace("--pid", process.pid, "--duration", "500ms", "--output", "json")
        assert run.status == 0, run.err
        report = run.reports()[-1]
        assert report["totals"]["allocs"] > 0
        assert any(frame["function"] == "leak_steadily" for site in report["sites"] for frame in site["stack"])
        assert breakpoints(process.pid) == []


# ---- what memtrace needs


@pytest.fixture(scope="module", name="public_memtrace")
def copy_for_others():
    """memtrace where an unprivileged user can run it, whoever owns the tree."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield shutil.copy(MEMTRACE, directory)


def run_as(public_memtrace, prefix, *args):
    command = [*prefix, public_memtrace, *map(str, args)]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    return Run(run.returncode, run.stdout, run.stderr)


def test_without_root_the_missing_capabilities_are_named(public_memtrace, target):
    nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    for args in (["--pid", target.pid], ["doctor"], ["--", "true"]):
        run = run_as(public_memtrace, nobody, *args)
        assert_refused(run, "root|sudo")
        assert set(re.findall(r"CAP_\w+", run.err)) == NEEDED


@pytest.mark.parametrize("missing", sorted(NEEDED))
def test_root_without_one_capability(public_memtrace, target, missing):
    name = missing.removeprefix("CAP_").lower()
    run = run_as(public_memtrace, ["setpriv", "--inh-caps", f"-{name}", "--bounding-set", f"-{name}"], "--pid", target.pid)
    assert_refused(run, "root|sudo")
    assert set(re.findall(r"CAP_\w+", run.err)) == {missing}
    assert_well(target)


def test_kernel_without_type_information(target):
    """As where CONFIG_DEBUG_INFO_BTF is off: /sys/kernel/btf has nothing."""
    prefix = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/kernel/btf && exec "$@"', "sh"]
    assert_refused(run_memtrace("--pid", target.pid, prefix=prefix), "BTF")
    doctor = run_memtrace("doctor", prefix=prefix)
    assert doctor.status == 1 and re.search(r"^NO .*BTF", doctor.out, re.MULTILINE)
    assert_well(target)


# ---- command lines

GARBAGE = [
    [],
    ["--"],
    ["--pid"],
    ["--no-such-option"],
    ["-p", "1"],
    ["---"],
    ["-"],
    ["1"],
    ["trace", "--pid", "1"],
    ["--pid", "1", "--comm", "x"],
    ["--pid", "1", "--", "true"],
    ["--comm", "x", "--cgroup", "/"],
    ["--pid", "1", "--interval", "0"],
    ["--pid", "1", "--interval", "-5s"],
    ["--pid", "1", "--interval", "5 parsecs"],
    ["--pid", "1", "--interval", ""],
    ["--pid", "1", "--interval", "nan"],
    ["--pid", "1", "--interval", "inf"],
    ["--pid", "1", "--interval", "1e300d"],
    ["--pid", "1", "--duration", "soon"],
    ["--pid", "1", "--min-age", "-1"],
    ["--pid", "1", "--snapshot-dir", "/tmp", "--snapshot-interval", "0"],
    ["--pid", "1", "--snapshot-dir", "/tmp", "--snapshot-format", "xml"],
    ["--pid", "1", "--snapshot-dir", "/tmp", "--snapshot-format", "json,xml"],
    ["--pid", "1", "--snapshot-keep", "-1"],
    ["--pid", "1", "--snapshot-keep", "many"],
    ["--pid", "1", "--top", "-1"],
    ["--pid", "1", "--top", "99999999999999999999"],
    ["--pid", "1", "--max-live", "0"],
    ["--pid", "1", "--max-live", "4294967296"],
    ["--pid", "1", "--max-frames", "0"],
    ["--pid", "1", "--max-frames", "128"],
    ["--pid", "1", "--sample", "sometimes"],
    ["--pid", "1", "--output", "xml"],
    ["--pid", "1", "--attach", "kprobe"],
    ["--pid", "1", "--fail-on", "anything"],
    ["--pid", "1", "--follow=maybe"],
    ["--pid", "1", "report"],
    ["report"],
    ["report", "a", "b"],
    ["report", "a", "--format", "xml"],
    ["diff"],
    ["diff", "a"],
    ["diff", "a", "b", "c"],
    ["replay"],
    ["replay", "a", "--pid", "1"],
    ["probes"],
    ["probes", "--", "true"],
    ["doctor", "now"],
    [b"--\xff\xfe"],
    ["--pid", b"\xff"],
    ["\n\n\n"],
    ["--pid\n1"],
    ["--\x1b[31m"],
    ["x" * 100_000],
]


@pytest.mark.parametrize("args", GARBAGE, ids=lambda args: " ".join(map(repr, args))[:50])
def test_garbage_command_line(args):
    command = [os.fsencode(MEMTRACE), *(arg if isinstance(arg, bytes) else arg.encode() for arg in args)]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    assert run.returncode == 2 and run.stdout == b"", run
    assert re.fullmatch(rb"memtrace: [^\n]+\n", run.stderr), run.stderr


def test_random_command_lines_never_crash():
    """All of them name an option that there is not, so none gets as far as tracing."""
    dice = random.Random(20240517)
    options = ["--pid", "--comm", "--out", "--top", "--interval"]
    words = [*options, "report", "diff", "replay", "probes", "1", "-1", "5s", "", "=", "-", "json"]
    for _ in range(150):
        noise = [dice.randbytes(dice.randrange(1, 9)).replace(b"\0", b"") for _ in range(5)]
        args = [dice.choice(words) if dice.random() < 0.7 else word for word in noise]
        args.insert(dice.randrange(len(args) + 1), "--no-such-option")
        command = [os.fsencode(MEMTRACE), *(os.fsencode(arg) for arg in args)]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
        assert run.returncode in (1, 2) and run.stderr.startswith(b"memtrace: ") and run.stderr.count(b"\n") == 1, (args, run)


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["--version"], ["report", "--help"], ["probes", "--help"]], ids=" ".join)
def test_help_is_no_error(args):
    run = run_memtrace(*args)
    assert run.status == 0 and "memtrace" in run.out + args[0] and run.err == ""


# ---- targets that end


def test_target_that_ends_at_any_moment():
    """From before the attaching until after it, by its own exit or by a kill."""
    dice = random.Random(7)
    attached = 0
    for round_ in range(24):
        with Target.start("short_lived") as target:
            pid = target.ready()
            with Tracer("--pid", pid, "--output", "json") as tracer:
                if round_ % 3 == 0:
                    tracer.wait_following()
                else:
                    time.sleep(dice.random() * 0.35)  # the moment is what is tested; there is no condition to wait for
                if round_ % 2:
                    target.go()
                else:
                    target.process.kill()
                run = tracer.end(timeout=20)
        if run.status == 0:
            attached += 1
            assert run.reports()[-1]["process"]["pid"] == pid and "has ended" in run.err, run.err
        else:
            assert run.status == 1 and run.out == "" and re.search(rf"\b{pid}\b", run.error()), run
    assert attached >= 8


def test_target_that_ends_before_the_first_report():
    """What it did is reported all the same, to the last block."""
    with Target.start("short_lived") as target, Tracer("--pid", target.ready(), "--output", "json", "--interval", "1h") as tracer:
        tracer.wait_following()
        target.go()
        truth = target.truth()
        run = tracer.end()
    assert run.status == 0, run.err
    assert len(run.reports()) == 1
    report = run.reports()[0]
    assert report["process"]["state"] == "exited"
    found = {}
    for site in report["sites"]:
        if site["live_objects"]:
            function = site["stack"][0]["function"]
            size, count = found.get(function, (0, 0))
            found[function] = (size + site["live_bytes"], count + site["live_objects"])
    assert found == truth.leaks


def test_target_that_becomes_another_program_and_ends_at_once():
    """Too fast to be followed into the second program, or not: what was seen is reported either way."""
    states = set()
    for _ in range(8):
        with Target.start("exec_self") as target:
            with Tracer("--pid", target.ready(), "--output", "json") as tracer:
                tracer.wait_following()
                target.go()
                target.finish()
                run = tracer.end()
        assert run.status == 0 and len(run.reports()) == 1, run
        assert run.reports()[0]["process"]["pid"] == target.pid
        states.add(run.reports()[0]["process"]["state"])
    assert states <= {"exec", "exited"}


def test_target_killed_during_reports():
    """2,000 sites take a while to read and to name: the target dies at some moment in that."""
    dice = random.Random(11)
    for _ in range(4):
        with Target.start("many_sites") as target:
            with Tracer("--pid", target.ready(), "--output", "json", "--interval", "100ms") as tracer:
                tracer.wait_following()
                target.go()
                target.truth()
                tracer.wait_reports(len(tracer.reports()) + 1)
                time.sleep(dice.random() * 0.3)  # as above
                target.process.kill()
                run = tracer.end(timeout=30)
        assert run.status == 0, run.err
        last = run.reports()[-1]
        assert last["process"]["state"] == "exited" and len(last["sites"]) >= 2000


def test_target_killed_while_traced(target):
    with Tracer("--pid", target.pid, "--output", "json", "--interval", "200ms") as tracer:
        tracer.wait_following()
        tracer.wait_reports(1)
        held = tracer.kernel_objects()
        target.process.kill()
        run = tracer.end()
    assert run.status == 0 and f"process {target.pid} has ended" in run.err
    assert run.reports()[-1]["totals"]["live_bytes"] > 0
    assert_nothing_left(held)


def test_stopped_target(target):
    """It cannot run, but can be attached to, reported, and left; and it stays stopped until its owner says otherwise."""
    os.kill(target.pid, signal.SIGSTOP)
    wait_until(lambda: " T " in Path(f"/proc/{target.pid}/stat").read_text(encoding="utf-8"), "SIGSTOP")
    run = run_memtrace("--pid", target.pid, "--duration", "300ms", "--output", "json")
    assert run.status == 0 and run.reports()[-1]["totals"]["allocs"] == 0, run.err
    assert breakpoints(target.pid) == []
    assert " T " in Path(f"/proc/{target.pid}/stat").read_text(encoding="utf-8")
    os.kill(target.pid, signal.SIGCONT)
    assert_well(target)


def test_target_stopped_while_traced(target):
    with Tracer("--pid", target.pid, "--output", "json", "--interval", "200ms") as tracer:
        tracer.wait_following()
        tracer.wait_reports(1)
        os.kill(target.pid, signal.SIGSTOP)
        tracer.wait_reports(len(tracer.reports()) + 2)
        assert tracer.end(signal.SIGINT).status == 0
    assert breakpoints(target.pid) == []
    os.kill(target.pid, signal.SIGCONT)
    assert_well(target)


def test_several_targets_of_which_some_cannot_be_traced(target):
    with Target.start("static_stripped") as bare:
        pids = [word for pid in (free_pid(), bare.ready(), target.pid) for word in ("--pid", pid)]
        run = run_memtrace(*pids, "--sample", "exact", "--output", "json", "--duration", "500ms")
    assert run.status == 0, run.err
    modes = {report["process"]["pid"]: report["coverage"]["mode"] for report in run.reports()}
    assert modes == {target.pid: "exact", bare.pid: "pages"}
    assert "no process" in run.err and "static_stripped" in run.err
    assert_well(target)


# ---- the end of memtrace


@pytest.mark.parametrize("name, args", [("churn8", "--ops 100000"), ("spin", "--threads 2 --seconds 3")], ids=["churn8", "spin"])
def test_killed_under_load(name, args):
    with Target.start(name, args.split()) as target:
        pid = target.ready()
        target.go()
        for _ in range(2):
            with Tracer("--pid", pid, "--output", "json", "--interval", "100ms") as tracer:
                tracer.wait_reports(1)
                held = tracer.kernel_objects()
                assert breakpoints(pid)
                tracer.kill()
            assert breakpoints(pid) == []
            assert_nothing_left(held)
        target.truth()
        assert target.finish() == 0, target.stderr()


def test_killed_while_attaching():
    dice = random.Random(3)
    with Target.start("spin", ["--threads", "2", "--seconds", "6"]) as target:
        pid = target.ready()
        target.go()
        for _ in range(12):
            with Tracer("--pid", pid) as tracer:
                time.sleep(dice.random() * 0.4)  # the moment is what is tested
                held = tracer.kernel_objects()
                tracer.kill()
            assert breakpoints(pid) == []
            if {kind for kind, _ in held} == {"prog", "link", "map"}:
                assert_nothing_left(held)
        target.truth()
        assert target.finish() == 0, target.stderr()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_one_signal_prints_the_last_report_and_detaches(target, number):
    with Tracer("--pid", target.pid, "--output", "json") as tracer:
        tracer.wait_following()
        held = tracer.kernel_objects()
        run = tracer.end(number, timeout=10)
    assert run.status == 0, run.err
    assert len(run.reports()) == 1 and run.reports()[0]["process"]["state"] == "detached"
    assert_nothing_left(held)
    assert_well(target)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_leaves_at_once(number):
    """At the latest: where the first one's work is done before the second comes, the end is the usual one."""
    with Target.start("many_sites") as target:
        with Tracer("--pid", target.ready(), "--output", "json") as tracer:
            tracer.wait_following()
            target.go()
            target.truth()
            held = tracer.kernel_objects()
            tracer.signal(signal.SIGINT)
            status = Path(f"/proc/{tracer.process.pid}/status")
            blocked = re.compile(r"^SigBlk:.*[2367abef]$", re.MULTILINE)  # until the first has been taken
            wait_until(lambda: not blocked.search(status.read_text(encoding="ascii")), "the first signal to be taken")
            run = tracer.end(number, timeout=5)
        assert run.status in (0, -number), run
        assert_nothing_left(held)
        assert breakpoints(target.pid) == []
        assert target.finish() == 0


def test_signal_at_any_moment(target):
    """From the first instruction on: the last report or none, but always the end, and nothing left."""
    dice = random.Random(5)
    for _ in range(10):
        with Tracer("--pid", target.pid, "--output", "json") as tracer:
            time.sleep(dice.random() * 0.4)  # the moment is what is tested
            run = tracer.end(signal.SIGINT, timeout=10)
        assert run.status == 0 and len(run.reports()) == 1 or run.status == -signal.SIGINT and run.out == "", run
        assert breakpoints(target.pid) == []
    assert_well(target)


def test_two_on_one_target():
    """Each sees all of it, and the end of one is nothing to the other."""
    with Target.start("churn8", ["--ops", "40000"]) as target:
        pid = target.ready()
        with Tracer("--pid", pid, "--output", "json") as one, Tracer("--pid", pid, "--output", "json") as other:
            with Tracer("--pid", pid) as third:
                for tracer in (one, other, third):
                    tracer.wait_following()
                target.go()
                third.kill()
            truth = target.truth()
            first = one.end(signal.SIGINT)
            assert breakpoints(pid)
            second = other.end(signal.SIGINT)
        assert breakpoints(pid) == []
        assert target.finish() == 0
    for run in (first, second):
        assert run.status == 0, run.err
        totals = run.reports()[-1]["totals"]
        assert (totals["live_bytes"], totals["live_objects"]) == truth.live


# ---- where reports go


def fill(directory, leave=0):
    """A file that takes what the disk has, but for `leave` bytes."""
    filler = directory / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(filler, filler.stat().st_size - leave)
    return filler


def test_snapshot_directory_that_cannot_be_used(tmp_path, target):
    file = tmp_path / "file"
    file.write_text("precious", encoding="ascii")
    below = (tmp_path / "no" / "parent", "does not exist"), (file / "below", "[Nn]ot a directory")
    for directory, why in ((file, "not a directory"), *below):
        assert_refused(run_memtrace("--pid", target.pid, "--snapshot-dir", directory), re.escape(str(directory)), why)
    with small_disk(tmp_path / "disk", options=",ro") as disk:
        assert_refused(run_memtrace("--pid", target.pid, "--snapshot-dir", disk), re.escape(str(disk)), "[Rr]ead-only")
    assert file.read_text(encoding="ascii") == "precious"
    assert_well(target)


def test_snapshot_directory_that_is_missing_is_made(tmp_path, target):
    run = run_memtrace("--pid", target.pid, "--duration", "200ms", "--snapshot-dir", tmp_path / "new")
    assert run.status == 0 and list((tmp_path / "new").glob("*.json")), run.err


def whole_snapshots(directory):
    """The names of all snapshots; each is complete."""
    names = sorted(path.name for path in directory.glob("memtrace-*.json"))
    for name in names:
        assert run_memtrace("report", directory / name).status == 0
    return names


def test_full_disk_loses_no_earlier_snapshot(tmp_path, target):
    with small_disk(tmp_path / "disk") as disk:
        options = ["--output", "json", "--interval", "200ms", "--snapshot-dir", disk, "--snapshot-interval", "100ms"]
        with Tracer("--pid", target.pid, *options) as tracer:
            wait_until(lambda: len(list(disk.glob("*.json"))) >= 2, tracer.err)
            filler = fill(disk)
            tracer.wait_said("No space left on device")
            before = whole_snapshots(disk)
            assert len(before) >= 2
            tracer.wait_reports(len(tracer.reports()) + 2)  # it goes on
            filler.unlink()
            wait_until(lambda: len(list(disk.glob("*.json"))) > len(before), tracer.err)  # and takes up again
            fill(disk)
            run = tracer.end(signal.SIGINT)
        assert run.status == 1 and "snapshot" in run.err, run.err
        assert run.reports()[-1]["process"]["state"] == "detached"
        assert set(before) < set(whole_snapshots(disk))
        assert [path.name for path in disk.iterdir() if path.name.startswith(".")] == []
    assert_well(target)


def test_out_on_a_full_disk_keeps_the_last_report_that_found_room(tmp_path, target):
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "report.json"
        with Tracer("--pid", target.pid, "--output", "json", "--interval", "200ms", "--out", out) as tracer:
            wait_until(lambda: out.exists() and out.stat().st_size > 0, tracer.err)
            fill(disk)
            run = tracer.end(timeout=20) if tracer.process.poll() is not None else wait_failure(tracer)
        assert run.status == 1 and "No space left on device" in run.err and str(out) in run.err, run.err
        assert out.read_text(encoding="utf-8").endswith("}\n")
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "report.json"]
    assert_well(target)


def wait_failure(tracer):
    """It may stop at once, or go on and say so: until it has said so, then Ctrl-C."""
    wait_until(lambda: "No space left" in tracer.err(), tracer.err)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return tracer.end(timeout=1)
    return tracer.end(signal.SIGINT)


def test_out_that_cannot_be_written_is_said_before_attaching(tmp_path, target):
    for out in (tmp_path, tmp_path / "no" / "parent"):
        run = run_memtrace("--pid", target.pid, "--duration", "100ms", "--out", out)
        assert_refused(run, re.escape(str(out)))
        assert "attached" not in run.err
    assert_well(target)


def test_out_to_a_full_device(target):
    run = run_memtrace("--pid", target.pid, "--duration", "100ms", "--out", "/dev/full")
    assert run.status == 1 and "/dev/full" in run.error() and "No space left" in run.error()
    assert_well(target)


def test_a_report_that_finds_no_room_costs_neither_snapshot_nor_recording(tmp_path, target):
    recording, snapshots = tmp_path / "run.rec", tmp_path / "snapshots"
    options = ["--sample", "exact", "--interval", "100ms", "--out", "/dev/full", "--record", recording, "--snapshot-dir", snapshots]
    run = run_memtrace("--pid", target.pid, *options)
    assert run.status == 1 and "/dev/full" in run.error()
    assert len(list(snapshots.glob("*.json"))) == 1
    replayed = run_memtrace("replay", recording)
    assert replayed.status == 0, replayed.err  # to its end: nothing is said of truncation
    assert_well(target)


def test_full_standard_output(target):
    with open("/dev/full", "wb") as full, Tracer("--pid", target.pid, "--duration", "100ms", stdout=full) as tracer:
        run = tracer.end()
    assert run.status == 1 and re.search("standard output.*No space left", run.error()), run.err
    assert_well(target)


def test_reader_of_standard_output_that_leaves(target):
    """memtrace --interval 200ms | head -1"""
    with Tracer("--pid", target.pid, "--interval", "200ms", stdout=subprocess.PIPE) as tracer:
        assert tracer.process.stdout.readline().startswith(b"memtrace ")
        held = tracer.kernel_objects()
        tracer.process.stdout.close()
        run = tracer.end(timeout=20)
    assert run.status == 1 and re.search("standard output.*[Bb]roken pipe", run.error()), run
    assert_nothing_left(held)
    assert_well(target)


def test_closed_standard_output(tmp_path, target):
    """Descriptor 1 is free then: what memtrace opens must not get it, or reports land in there."""
    recording = tmp_path / "recording"
    close_it = ["sh", "-c", 'exec "$@" >&-', "sh"]
    options = ["--sample", "exact", "--duration", "20s", "--interval", "2s", "--record", recording]
    run = run_memtrace("--pid", target.pid, *options, prefix=close_it)
    assert run.status == 1 and "standard output" in run.error(), run
    replayed = run_memtrace("replay", recording)
    assert "damaged" not in replayed.err and "not a recording" not in replayed.err, replayed.err
    assert "leak_steadily" in replayed.out
    assert_well(target)


def test_closed_standard_error(target):
    close_it = ["sh", "-c", 'exec "$@" 2>&- <&-', "sh"]
    run = run_memtrace("--pid", target.pid, "--duration", "300ms", "--output", "json", prefix=close_it)
    assert run.status == 0 and len(run.reports()) == 1, run
    assert_well(target)


def test_recording_on_a_full_disk(tmp_path, target):
    """The tracing goes on; what was recorded can be replayed up to there."""
    with small_disk(tmp_path / "disk") as disk:
        recording = disk / "recording"
        fill(disk, leave=16384)
        with Tracer("--pid", target.pid, "--output", "json", "--interval", "100ms", "--record", recording) as tracer:
            tracer.wait_said("No space left on device")
            tracer.wait_reports(len(tracer.reports()) + 2)
            run = tracer.end(signal.SIGINT)
        assert run.status == 1 and "recording" in run.err, run.err
        assert run.reports()[-1]["process"]["state"] == "detached"
        replayed = run_memtrace("replay", recording)
        assert replayed.status == 1 and "truncated" in replayed.error() and "leak_steadily" in replayed.out, replayed
    assert_well(target)


def test_recording_that_cannot_be_made(tmp_path, target):
    for path in (tmp_path, tmp_path / "no" / "parent", "/dev/tty0" if Path("/dev/tty0").exists() else "/dev/zero"):
        run = run_memtrace("--pid", target.pid, "--duration", "100ms", "--record", path)
        assert_refused(run, re.escape(str(path)))
        assert "attached" not in run.err
    assert_well(target)


def test_a_mistyped_pid_destroys_no_earlier_file(tmp_path):
    out, recording = tmp_path / "report.txt", tmp_path / "recording"
    for file in (out, recording):
        file.write_text("of an earlier run", encoding="ascii")
    assert_refused(run_memtrace("--pid", free_pid(), "--out", out, "--record", recording), "no process")
    assert out.read_text(encoding="ascii") == recording.read_text(encoding="ascii") == "of an earlier run"


# ---- memtrace -- COMMAND


@pytest.mark.parametrize(
    "program, why", [("no-such-program", "No such file"), ("/etc/passwd", "Permission denied"), ("/tmp", "Permission denied")]
)
def test_command_that_cannot_run(program, why):
    assert_refused(run_memtrace("--", program), re.escape(program), why)


@pytest.mark.parametrize("script", ["exit 3", "kill -KILL $$", "kill -SEGV $$"])
def test_command_that_fails_is_no_failure_of_memtrace(script):
    run = run_memtrace("--output", "json", "--", "sh", "-c", script)
    assert run.status == 0 and "has ended" in run.err, run
    last = run.reports()[-1]
    assert last["process"]["comm"] in ("sh", "dash") and last["process"]["state"] == "exited"
    assert last["coverage"]["from_start"] is True


def test_command_that_becomes_another(tmp_path):
    (tmp_path / "the file").touch()
    run = run_memtrace("--output", "json", "--out", tmp_path / "report", "--", "sh", "-c", "exec ls", cwd=tmp_path)
    assert run.status == 0 and "the file" in run.out.splitlines(), run
    reports = Run(0, (tmp_path / "report").read_text(encoding="utf-8"), "").reports()
    assert [report["process"]["comm"] for report in reports] == ["ls"]
    assert reports[0]["totals"]["allocs"] > 0


def test_command_has_the_standard_streams(tmp_path):
    command = [MEMTRACE, "--out", tmp_path / "report", "--", "sh", "-c", "cat; echo told >&2"]
    run = subprocess.run(command, input="given\n", capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0 and run.stdout == "given\n" and "told\n" in run.stderr


def test_command_outlives_memtrace(tmp_path):
    """A signal ends the tracing, not the command: that is its owner's."""
    with Tracer("--out", tmp_path / "report", "--", TARGETS / "leak_rate", "--duration", "3600", stdout=subprocess.PIPE) as tracer:
        pid = int(tracer.process.stdout.readline().split()[1])
        try:
            tracer.wait_following()
            tracer.signal(signal.SIGTERM)
            assert tracer.end().status == 0
            assert breakpoints(pid) == []
            assert "leak_rate" in (tmp_path / "report").read_text(encoding="utf-8")
        finally:
            os.kill(pid, signal.SIGKILL)
