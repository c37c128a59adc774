#!/bin/bash
# Writes vmlinux/<arch>/vmlinux.h: declarations of the kernel types that bpf/ uses, and no others, read from a kernel's BTF.
# What is used is listed below: to use more, add a line and run this again.
#
#   scripts/gen-vmlinux.sh [BTF]     BTF: a kernel's, /sys/kernel/btf/vmlinux unless named
#   scripts/gen-vmlinux.sh --check   fails where the headers declare what bpf/ does not use, or lack what is listed
#
# One kernel serves every architecture: CO-RE moves the fields to their places at load time, and their types are the same on all
# 64-bit ones. Only the registers are an architecture's own, and they are ABI: they stand below, not in the list.
set -euo pipefail
cd "$(dirname "$0")/.."

exec python3 - "$@" <<'PYTHON'
import json
import pathlib
import re
import shutil
import subprocess
import sys

# Constants of the kernel's BPF interface.
CONSTANTS = """
    BPF_MAP_TYPE_HASH BPF_MAP_TYPE_ARRAY BPF_MAP_TYPE_PERCPU_ARRAY BPF_MAP_TYPE_ARRAY_OF_MAPS BPF_MAP_TYPE_RINGBUF BPF_MAP_TYPE_TASK_STORAGE
    BPF_ANY BPF_NOEXIST BPF_F_NO_PREALLOC BPF_F_MMAPABLE BPF_F_INNER_MAP BPF_LOCAL_STORAGE_GET_F_CREATE
    BPF_RB_AVAIL_DATA BPF_RB_NO_WAKEUP BPF_RB_FORCE_WAKEUP MM_ANONPAGES MM_SHMEMPAGES
""".split()

# Kernel structures and their fields; relocated when the program is loaded. An embedded structure stands before its user.
RELOCATED = {
    "xol_area": "vaddr",
    "uprobes_state": "xol_area",
    "percpu_counter": "count counters",
    "mm_struct": "uprobes_state rss_stat brk",
    "bpf_array": "pptrs",
    "return_instance": "stack orig_ret_vaddr next",
    "uprobe_task": "return_instances depth",
    "sigset_t": "sig",
    "sigpending": "signal",
    "super_block": "s_magic",
    "inode": "i_mode i_sb",
    "qstr": "name",
    "dentry": "d_name",
    "path": "dentry",
    "file": "f_inode f_path",
    "fdtable": "max_fds fd",
    "files_struct": "fdt",
    "task_struct": "tgid pid real_parent mm files utask nvcsw pending",
    "seq_file": "",
    "bpf_iter_meta": "seq",
    "bpf_iter__task": "meta task",
}

PROLOGUE = """\
/* Declarations of the kernel types that bpf/ uses, and no others. Made by scripts/gen-vmlinux.sh: to use more, add to its list.
 * The place of a field here means nothing: it is looked up in the running kernel's BTF when the program is loaded.
 */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef unsigned long size_t;
typedef _Bool bool;

/* Used by libbpf's declarations of the helpers. */
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
"""

RAW_ARGUMENTS = """
/* Part of the ABI: what a raw tracepoint is given. */
struct bpf_raw_tracepoint_args {
    __u64 args[0];
};
"""

REGISTERS = {
    "x86_64": """
/* Part of the ABI: the registers of the thread that hit a probe. */
struct pt_regs {
    unsigned long r15;
    unsigned long r14;
    unsigned long r13;
    unsigned long r12;
    unsigned long bp;
    unsigned long bx;
    unsigned long r11;
    unsigned long r10;
    unsigned long r9;
    unsigned long r8;
    unsigned long ax;
    unsigned long cx;
    unsigned long dx;
    unsigned long si;
    unsigned long di;
    unsigned long orig_ax;
    unsigned long ip;
    unsigned long cs;
    unsigned long flags;
    unsigned long sp;
    unsigned long ss;
};
""",
    "aarch64": """
/* Part of the ABI: the registers of the thread that hit a probe. */
struct user_pt_regs {
    __u64 regs[31];
    __u64 sp;
    __u64 pc;
    __u64 pstate;
};

/* Its beginning: the kernel's own fields follow. */
struct pt_regs {
    struct user_pt_regs user_regs;
    __u64 orig_x0; /* the first argument of a system call: regs[0] is its result at its end */
    __s32 syscallno;
};
""",
}

