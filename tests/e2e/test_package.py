"""`make deb` in a clean Debian: a minimal one of this machine's release, from this machine's apt sources, in which the package is installed with
its dependencies, traces a program, and is removed and purged; and `make install` beside `make uninstall`.

The minimal Debian is made once (.output/debian-RELEASE.tar) and unpacked for each run. What runs in it has mounts of its own, which end with it.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from targets import REPOSITORY, TARGETS

OUTPUT = REPOSITORY / ".output"
RELEASE = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE)[1]
LEAK = ("leak_rate", "--rate", "1048576", "--duration", "600")


def run(*command, timeout=300, **options):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False, **options)
    assert done.returncode == 0, f"{command} ended with status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def apt_sources():
    """This machine's, as lines of a sources.list: those of Debian's own packages of this release, wherever they come from."""
    listed = run("apt-get", "indextargets", "--format", "deb $(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages", "Origin: Debian")
    sources = {line for line in listed.splitlines() if line.split()[2] in (RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security")}
    assert sources, "apt knows no packages of Debian: run apt-get update"
    return sorted(sources)


def make(*arguments):
    # What the tests trace is built already: this must not build it again with another compiler's name.
    return run("make", "-s", "-C", REPOSITORY, "--old-file=all", *arguments, env={**os.environ, "MAKEFLAGS": ""})


@pytest.fixture(scope="module", name="package")
def fixture_package():
    make("deb")
    (path,) = OUTPUT.glob("memtrace_*.deb")
    return path


def unpack_debian(root):
    archive = OUTPUT / f"debian-{RELEASE}.tar"
    if not archive.exists():
        fresh = archive.with_suffix(f".{os.getpid()}.tar")
        # Not to wait for the disk at every file: what a crash leaves is thrown away.
        quick = ("--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"')
        run("mmdebstrap", "--quiet", "--mode=root", "--variant=apt", *quick, RELEASE, fresh, *apt_sources(), timeout=800)
        os.replace(fresh, archive)
    root.mkdir()
    run("tar", "-C", root, "-xf", archive)


class CleanDebian:
    """A root directory with a minimal Debian in it."""

    def __init__(self, root):
        self.root = root
        unpack_debian(root)
        (root / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in apt_sources()), encoding="utf-8")
        # How this machine reaches them: proxies and the like.
        for file in Path("/etc/apt/apt.conf.d").iterdir():
            if "Acquire::" in (text := file.read_text(encoding="utf-8", errors="replace")) and "proxy" in text.lower():
                shutil.copy(file, root / "etc/apt/apt.conf.d" / file.name)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        shutil.copy("/etc/hosts", root / "etc/hosts")
        (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        (root / "usr/sbin/policy-rc.d").chmod(0o755)

    def command(self, *command):
        """`command` in it, with this machine's processes and kernel, in a namespace of mounts of its own."""
        mounts = " && ".join(f"mount --rbind /{name} {self.root}/{name}" for name in ("proc", "sys", "dev"))
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{mounts} && exec chroot {self.root} "$@"', "sh", *map(str, command)]

    def run(self, *command, **options):
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        return run(*self.command(*command), env={**environment, **{k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}}, **options)

    def exists(self, path):
        return os.path.lexists(self.root / path.lstrip("/"))


