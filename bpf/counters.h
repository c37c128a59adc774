/* Every way in which the kernel half can lose or refuse something, named once: the BPF enum, the C++ names, the report and the
 * README's table come from this list. `loss` is 1 where a figure of the report may be off because of it.
 *
 *        name                    loss  meaning
 */
#ifndef MEMTRACE_COUNTERS_H
#define MEMTRACE_COUNTERS_H

#define MT_COUNTERS(X)                                                                                                           \
    X(hits_enter, 0, "allocation entry probes hit")                                                                              \
    X(hits_return, 0, "allocation return probes hit")                                                                            \
    X(hits_free, 0, "free probes hit")                                                                                           \
    X(stepped_hits, 0, "hits among these of probes on an instruction that the kernel single-steps")                              \
    X(nested_calls, 0, "calls inside another traced call, counted as part of the outer one")                                     \
    X(failed_allocs, 0, "allocations that the allocator refused")                                                                \
    X(unmatched_frees, 0, "frees of blocks that were not seen allocated (mostly: older than the tracing)")                       \
    X(replaced_blocks, 0, "allocations at an address that was still live: its free was not seen, the old block was closed")      \
    X(live_full, 1, "allocations not followed: the live map is full (--max-live)")                                               \
    X(live_full_bytes, 1, "bytes of the allocations not followed")                                                               \
    X(sites_full, 1, "allocations counted without their call site: the site table is full")                                      \
    X(stacks_full, 1, "stacks cut to the caller of the allocator: the stack table is full")                                      \
    X(stack_truncated, 0, "stacks that do not reach the thread's first function")                                                \
    X(walks_recalled, 0, "stacks known from an earlier walk, by the words that it read")                                         \
    X(unwind_unmapped, 0, "walks that came to code of no known object")                                                          \
    X(unwind_pending, 0, "walks that ended early because unwind tables were not ready yet")                                      \
    X(unwind_bare, 0, "walks that came to code without unwind information")                                                      \
    X(unwind_unsupported, 0, "walks that came to a rule that the unwind tables cannot express")                                  \
    X(unwind_unreadable, 0, "walks for which the stack could not be read")                                                       \
    X(unwind_stray, 0, "walks that came to something that is no frame")                                                          \
    X(unwind_deep, 0, "walks that came to more frames than are kept (--max-frames)")                                             \
    X(task_state_lost, 1, "calls not followed: no memory for the thread's state")                                                \
    X(inflight_stale, 0, "calls that never returned (longjmp, exception, thread exit)")                                          \
    X(returns_refused, 1,                                                                                                        \
      "calls not followed: a thread left so many calls without returning that the kernel probes none of its returns")            \
    X(returns_refused_bytes, 1, "bytes that these calls asked for")                                                              \
    X(late_objects, 1,                                                                                                           \
      "allocators attached to only after the process could call them (exec, dlopen): their first calls were not seen")           \
    X(unseen_images, 1,                                                                                                          \
      "images (after an exec) that ended before anyone looked: no names, and nothing of an allocator that only they had")        \
    X(nested_misjudged, 1, "calls taken for nested in a call that, as it turned out, had been abandoned")                        \
    X(unwound_calls, 0, "calls whose return address was put back because an exception passed through")                           \
    X(unwound_lost, 1,                                                                                                           \
      "calls whose return address could not be put back before an exception passed through: it may have ended the program")      \
    X(out_unreadable, 1, "allocations not followed: the result pointer could not be read")                                       \
    X(rollback_lost, 1, "blocks lost when a realloc failed and the old block found no room")                                     \
    X(events_lost, 1, "process events lost: the ring buffer was full")                                                           \
    X(pages_sites_full, 1, "pages touched that are counted without their call site: the table is full")                          \
    X(pages_stacks_full, 1, "stacks of the pages tier cut to their first address: the table is full")                            \
    X(pages_state_lost, 1, "events of the pages tier without call site: no memory for the thread's state")                       \
    X(pages_records_lost, 1, "mappings made or removed unseen: the pages tier's ring buffer was full")                           \
    X(contract_hits, 0, "contract probes hit")                                                                                   \
    X(contract_sampled_out, 0, "hits among these of objects that are not in the sample")                                         \
    X(contract_stacks_full, 1, "stacks of the contract tier cut to their first address: the table is full")                      \
    X(contract_state_lost, 1, "contract probes hit for nothing: no memory for the thread's state")                               \
    X(contract_unreadable, 1, "arguments of contract probes that could not be read")                                             \
    X(contract_records_lost, 1, "what a program told of itself unheard: the contract tier's ring buffer was full")               \
    X(told_heap_hits, 0, "probes of the provider otel_memory hit")                                                               \
    X(told_heap_unreadable, 1, "allocations or frees of which otel_memory's probes tell not followed: unreadable arguments")     \
    X(mapped_hits, 0, "functions and probes of recipes hit")                                                                     \
    X(mapped_returns, 0, "returns of recipes' functions hit")                                                                    \
    X(mapped_failed, 0, "calls of a recipe's functions that failed, so nothing was acquired or released")                        \
    X(mapped_stale, 0, "calls of a recipe's functions that never returned (longjmp, exception)")                                 \
    X(mapped_deep, 1, "calls of a recipe's functions not followed: too many inside each other")                                  \
    X(mapped_returns_refused, 1,                                                                                                 \
      "calls of a recipe's functions not followed: a thread left so many calls without returning that the kernel probes none")   \
    X(resources_stacks_full, 1, "stacks of the resources tier cut to their first address: the table is full")                    \
    X(resources_state_lost, 1, "resources acquired unheard: no memory for the thread's state")                                   \
    X(resources_unreadable, 1, "system calls whose resources could not be read from the process's memory")                       \
    X(resources_records_lost, 1, "resources acquired or released unheard: the resources tier's ring buffer was full")            \
    X(resources_found, 0, "resources that came or went unheard, and were found out in /proc: of these no call site is known")

enum mt_counter {
#define MT_COUNTER_ENUM(name, loss, text) MT_COUNTER_##name,
    MT_COUNTERS(MT_COUNTER_ENUM)
#undef MT_COUNTER_ENUM
        MT_COUNTER_COUNT
};

#endif
