"""memtrace on Debian's own kernels: tests/vm/guest_tests.py, run in an emulated machine. One boot for each machine; each test of
the guest is one here.

MEMTRACE_VM names the machines, with commas: 6.1 unless it is set; `make test-vm` sets it to "all".
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from targets import REPOSITORY

GUEST_TESTS = "tests/vm/guest_tests.py"
HELPERS = ["memtrace_runner.py", "targets.py", "test_descriptors.py", "tracer.py"]
# Kernel, and what is added to its command line. The default is preempt=voluntary; full is the worst that can happen to state that
# is per CPU.
MACHINES = {
    "6.1": ("6.1", ""),
    "6.1-preempt": ("6.1", "preempt=full"),
    "6.12": ("6.12", ""),
    "6.12-preempt": ("6.12", "preempt=full"),
}
SELECTED = os.environ.get("MEMTRACE_VM", "6.1").split(",")
if SELECTED == ["all"]:
    SELECTED = list(MACHINES)
RUN_S = 280

pytestmark = pytest.mark.timeout(RUN_S + 20)


def python_files():
    """This Python and its pytest, as far as the guest needs them."""
    library = Path(sysconfig.get_path("stdlib"))
    unneeded = re.compile(r"config-.*|test|idlelib|lib2to3|pydoc_data|distutils|ensurepip|tkinter|(site|dist)-packages")
    wanted = [path for path in library.iterdir() if path.name != "lib-dynload" and not unneeded.fullmatch(path.name)]
    # Not those that drag in the libraries of databases, terminals and TLS.
    extensions = re.compile(r"_(ssl|hashlib|sqlite3|curses.*|dbm|gdbm|tkinter|crypt)\..*|readline\..*|nis\..*")
    wanted += [path for path in (library / "lib-dynload").glob("*.so") if not extensions.fullmatch(path.name)]
    # What pytest has loaded here, it needs there.
    files = {name: getattr(module, "__file__", None) or "" for name, module in list(sys.modules.items())}
    installed = {name.partition(".")[0] for name, file in files.items() if "-packages/" in file}
    for name in sorted(installed - {"__main__", "_distutils_hack"}):
        file = Path(sys.modules[name].__file__)
        wanted.append(file.parent if file.name == "__init__.py" else file)
    return [sys.executable, *wanted]


def guest_test_names():
    """Read from the source: to import it would be to run it on this kernel."""
    found = re.findall(r"^def (test_\w+)", (REPOSITORY / GUEST_TESTS).read_text(encoding="utf-8"), re.MULTILINE)
    assert found and len(found) == len(set(found))
    return found


class Guest:
    """A machine that has been booted, has run the guest's tests, and is gone."""

    # said: all that it said. ran: names of tests. failed: name -> what pytest said, for each parameter.
    def __init__(self, machine, directory):
        kernel, append = MACHINES[machine]
        command = [REPOSITORY / "scripts/vm-run.sh", "--kernel", kernel, "--append", append, "--out", directory]
        command += ["--timeout", RUN_S]
        bpftool = shutil.which("bpftool") or "/usr/sbin/bpftool"
        for path in [*python_files(), bpftool, GUEST_TESTS, *(f"tests/e2e/{name}" for name in HELPERS)]:
            command += ["--add", path]
        command += ["--", sys.executable, "-m", "pytest", "-v", "--tb=short", "--color=no", "--durations=5"]
        command += ["-p", "no:cacheprovider", "-o", "faulthandler_timeout=70", "--junit-xml=/out/tests.xml", GUEST_TESTS]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        run = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, env=environment, check=False)
        self.said = (run.stdout + run.stderr).decode(errors="replace")
        self.failed = {}
        self.ran = set()
        if not (directory / "tests.xml").exists():
            pytest.fail(f"the guest's tests did not end; status {run.returncode}\n{self.said[-6000:]}", pytrace=False)
        for case in ElementTree.parse(directory / "tests.xml").iter("testcase"):
            self._take(case)
        if not self.ran & set(guest_test_names()):
            pytest.fail(f"the guest's tests did not start\n{self.said[-6000:]}", pytrace=False)

    def _take(self, case):
        name = re.sub(r"\[.*", "", case.get("name"))
        if case.find("skipped") is None:
            self.ran.add(name)
        for kind in ("failure", "error"):
            for found in case.iter(kind):
                self.failed.setdefault(name, []).append(f"{case.get('name')}\n{found.text}")


@pytest.fixture(scope="module", params=SELECTED)
def guest(request, tmp_path_factory):
    return Guest(request.param, tmp_path_factory.mktemp("guest"))


@pytest.mark.parametrize("name", guest_test_names())
def test_on_this_kernel(guest, name):
    assert name not in guest.failed, "in the emulated machine:\n" + "\n".join(guest.failed[name])
    assert name in guest.ran, f"{name} was not run\n{guest.said[-4000:]}"
