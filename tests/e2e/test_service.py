"""scripts/systemd/memtrace.service: what systemd makes of it, and that tracing works with no more than it allows.

systemd does not run here. So the capabilities of the unit are what memtrace is started with, its system calls are compared with the unit's
filter, and memory that is written and executed is refused by the same prctl that systemd uses.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from listening import Receiver, get, served_url, wait_until
from memtrace_runner import MEMTRACE, Memtrace
from targets import REPOSITORY
from test_alerts import sink
from test_push import pyroscope_name, query_of

UNIT = REPOSITORY / "scripts/systemd/memtrace.service"
MOST_EXPOSURE = 40  # of 100; systemd-analyze prints it as 4.0
# The kernel's own calls of probed code (uretprobe, uprobe), which strace may not know and no filter stops.
NOT_FILTERED = {"uretprobe", "uprobe", "syscall_0x14f", "syscall_0x150"}
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1


def setting(name):
    """The values of a setting of the unit, in their order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def analyze(*arguments):
    done = subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False, env={**os.environ, "SYSTEMD_COLORS": "0"})
    return done.returncode, done.stdout + done.stderr


def test_systemd_understands_all_of_it(tmp_path):
    unit = tmp_path / "memtrace.service"
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/bin/memtrace", str(MEMTRACE)), encoding="utf-8")
    assert analyze("verify", "--man=no", unit) == (0, "")


def test_its_exposure_is_low():
    status, said = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", UNIT)
    assert status == 0, said
    if analyze("--version")[1].startswith("systemd 252 "):  # later ones weigh otherwise
        figure = re.search(r"Overall exposure level for memtrace.service: ([\d.]+)", said)[1]
        assert f"an exposure of {figure} " in (UNIT.parent / "README.md").read_text(encoding="utf-8")


# Linux 6.3; for older ones systemd has a filter.
REFUSE_WRITTEN_CODE = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({PR_SET_MDWE}, {REFUSE_EXEC_GAIN}, 0, 0, 0)
os.umask(0o077)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def confined():
    """A command that runs another with what the unit allows."""
    names = [name.removeprefix("CAP_").lower() for name in setting("CapabilityBoundingSet")[0].split()]
    capabilities = "-all," + ",".join("+" + name for name in names)
    return [sys.executable, "-c", REFUSE_WRITTEN_CODE, "setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={capabilities}"]