# BTF spells integers as the compiler does, and the kernel's short names are the double-underscored ones.
SPELLING = {
    "long unsigned int": "unsigned long",
    "long int": "long",
    "short unsigned int": "unsigned short",
    "short int": "short",
    "long long unsigned int": "unsigned long long",
    "long long int": "long long",
    **{f"{sign}{bits}": f"__{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64)},
}
PLAIN_TYPEDEFS = {"pid_t": "int"}


def fail(text):
    sys.exit(f"gen-vmlinux: {text}")


class Btf:
    def __init__(self, path):
        tool = shutil.which("bpftool") or "/usr/sbin/bpftool"
        dump = subprocess.run([tool, "-j", "btf", "dump", "file", path], capture_output=True, text=True)
        if dump.returncode != 0:
            fail(f"bpftool cannot read {path}: {dump.stderr.strip() or dump.stdout.strip()}")
        types = json.loads(dump.stdout)["types"]
        self.by_id = {entry["id"]: entry for entry in types}
        self.structs = {entry["name"]: entry for entry in types if entry["kind"] == "STRUCT"}
        unnamed = {entry["id"]: entry for entry in types if entry["kind"] == "STRUCT" and entry["name"] == "(anon)"}
        self.typedefs = {
            entry["name"]: unnamed[entry["type_id"]] for entry in types if entry["kind"] == "TYPEDEF" and entry["type_id"] in unnamed
        }
        self.constants = {}
        for entry in types:
            if entry["kind"] in ("ENUM", "ENUM64"):
                for value in entry["values"]:
                    self.constants.setdefault(value["name"], (entry, value["val"]))

    def fields(self, struct):
        """Name and type of each field, those of unnamed structures inside included: C and CO-RE see them as the outer one's."""
        for member in struct["members"]:
            if member["name"] != "(anon)":
                yield member["name"], member["type_id"]
            else:
                yield from self.fields(self.by_id[member["type_id"]])

    def declare(self, type_id, name):
        """The C declaration of `name`, as a field of this type."""
        if type_id == 0:
            return f"void {name}"
        entry = self.by_id[type_id]
        kind = entry["kind"]
        if kind == "PTR":
            return self.declare(entry["type_id"], f"*{name}")
        if kind == "ARRAY":
            return self.declare(entry["type_id"], f"{name}[{entry['nr_elems']}]")
        if kind in ("CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"):
            return self.declare(entry["type_id"], name)
        if kind in ("STRUCT", "UNION", "FWD") and entry["name"] != "(anon)":
            return f"struct {entry['name']} {name}"
        if entry.get("name") in self.typedefs:
            return f"{entry['name']} {name}"
        if kind in ("INT", "TYPEDEF"):
            spelled = SPELLING.get(entry["name"], PLAIN_TYPEDEFS.get(entry["name"], entry["name"]))
            if kind == "TYPEDEF" and spelled == entry["name"]:
                return self.declare(entry["type_id"], name)
            return f"{spelled} {name}"
        fail(f"field {name}: {kind} {entry['name']} is more than this script can declare")


def constants(btf):
    enums = {}
    for name in CONSTANTS:
        if name not in btf.constants:
            fail(f"this kernel has no constant {name}")
        entry, value = btf.constants[name]
        enums.setdefault(entry["id"], (entry["name"], []))[1].append((value, name))
    for tag, values in enums.values():
        lines = "".join(f"    {name} = {value},\n" for value, name in sorted(values))
        yield f"\nenum {'' if tag == '(anon)' else tag + ' '}{{\n{lines}}};\n"


def structures(btf):
    yield "\n#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)\n"
    for name, wanted in RELOCATED.items():
        struct = btf.structs.get(name) or btf.typedefs.get(name)
        if not struct:
            fail(f"this kernel has no struct {name}")
        fields = dict(btf.fields(struct))
        lines = ""
        for field in wanted.split():
            if field not in fields:
                fail(f"this kernel's struct {name} has no field {field}")
            lines += f"    {btf.declare(fields[field], field)};\n"
        yield f"\nstruct {name} {{\n{lines}}};\n" if name in btf.structs else f"\ntypedef struct {{\n{lines}}} {name};\n"
    yield "\n#pragma clang attribute pop\n"


def write(path):
    btf = Btf(path)
    common = "".join(constants(btf)), "".join(structures(btf))
    for arch, registers in REGISTERS.items():
        header = pathlib.Path("vmlinux", arch, "vmlinux.h")
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(PROLOGUE + common[0] + RAW_ARGUMENTS + registers + common[1] + "\n#endif\n")


def check():
    sources = [*pathlib.Path("bpf").glob("*.[ch]")]
    comment = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
    used = set(re.findall(r"\w+", comment.sub(" ", "\n".join(source.read_text() for source in sources))))
    listed = set(CONSTANTS) | {field for fields in RELOCATED.values() for field in fields.split()}
    problems = [f"{name}: listed in scripts/gen-vmlinux.sh, not used in bpf/" for name in sorted(listed - used)]
    for arch in REGISTERS:
        header = pathlib.Path("vmlinux", arch, "vmlinux.h")
        declared = set(re.findall(r"\w+", header.read_text()))
        problems += [f"{header}: lacks {name}: run scripts/gen-vmlinux.sh" for name in sorted(listed - declared)]
        extra = set(re.findall(r"\bBPF_\w+", header.read_text())) - set(CONSTANTS)
        problems += [f"{header}: declares {name}, which is not listed: run scripts/gen-vmlinux.sh" for name in sorted(extra)]
        tags = set(re.findall(r"^struct (\w+) \{", header.read_text(), re.MULTILINE))
        extra = tags - set(RELOCATED) - {"bpf_raw_tracepoint_args", "pt_regs", "user_pt_regs"}
        problems += [f"{header}: declares struct {name}, which is not listed" for name in sorted(extra)]
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(bool(problems))


arguments = sys.argv[1:]
if arguments == ["--check"]:
    check()
elif len(arguments) > 1 or arguments and arguments[0].startswith("-"):
    sys.exit("usage: scripts/gen-vmlinux.sh [BTF] | --check")
else:
    write(arguments[0] if arguments else "/sys/kernel/btf/vmlinux")
PYTHON
