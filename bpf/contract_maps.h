/* The contract tier's memory. Sizes marked (user) are set between open and load (user/kernel/contract_tracer.cpp). */
#ifndef MEMTRACE_CONTRACT_MAPS_H
#define MEMTRACE_CONTRACT_MAPS_H

#include "bpf/contract.h"

/* Followed processes by tgid. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_contract_process);
} contract_processes SEC(".maps");

/* By slot; of the counters, those of this tier. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct mt_counters);
} contract_counters SEC(".maps");

/* Stacks by hash, as in maps.h. (user) */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, struct mt_stack);
} contract_stacks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct mt_contract_thread);
} contract_threads SEC(".maps");

/* (user) */
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} contract_records SEC(".maps");

#endif
