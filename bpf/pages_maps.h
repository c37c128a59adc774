/* The pages tier's memory. Sizes marked (user) are set between open and load (user/kernel/page_tracer.cpp). */
#ifndef MEMTRACE_PAGES_MAPS_H
#define MEMTRACE_PAGES_MAPS_H

#include "bpf/pages.h"

/* Followed processes by tgid. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_page_process);
} page_processes SEC(".maps");

/* By slot. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_page_local);
} page_locals SEC(".maps");

/* By slot; of the counters, those of this tier. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_counters);
} page_counters SEC(".maps");

/* (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, struct mt_page_site);
} page_sites SEC(".maps");

/* Stacks by hash, as in maps.h. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, struct mt_stack);
} page_stacks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct mt_page_thread);
} page_threads SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1024 * 1024);
} page_records SEC(".maps");

#endif
