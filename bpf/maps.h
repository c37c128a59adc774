/* The kernel half's memory. Sizes marked (user) are set between open and load (user/kernel/loader.cpp). */
#ifndef MEMTRACE_MAPS_H
#define MEMTRACE_MAPS_H

#include "bpf/inflight.h"
#include "bpf/process_maps.h"
#include "bpf/types.h"

/* Counters by slot. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_counters);
} counters SEC(".maps");

/* Blocks allocated and not freed. Preallocated: an update can fail only because the map is full, never for want of memory in the
 * middle of a burst. (user: --max-live) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, struct mt_live_key);
    __type(value, struct mt_live_block);
} live SEC(".maps");

/* Totals by call site. Not preallocated: new sites are rare. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, struct mt_site);
} sites SEC(".maps");

/* Stacks by hash of their addresses. A kilobyte each, so not preallocated. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, struct mt_stack);
} stacks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct mt_thread);
} threads SEC(".maps");

/* Process events; rare, but for processes that load and unload libraries without end: room for what comes while one is looked at. */
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

#endif
