"""Names in containers and after package upgrades: the file that is mapped is not the one that its path leads to here, or that it
leads to by now. In each case there is another file under that path, with other names, so that looking there would show."""

import contextlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from memtrace_runner import Memtrace, live_by_function
from targets import Target, bare_name

SERVER = r"""
#include "truth.h"
#include "shop.h"
int main(int argc, char** argv) {
    truth_ready(argc, argv);
    for (int i = 0; i < 10; i++) {
        shop_leak();
    }
    shop_tell();
    truth_finish(TRUTH_SITES);
}
"""

HEADER = "void shop_leak(void);\nvoid shop_tell(void);\n"

# The library: FUNCTION is what tells one build from another.
LIBRARY = r"""
#include "truth.h"
#include "shop.h"
static struct truth_site site = {"FUNCTION", 0, 0, 0, 0, 0, 0};
LEAKING void FUNCTION(void) {
    truth_alloc(&site, malloc(truth_opaque(SIZE)), SIZE);
    __asm__ volatile("");
}
void shop_leak(void) {
    FUNCTION();
    __asm__ volatile("");
}
void shop_tell(void) {
    struct truth_line line = {{0}, 0};
    truth_add_text(&line, "leak FUNCTION ");
    truth_add_number(&line, site.bytes);
    truth_add_text(&line, " ");
    truth_add_number(&line, site.count);
    truth_write(&line);
}
"""


@dataclass(frozen=True)
class Build:
    """A program and its library in the layout of a root directory: /opt/shop/server, /opt/shop/libshop.so."""

    root: Path
    function: str

    @property
    def library(self):
        return self.root / "opt" / "shop" / "libshop.so"

    @property
    def server(self):
        return self.root / "opt" / "shop" / "server"


