/* Who is followed: what each BPF object of memtrace looks up. Made by memtrace.bpf.c's; the other objects are given the same maps before they
 * are loaded (user/kernel/stack_maps.hpp). Sizes marked (user) are set between open and load. */
#ifndef MEMTRACE_PROCESS_MAPS_H
#define MEMTRACE_PROCESS_MAPS_H

#include "bpf/types.h"

/* Followed processes by slot. Mapped into user space, which writes single fields while the kernel half may write others. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_process);
} processes SEC(".maps");

/* Slot of a followed process by tgid, for tracepoints, which carry no cookie. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} slots SEC(".maps");

#endif
