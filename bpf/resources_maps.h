/* The resources tier's memory. Sizes marked (user) are set between open and load (user/kernel/resource_tracer.cpp). */
#ifndef MEMTRACE_RESOURCES_MAPS_H
#define MEMTRACE_RESOURCES_MAPS_H

#include "bpf/resources.h"

/* Followed processes by tgid. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_resource_process);
} resource_processes SEC(".maps");

/* By slot; of the counters, those of this tier. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_counters);
} resource_counters SEC(".maps");

/* Stacks by hash, as in maps.h. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, struct mt_stack);
} resource_stacks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct mt_resource_thread);
} resource_threads SEC(".maps");

/* (user) */
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} resource_records SEC(".maps");

#endif