def allowed_calls():
    """The unit's filter, groups resolved by systemd."""
    _, text = analyze("syscall-filter")
    groups = {}
    for line in text.splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.split()[0], set())
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.add(line.strip())

    def resolve(name):
        return set().union(*map(resolve, groups[name])) if name in groups else {name}

    allowed = set()
    for line in setting("SystemCallFilter"):
        calls = set().union(*(resolve(word) for word in line.removeprefix("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed | {"execve", "exit", "exit_group", "rt_sigreturn", "restart_syscall", "getrlimit", "time"}  # systemd's own


@contextlib.contextmanager
def another_users_program(directory):
    """A target of a user whose directory nobody else may enter."""
    closed = directory / "closed"
    closed.mkdir()
    shutil.copy(REPOSITORY / ".output/targets/leak_rate", closed)
    shutil.chown(closed, "nobody")
    shutil.chown(closed / "leak_rate", "nobody")
    closed.chmod(0o700)
    directory.chmod(0o755)
    for parent in directory.parents:
        if parent.stat().st_mode & 0o001 == 0:
            parent.chmod(parent.stat().st_mode | 0o001)
    command = ["setpriv", "--reuid=nobody", "--clear-groups", closed / "leak_rate", "--rate", str(1 << 20), "--duration", "600"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as target:
        try:
            yield int(target.stdout.readline().split()[1])
        finally:
            target.kill()


def options_of_a_service(directory, pid, store, receiver):
    """All that a service is used for: snapshots, metrics, alerts, profiles."""
    config = directory / "alerts.toml"
    config.write_text(
        f'[alerts]\nspool = "{directory}/spool"\n[[alert]]\nname = "grows"\nwhen = "live-bytes"\nat_least = "1MiB"\n' + sink("webhook", receiver.url),
        encoding="utf-8",
    )
    return (
        *("--pid", pid, "--sample", "exact", "--interval", "500ms", "--output", "json", "--out", directory / "report.json"),
        *("--snapshot-dir", directory / "snapshots", "--snapshot-interval", "1s", "--snapshot-format", "json,pprof"),
        *("--listen", "127.0.0.1:0", "--config", config, "--push-profiles", "pyroscope+" + store.url, "--push-interval", "1s"),
    )


@pytest.mark.parametrize("way", ["capabilities", "system calls"])
def test_a_program_of_another_user_is_traced_with_what_the_unit_allows(tmp_path, way):
    calls = tmp_path / "calls"
    strace = ["strace", "--follow-forks", "--quiet=all", "--signal=none", "--string-limit=0", "--output", calls]
    with Receiver() as store, Receiver() as receiver, another_users_program(tmp_path) as pid:
        command = [*(strace if way == "system calls" else confined()), MEMTRACE, *options_of_a_service(tmp_path, pid, store, receiver)]
        with Memtrace(command, tmp_path / "report.json") as memtrace:
            url = served_url(memtrace)
            memtrace.wait_following()
            process = memtrace.process
            wait_until(lambda: store.posts and receiver.posts, "a profile and an alert")
            assert "memtrace_live_bytes" in get(url + "metrics")[2]
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
            os.kill(int(children[0]) if way == "system calls" else process.pid, signal.SIGTERM)
            assert memtrace.finish() == 0, memtrace.said
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["sites"][0]["stack"][0]["function"] == "leak_steadily"
    assert report["other_resources"]["descriptor_limit"] == resource.getrlimit(resource.RLIMIT_NOFILE)[0], "the program's, as it is ours"
    assert list((tmp_path / "snapshots").glob("*.json"))
    assert "Permission denied" not in memtrace.said and "not permitted" not in memtrace.said
    if way == "system calls":
        used = set(re.findall(r"^\d+ +(\w+)\(", calls.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
        assert len(used) > 40 and "bpf" in used
        assert not used - allowed_calls() - NOT_FILTERED, "the unit's filter refuses them"


def test_the_daemon_runs_with_what_the_unit_allows(tmp_path):
    with Receiver() as store, another_users_program(tmp_path) as pid:
        (tmp_path / "orders.pid").write_text(f"{pid}\n", encoding="utf-8")
        config = tmp_path / "memtrace.toml"
        config.write_text(
            f'[[target]]\nname = "orders"\npid_file = "{tmp_path}/orders.pid"\n[trace]\ninterval = "500ms"\nsample = "exact"\n'
            f'push-profiles = "pyroscope+{store.url}"\npush-interval = "1s"\npush-label = ["env=test", "pid="]\n',
            encoding="utf-8",
        )
        with Memtrace([*confined(), MEMTRACE, "daemon", "--config", config], tmp_path / "report.json") as memtrace:
            wait_until(lambda: len(store.posts) >= 2, "profiles")
            os.kill(memtrace.process.pid, signal.SIGTERM)
            assert memtrace.finish() == 0, memtrace.said
    for name, labels in (pyroscope_name(query_of(post)[1]["name"]) for post in store.posts):
        assert name == "leak_rate" and labels == {"env": "test", "host": socket.gethostname(), "target": "orders"}
    assert f"following process {pid} (leak_rate), target orders" in memtrace.said


def test_what_is_installed_keeps_a_history_and_what_could_not_be_told(tmp_path):
    """The configuration as it is installed, with another target and another place to write to."""
    text = (UNIT.parent / "memtrace.toml").read_text(encoding="utf-8")
    state = tmp_path / setting("StateDirectory")[0]
    state.mkdir()
    with Receiver() as gone:
        nobody = gone.url
    with another_users_program(tmp_path) as pid:
        (tmp_path / "orders.pid").write_text(f"{pid}\n", encoding="utf-8")
        for old, new in (
            ("/var/lib/memtrace", str(state)),
            ('unit = "postgresql@17-main.service"', f'pid_file = "{tmp_path}/orders.pid"'),
            ('# interval = "5s" ', 'interval = "500ms" '),
            ("127.0.0.1:9464", "127.0.0.1:0"),
        ):
            assert old in text
            text = text.replace(old, new)
        config = tmp_path / "memtrace.toml"
        config.write_text(text + '[[alert]]\nname = "grows"\nwhen = "live-bytes"\nat_least = "1MiB"\n' + sink("webhook", nobody), encoding="utf-8")
        with Memtrace([*confined(), MEMTRACE, "daemon", "--config", config], tmp_path / "report.json") as memtrace:
            wait_until(lambda: list((state / "alerts").glob("webhook.*.json")), "a spooled alert")
            os.kill(memtrace.process.pid, signal.SIGTERM)
            assert memtrace.finish() == 0, memtrace.said
    done = subprocess.run([MEMTRACE, "history", state / "history.db", "--pid", str(pid), "--alerts"], capture_output=True, text=True, check=True)
    assert "leak_rate" in done.stdout and "grows" in done.stdout
