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

enum bpf_map_type {
    BPF_MAP_TYPE_HASH = 1,
    BPF_MAP_TYPE_ARRAY = 2,
    BPF_MAP_TYPE_PERCPU_ARRAY = 6,
    BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
    BPF_MAP_TYPE_RINGBUF = 27,
    BPF_MAP_TYPE_TASK_STORAGE = 29,
};

enum {
    BPF_ANY = 0,
    BPF_NOEXIST = 1,
};

enum {
    BPF_F_NO_PREALLOC = 1,
    BPF_F_MMAPABLE = 1024,
    BPF_F_INNER_MAP = 4096,
};

enum {
    BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
};

enum {
    BPF_RB_AVAIL_DATA = 0,
};

enum {
    BPF_RB_NO_WAKEUP = 1,
    BPF_RB_FORCE_WAKEUP = 2,
};

enum {
    MM_ANONPAGES = 1,
    MM_SHMEMPAGES = 3,
};

/* Part of the ABI: what a raw tracepoint is given. */
struct bpf_raw_tracepoint_args {
    __u64 args[0];
};

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

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct xol_area {
    unsigned long vaddr;
};

struct uprobes_state {
    struct xol_area *xol_area;
};

struct percpu_counter {
    __s64 count;
    __s32 *counters;
};

struct mm_struct {
    struct uprobes_state uprobes_state;
    struct percpu_counter rss_stat[4];
    unsigned long brk;
};

struct bpf_array {
    void *pptrs[0];
};

struct return_instance {
    unsigned long stack;
    unsigned long orig_ret_vaddr;
    struct return_instance *next;
};

struct uprobe_task {
    struct return_instance *return_instances;
    unsigned int depth;
};

typedef struct {
    unsigned long sig[1];
} sigset_t;

struct sigpending {
    sigset_t signal;
};

struct super_block {
    unsigned long s_magic;
};

struct inode {
    unsigned short i_mode;
    struct super_block *i_sb;
};

struct qstr {
    unsigned char *name;
};

struct dentry {
    struct qstr d_name;
};

struct path {
    struct dentry *dentry;
};

struct file {
    struct inode *f_inode;
    struct path f_path;
};

struct fdtable {
    unsigned int max_fds;
    struct file **fd;
};

struct files_struct {
    struct fdtable *fdt;
};

struct task_struct {
    int tgid;
    int pid;
    struct task_struct *real_parent;
    struct mm_struct *mm;
    struct files_struct *files;
    struct uprobe_task *utask;
    unsigned long nvcsw;
    struct sigpending pending;
};

struct seq_file {
};

struct bpf_iter_meta {
    struct seq_file *seq;
};

struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
};

#pragma clang attribute pop

#endif
