"""What a probe of include/memtrace/probes.h is in a program that nobody traces: a load, a comparison, a branch that is not taken."""

import re
import subprocess
from pathlib import Path

import pytest

INCLUDE = Path(__file__).resolve().parents[2] / "include"
PROBES = {
    "object_create": 'object, 64, "Session"',
    "object_destroy": "object",
    "ref_acquire": "object, handle, 1, 2",
    "ref_release": "object, handle, 1, 1",
    "ref_move": "object, handle, object, 1",
    "storage_acquire": "object, 64, handle",
    "resource_acquire": '"cursor", 1, 0, 64, "select 1"',
    "resource_touch": '"cursor", 1',
    "resource_release": '"cursor", 1',
    "pool_get": 'object, "pool", 1, 2',
}
MOST = 4  # the comparison may load by itself; the return is the last


@pytest.fixture(scope="module")
def instructions(tmp_path_factory):
    """Of each function up to its first return: what runs where no branch is taken."""
    directory = tmp_path_factory.mktemp("untraced")
    source = directory / "probes.c"
    functions = [f"void of_{name}(void* object, void* handle) {{ (void)object, (void)handle; memtrace_{name}({arguments}); }}"
                 for name, arguments in PROBES.items()]  # fmt: skip
    source.write_text('#include "memtrace/probes.h"\n' + "\n".join(functions) + "\n")
    built = directory / "probes.o"
    subprocess.run(["gcc", "-O2", "-Wall", "-Werror", f"-I{INCLUDE}", "-fcf-protection=none", "-c", "-o", built, source], check=True)
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", built], check=True, capture_output=True, text=True).stdout
    found = {}
    for name, body in re.findall(r"<of_(\w+)>:\n(.*?)(?:\n\n|\Z)", listing, re.DOTALL):
        lines = [line.partition("\t")[2].strip() for line in body.splitlines()]
        end = next(i for i, line in enumerate(lines) if re.match(r"ret", line))
        found[name] = lines[:end + 1]
    return found


def test_every_probe_is_looked_at(instructions):
    assert set(instructions) == set(PROBES)


@pytest.mark.parametrize("probe", PROBES)
def test_untraced_it_is_a_look_at_its_semaphore(instructions, probe):
    lines = instructions[probe]
    assert len(lines) <= MOST, lines
    assert not any(re.search(r"\b(call|lock|xchg|bl|blr|jmp)\b", line) for line in lines), lines
    assert sum(bool(re.match(r"(j\w+|b\.\w+|cbn?z)\b", line)) for line in lines) == 1, lines