def build(root, function, size):
    folder = root / "opt" / "shop"
    folder.mkdir(parents=True)
    (root / "shop.h").write_text(HEADER, encoding="utf-8")
    (root / "server.c").write_text(SERVER, encoding="utf-8")
    (root / "shop.c").write_text(LIBRARY.replace("FUNCTION", function).replace("SIZE", str(size)), encoding="utf-8")
    include = Path(__file__).resolve().parents[1] / "targets"
    common = ["gcc", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-I", include, "-I", root]
    made = Build(root, function)
    subprocess.run([*common, "-shared", "-fPIC", "-o", made.library, root / "shop.c"], check=True)
    subprocess.run([*common, "-o", made.server, root / "server.c", "-L", folder, "-lshop", "-Wl,-rpath,/opt/shop"], check=True)
    return made


@pytest.fixture(name="builds")
def two_builds(tmp_path):
    """Of other lengths, so that an address of one is no function's, or another's, in the other."""
    return build(tmp_path / "one", "leak_of_the_first", 100), build(tmp_path / "two", "leak_of_the_second_build", 3000)


@contextlib.contextmanager
def mounted(*command):
    """A mount, undone afterwards; the last word is the place."""
    place = command[-1]
    Path(place).mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *command], check=True)
    try:
        yield Path(place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(name="host_has_second")
def second_build_on_the_host(builds):
    """/opt/shop is the second build's on this machine, for the time of a test."""
    with mounted("--bind", builds[1].root / "opt" / "shop", "/opt/shop"):
        yield builds[1]
    Path("/opt/shop").rmdir()


def trace(directory, target, before_the_report=None):
    with Memtrace.attach(directory, target.ready(), "--interval", "200ms") as memtrace:
        target.go()
        truth = target.truth()
        if before_the_report:
            before_the_report()
        return memtrace.stop(), truth


def names(site):
    return [bare_name(frame["function"]) for frame in site["stack"]]


def expect_build(report, truth, build_, path="/opt/shop/libshop.so"):
    """All of the leak, under the names, lines and path of that build."""
    assert list(truth.leaks) == [build_.function]
    assert live_by_function(report, lambda site: truth.function_of(names(site))) == truth.leaks
    site, = [site for site in report["sites"] if build_.function in names(site)]
    assert names(site)[:3] == [build_.function, "shop_leak", "main"]
    first = site["stack"][0]
    source = (build_.root / "shop.c").read_text(encoding="utf-8").splitlines()
    assert first["module"] == path and Path(first["file"]).name == "shop.c"
    assert "malloc(" in source[first["line"] - 1]
    notes = subprocess.run(["readelf", "-n", build_.library], capture_output=True, text=True, check=True).stdout
    assert first["build_id"] in notes and first["build_id"]


# ---- mount namespaces


def test_another_library_at_the_same_path_in_its_mount_namespace(tmp_path, builds, host_has_second):
    """As in a container: /opt/shop is the first build there, the second here."""
    first = builds[0]
    into = f"mount --bind {first.root}/opt/shop /opt/shop && exec \"$0\" \"$@\""
    with Target.start(Path("/opt/shop/server"), prefix=["unshare", "-m", "sh", "-c", into]) as target:
        report, truth = trace(tmp_path, target)
    expect_build(report, truth, first)


def change_root(root):
    """Fills `root` with what a program needs to run below it."""
    for name in ("lib", "lib64", "usr", "proc", "dev"):
        (root / name).mkdir(exist_ok=True)
    stack = contextlib.ExitStack()
    for name in ("lib", "lib64", "usr"):
        stack.enter_context(mounted("--bind", f"/{name}", root / name))
    return stack


def test_another_root_directory(tmp_path, builds, host_has_second):
    first = builds[0]
    with change_root(first.root), start_below(first.root) as target:
        report, truth = trace(tmp_path, target)
        expect_build(report, truth, first)


def start_below(root):
    """The server, chrooted: Target.start looks for the program from here, where it is the other build."""
    return Target.start(Path("/opt/shop/server"), prefix=["chroot", root])


def test_debug_file_below_its_root(tmp_path, builds, host_has_second):
    """The library is stripped; its debug file, by build-id, is in the container only."""
    first = builds[0]
    notes = subprocess.run(["readelf", "-n", first.library], capture_output=True, text=True, check=True).stdout
    build_id = notes.split("Build ID: ")[1].split()[0]
    into = first.root / "usr" / "lib" / "debug" / ".build-id" / build_id[:2]
    with contextlib.ExitStack() as stack:
        for name in ("lib", "lib64"):
            (first.root / name).mkdir()
            stack.enter_context(mounted("--bind", f"/{name}", first.root / name))
        into.mkdir(parents=True)
        subprocess.run(["objcopy", "--only-keep-debug", first.library, into / f"{build_id[2:]}.debug"], check=True)
        subprocess.run(["strip", first.library], check=True)
        with start_below(first.root) as target:
            report, truth = trace(tmp_path, target)
        expect_build(report, truth, first)


def test_overlay_file_system(tmp_path, builds, host_has_second):
    """A container's usual root: read-only layers and a writable one above. The library is in a lower layer, the program in the upper."""
    first = builds[0]
    upper = tmp_path / "upper"
    (upper / "opt" / "shop").mkdir(parents=True)
    shutil.move(first.server, upper / "opt" / "shop" / "server")
    (tmp_path / "work").mkdir()
    layers = f"lowerdir={first.root},upperdir={upper},workdir={tmp_path / 'work'}"
    with mounted("-t", "overlay", "overlay", "-o", layers, tmp_path / "merged") as root, change_root(root):
        with start_below(root) as target:
            report, truth = trace(tmp_path, target)
            expect_build(report, truth, first)


def test_it_ends_before_it_is_named(tmp_path, builds, host_has_second):
    """Its root, its mounts and its map_files are gone by then."""
    first = builds[0]
    into = f"mount --bind {first.root}/opt/shop /opt/shop && exec \"$0\" \"$@\""
    with Target.start(Path("/opt/shop/server"), prefix=["unshare", "-m", "sh", "-c", into]) as target:
        with Memtrace.attach(tmp_path, target.ready(), "--interval", "1h") as memtrace:
            target.go()
            truth = target.truth()
            target.finish()
            report, = memtrace.last_reports()
    expect_build(report, truth, first)


# ---- package upgrades


@pytest.fixture(name="installed")
def first_build_installed(builds):
    """/opt/shop is a copy of the first build."""
    Path("/opt/shop").mkdir(parents=True)
    for path in (builds[0].server, builds[0].library):
        shutil.copy(path, "/opt/shop")
    yield builds[0]
    shutil.rmtree("/opt/shop")


def upgrade(build_):
    """As dpkg does it: the new file is made beside the old one, then takes its name. The old one has no name then."""
    for path in (build_.server, build_.library):
        new = Path("/opt/shop") / f"{path.name}.dpkg-new"
        shutil.copy(path, new)
        new.rename(Path("/opt/shop") / path.name)


def test_upgraded_while_it_is_traced(tmp_path, builds, installed):
    with Target.start(Path("/opt/shop/server")) as target:
        report, truth = trace(tmp_path, target, before_the_report=lambda: upgrade(builds[1]))
    expect_build(report, truth, installed)


def test_upgraded_before_it_is_traced(tmp_path, builds, installed):
    with Target.start(Path("/opt/shop/server")) as target:
        pid = target.ready()
        upgrade(builds[1])
        assert "libshop.so (deleted)" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        report, truth = trace(tmp_path, target)
    expect_build(report, truth, installed)


def test_deleted_before_it_is_traced(tmp_path, installed):
    with Target.start(Path("/opt/shop/server")) as target:
        target.ready()
        for name in ("server", "libshop.so"):
            (Path("/opt/shop") / name).unlink()
        report, truth = trace(tmp_path, target)
    expect_build(report, truth, installed)
