/* A heap that a program tells of itself: otel_memory:alloc(ptr, size, weighted bytes) and otel_memory:free(ptr), the OpenTelemetry profiler's
 * memory contract. The program has sampled; what it tells goes into the maps of the heap's object (maps.h), which this tier's object shares,
 * so that sites, ages and survivors are read as any allocator's. Shared with the collector. */
#ifndef MEMTRACE_TOLD_HEAP_H
#define MEMTRACE_TOLD_HEAP_H

#include "bpf/inflight.h"
#include "bpf/stack_scratch.h"

/* Where the contract's arguments are, from 0. */
#define MT_TOLD_PTR 0
#define MT_TOLD_SIZE 1
#define MT_TOLD_WEIGHTED 2

/* A thread's scratch. */
struct mt_told_thread {
    struct mt_call call;
    struct mt_stack_scratch scratch;
};

#endif