@pytest.mark.timeout(900)
def test_the_package_installs_traces_and_goes_again_in_a_clean_debian(tmp_path, package):
    debian = CleanDebian(tmp_path / "debian")
    shutil.copy(package, debian.root / package.name)
    debian.run("apt-get", "-q", "update")
    debian.run("apt-get", "-q", "install", "--yes", "--no-install-recommends", f"./{package.name}")
    version = re.match(r"memtrace_(.*)_", package.name)[1]
    assert debian.run("memtrace", "--version") == f"memtrace {version}\n"
    assert debian.run("dpkg", "--verify", "memtrace") == ""
    doctor = debian.run("memtrace", "doctor")
    assert re.search(r"^yes +privileges ", doctor, re.MULTILINE), doctor

    # A program of another Debian's than this test's: its libc is the one there.
    shutil.copy(TARGETS / LEAK[0], debian.root / "usr/local/bin")
    with subprocess.Popen(debian.command(*LEAK), stdout=subprocess.PIPE, text=True) as target:
        try:
            pid = int(target.stdout.readline().split()[1])
            debian.run("memtrace", "--pid", pid, "--sample", "exact", "--duration", "3s", "--output", "json", "--out", "/report.json")
            report = json.loads((debian.root / "report.json").read_text(encoding="utf-8"))
        finally:
            target.kill()
    leak = report["sites"][0]
    assert leak["stack"][0]["function"] == "leak_steadily" and leak["live_bytes"] > 1 << 20
    assert report["coverage"]["lost"] == {}
    # A recipe by its bare name is found where the package has put it.
    assert "sqlite" in debian.run("sh", "-c", "memtrace probes --pid $$ --config sqlite --duration 100ms && ls /usr/share/memtrace/recipes")

    for path in ("/etc/memtrace/memtrace.toml", "/usr/lib/systemd/system/memtrace.service", "/usr/include/memtrace/memtrace.hpp"):
        assert debian.exists(path), path
    assert not debian.exists("/etc/systemd/system/multi-user.target.wants/memtrace.service"), "nobody asked for it to be enabled"
    state = debian.root / "var/lib/memtrace"
    state.mkdir()
    (state / "history.db").touch()
    debian.run("apt-get", "-q", "remove", "--yes", "memtrace")
    assert not debian.exists("/usr/bin/memtrace") and not debian.exists("/usr/share/memtrace")
    assert debian.exists("/etc/memtrace/memtrace.toml") and debian.exists("/var/lib/memtrace/history.db")
    debian.run("apt-get", "-q", "purge", "--yes", "memtrace")
    left = [path for path in ("/etc/memtrace", "/var/lib/memtrace", "/usr/share/doc/memtrace") if debian.exists(path)]
    assert not left


def test_what_is_installed_works_from_where_it_is_and_goes_again(tmp_path):
    prefix = tmp_path / "opt"
    make("install", f"PREFIX={prefix}")
    configuration = prefix / "etc/memtrace/memtrace.toml"
    assert run(prefix / "bin/memtrace", "--version").startswith("memtrace ")
    unit = (prefix / "lib/systemd/system/memtrace.service").read_text(encoding="utf-8")
    assert f"ExecStart={prefix}/bin/memtrace daemon --config {configuration}\n" in unit
    page = run("man", "--warnings", "-E", "UTF-8", "-P", "cat", "-l", prefix / "share/man/man8/memtrace.8")
    for option in re.findall(r"^  (?:-\w,)?(--[a-z-]+)", run(prefix / "bin/memtrace", "--help"), re.MULTILINE):
        assert option in page, f"{option} is not in the manual page"
    # The headers by pkg-config, as a program is built with them.
    source = tmp_path / "told.cpp"
    source.write_text("#include <memtrace/memtrace.hpp>\nint main() { return 0; }\n", encoding="utf-8")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(prefix / "share/pkgconfig")}
    flags = run("pkg-config", "--cflags", "memtrace", env=environment).split()
    run("g++", "-std=c++20", *flags, source, "-o", tmp_path / "told", "-lpthread")

    configuration.write_text("# mine\n", encoding="utf-8")
    make("install", f"PREFIX={prefix}")
    assert configuration.read_text(encoding="utf-8") == "# mine\n"
    make("uninstall", f"PREFIX={prefix}")
    assert [path for path in prefix.rglob("*") if path.is_file()] == [configuration]


@pytest.mark.parametrize(
    "words, offered",
    [
        (["--out"], {"--output", "--out"}),
        (["--output", ""], {"text", "json"}),
        (["re"], {"report", "replay"}),
        (["report", "--f"], {"--format"}),
        (["--quiet", "--fail"], {"--fail-on"}),
    ],
)
def test_bash_completes(tmp_path, words, offered):
    script = tmp_path / "completion"
    script.write_text(run(REPOSITORY / "scripts/cli-docs.sh", "completion", OUTPUT / "memtrace"), encoding="utf-8")
    ask = f'. {script}; COMP_WORDS=(memtrace "$@"); COMP_CWORD=$#; _memtrace; printf "%s\\n" "${{COMPREPLY[@]}}"'
    assert set(run("bash", "-c", ask, "bash", *words).split()) == offered
