/* USDT probes of programs: libbpf's reader of their arguments, with room for what memtrace attaches to. Brings maps of its own, a set for each object. */
#ifndef MEMTRACE_PROGRAM_PROBES_H
#define MEMTRACE_PROGRAM_PROBES_H

/* Of all places of all probes of all processes, those that find their arguments in different ways. */
#define BPF_USDT_MAX_SPEC_CNT 4096
#define BPF_USDT_MAX_IP_CNT 1 /* for kernels without cookies, which memtrace does not run on */
#include <bpf/usdt.bpf.h>

#endif
