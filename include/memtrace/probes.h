/* The probe contract: how a program tells memtrace, and every other tracer, of its objects, references, resources and pools.
 *
 *     memtrace_object_create(connection, sizeof *connection, "Connection");
 *     memtrace_ref_acquire(connection, &session->connection, 1, connection->count);
 *     memtrace_resource_acquire("cursor", cursor->id, session->id, cursor->bytes, cursor->sql);
 *
 * For C99 and newer with GNU extensions, and C++17. Needs <sys/sdt.h> (Debian: systemtap-sdt-dev) and nothing else, no library.
 *
 * Cost. Each call is a load, a comparison and a branch that is never taken, until a tracer attaches to that probe: then the kernel
 * raises the probe's semaphore, and the call goes to a function that is kept out of the way, whose `nop` traps. Arguments are evaluated only
 * then, unless they have side effects. include/memtrace/README.md has the instructions and the figures, and each probe's arguments.
 *
 * Threads: any. Signal handlers: safe, but for an announcer that takes locks. fork: a child inherits what the semaphores were at that
 * moment; the tracer that follows the child raises them anew.
 *
 * Strings (type, kind, name) are read by the tracer when the probe fires, up to 63 bytes: they need not outlive the call.
 * `id`s are unique within a kind while the resource lives; 0 as parent: none.
 *
 * Each shared object has semaphores, probes and announcers of its own. */
#ifndef MEMTRACE_PROBES_H
#define MEMTRACE_PROBES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/sdt.h>

/* Of the contract: raised when a probe changes its arguments. New probes do not raise it. */
#define MEMTRACE_PROBES_VERSION 1

/* A program that includes <sys/sdt.h> for probes of its own has not always asked for semaphores; these have them in any case. */
#pragma push_macro("_SDT_SEMAPHORE")
#undef _SDT_SEMAPHORE
#define _SDT_SEMAPHORE(provider, name) _SDT_ASM_1(_SDT_ASM_ADDR provider##_##name##_semaphore)

#ifdef __clang__
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpedantic" /* <sys/sdt.h>'s macros leave variable arguments out */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* One for each object that is linked, whichever and however many of its sources include this. */
#define MEMTRACE_SHARED __attribute__((weak, visibility("hidden")))
#define MEMTRACE_SEMAPHORE(provider, name)                                                                                       \
    MEMTRACE_SHARED __attribute__((section(".probes"), used)) volatile unsigned short provider##_##name##_semaphore = 0;

/* Called when a tracer asks what is alive: fires object_alive, resource_alive and the like for all that it knows. Never
 * removed. */
struct memtrace_announcer {
    void (*announce)(void* context);
    void* context;
    struct memtrace_announcer* next;
};

MEMTRACE_SEMAPHORE(memtrace, object_create)
MEMTRACE_SEMAPHORE(memtrace, object_alive)
MEMTRACE_SEMAPHORE(memtrace, object_destroy)
MEMTRACE_SEMAPHORE(memtrace, ref_acquire)
MEMTRACE_SEMAPHORE(memtrace, ref_release)
MEMTRACE_SEMAPHORE(memtrace, ref_move)
MEMTRACE_SEMAPHORE(memtrace, storage_acquire)
MEMTRACE_SEMAPHORE(memtrace, storage_release)
MEMTRACE_SEMAPHORE(memtrace, storage_move)
MEMTRACE_SEMAPHORE(memtrace, resource_acquire)
MEMTRACE_SEMAPHORE(memtrace, resource_alive)
MEMTRACE_SEMAPHORE(memtrace, resource_touch)
MEMTRACE_SEMAPHORE(memtrace, resource_release)
MEMTRACE_SEMAPHORE(memtrace, pool_get)
MEMTRACE_SEMAPHORE(memtrace, pool_put)
MEMTRACE_SEMAPHORE(memtrace, pool_wait)
MEMTRACE_SEMAPHORE(memtrace, pool_limit)
MEMTRACE_SEMAPHORE(memtrace, cleanup_start)
MEMTRACE_SEMAPHORE(memtrace, cleanup_end)
MEMTRACE_SEMAPHORE(memtrace, announce)
MEMTRACE_SEMAPHORE(memtrace, announce_end)
MEMTRACE_SEMAPHORE(memtrace, emergency_low)
MEMTRACE_SEMAPHORE(memtrace, emergency_high)
MEMTRACE_SEMAPHORE(memtrace, emergency_critical)
MEMTRACE_SEMAPHORE(otel_memory, alloc)
MEMTRACE_SEMAPHORE(otel_memory, free)

MEMTRACE_SHARED struct memtrace_announcer* memtrace_announcers = 0;
MEMTRACE_SHARED int memtrace_announced = 0; /* 1 since an answer began, until the request was seen to be gone */

/* True while somebody traces the probe: for arguments that are costly to prepare. */
#define MEMTRACE_ENABLED(name) __builtin_expect(memtrace_##name##_semaphore != 0, 0)
#define MEMTRACE_OTEL_ENABLED(name) __builtin_expect(otel_memory_##name##_semaphore != 0, 0)

#define MEMTRACE_HOT static inline __attribute__((always_inline, unused))
#define MEMTRACE_COLD static __attribute__((noinline, cold, unused))

/* Has `announcer`, which must live as long as the program, called whenever a tracer asks. */
MEMTRACE_HOT void memtrace_add_announcer(struct memtrace_announcer* announcer) {
    announcer->next = __atomic_load_n(&memtrace_announcers, __ATOMIC_RELAXED);
    while (
        !__atomic_compare_exchange_n(&memtrace_announcers, &announcer->next, announcer, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
}

/* Answers a tracer that asks: once for each time that the semaphore of `announce` rises and falls. Called before any other probe
 * fires; a tracer keeps `announce` attached until `announce_end` came. */
MEMTRACE_COLD void memtrace_answer(void) {
    struct memtrace_announcer* announcer;
    if (!memtrace_announce_semaphore) {
        __atomic_store_n(&memtrace_announced, 0, __ATOMIC_RELAXED);
    } else if (!__atomic_exchange_n(&memtrace_announced, 1, __ATOMIC_ACQ_REL)) {
        STAP_PROBE1(memtrace, announce, MEMTRACE_PROBES_VERSION);
        for (announcer = __atomic_load_n(&memtrace_announcers, __ATOMIC_ACQUIRE); announcer; announcer = announcer->next) {
            announcer->announce(announcer->context);
        }
        STAP_PROBE1(memtrace, announce_end, MEMTRACE_PROBES_VERSION);
    }
}

/* For programs that fire next to nothing: answers here, rather than with the next probe. To be called now and then. */
MEMTRACE_HOT void memtrace_poll(void) {
    if (__builtin_expect((memtrace_announce_semaphore != 0) != __atomic_load_n(&memtrace_announced, __ATOMIC_RELAXED), 0)) {
        memtrace_answer();
    }
}

/* ---- objects and references ---------------------------------------------------------------------------------------------------- */

MEMTRACE_COLD void memtrace_fire_object_create(const void* object, size_t size, const char* type) {
    memtrace_answer();
    STAP_PROBE3(memtrace, object_create, object, size, type);
}
/* `object` of `size` bytes exists from now on. `type`: its name for people. */
MEMTRACE_HOT void memtrace_object_create(const void* object, size_t size, const char* type) {
    if (MEMTRACE_ENABLED(object_create)) {
        memtrace_fire_object_create(object, size, type);
    }
}

/* For announcers: `object` has existed for some time, with so many references. */
MEMTRACE_COLD void memtrace_object_alive(const void* object, size_t size, const char* type, uint64_t strong, uint64_t weak) {
    if (MEMTRACE_ENABLED(object_alive)) {
        STAP_PROBE5(memtrace, object_alive, object, size, type, strong, weak);
    }
}

MEMTRACE_COLD void memtrace_fire_object_destroy(const void* object) {
    memtrace_answer();
    STAP_PROBE1(memtrace, object_destroy, object);
}
/* `object` ceases to exist. */
MEMTRACE_HOT void memtrace_object_destroy(const void* object) {
    if (MEMTRACE_ENABLED(object_destroy)) {
        memtrace_fire_object_destroy(object);
    }
}

MEMTRACE_COLD void memtrace_fire_ref_acquire(const void* object, const void* handle, int strong, uint64_t count) {
    memtrace_answer();
    STAP_PROBE4(memtrace, ref_acquire, object, handle, strong, count);
}
/* `handle`, the address of the pointer that holds it, refers to `object` from now on. `strong`: 1, or 0 for a weak reference.
 * `count`: how many of that kind the object has now. */
MEMTRACE_HOT void memtrace_ref_acquire(const void* object, const void* handle, int strong, uint64_t count) {
    if (MEMTRACE_ENABLED(ref_acquire)) {
        memtrace_fire_ref_acquire(object, handle, strong, count);
    }
}

MEMTRACE_COLD void memtrace_fire_ref_release(const void* object, const void* handle, int strong, uint64_t count) {
    memtrace_answer();
    STAP_PROBE4(memtrace, ref_release, object, handle, strong, count);
}
/* `handle` refers to `object` no more; `count` are left. */
MEMTRACE_HOT void memtrace_ref_release(const void* object, const void* handle, int strong, uint64_t count) {
    if (MEMTRACE_ENABLED(ref_release)) {
        memtrace_fire_ref_release(object, handle, strong, count);
    }
}

MEMTRACE_COLD void memtrace_fire_ref_move(const void* object, const void* from, const void* to, int strong) {
    memtrace_answer();
    STAP_PROBE4(memtrace, ref_move, object, from, to, strong);
}
/* The reference that handle `from` held is held by handle `to` now. */
MEMTRACE_HOT void memtrace_ref_move(const void* object, const void* from, const void* to, int strong) {
    if (MEMTRACE_ENABLED(ref_move)) {
        memtrace_fire_ref_move(object, from, to, strong);
    }
}

/* ---- storage: memory that something else leads to ------------------------------------------------------------------------------ */

MEMTRACE_COLD void memtrace_fire_storage_acquire(const void* memory, size_t size, const void* holder) {
    memtrace_answer();
    STAP_PROBE3(memtrace, storage_acquire, memory, size, holder);
}
/* From now on `memory` is led to by what lies at `holder`, a container or a pointer, and by nothing else: handles in it are held by whoever
 * holds that. Told before a handle is put there. */
MEMTRACE_HOT void memtrace_storage_acquire(const void* memory, size_t size, const void* holder) {
    if (MEMTRACE_ENABLED(storage_acquire)) {
        memtrace_fire_storage_acquire(memory, size, holder);
    }
}

MEMTRACE_COLD void memtrace_fire_storage_release(const void* memory) {
    memtrace_answer();
    STAP_PROBE1(memtrace, storage_release, memory);
}
/* It is given back, or others may lead to it from now on. */
MEMTRACE_HOT void memtrace_storage_release(const void* memory) {
    if (MEMTRACE_ENABLED(storage_release)) {
        memtrace_fire_storage_release(memory);
    }
}

MEMTRACE_COLD void memtrace_fire_storage_move(const void* from, const void* to) {
    memtrace_answer();
    STAP_PROBE2(memtrace, storage_move, from, to);
}
/* All that the holder at `from` led to, the one at `to` leads to now; null: nobody is known to. Of what `to` led to before, nothing is known
 * any more. */
MEMTRACE_HOT void memtrace_storage_move(const void* from, const void* to) {
    if (MEMTRACE_ENABLED(storage_move)) {
        memtrace_fire_storage_move(from, to);
    }
}

/* ---- resources ----------------------------------------------------------------------------------------------------------------- */

MEMTRACE_COLD void memtrace_fire_resource_acquire(const char* kind, uint64_t id, uint64_t parent, uint64_t bytes,
                                                  const char* name) {
    memtrace_answer();
    STAP_PROBE5(memtrace, resource_acquire, kind, id, parent, bytes, name);
}
/* A cursor, connection, file, lock, ... is held from now on. `parent`: the id of the resource, of any kind, that it belongs to. */
MEMTRACE_HOT void memtrace_resource_acquire(const char* kind, uint64_t id, uint64_t parent, uint64_t bytes, const char* name) {
    if (MEMTRACE_ENABLED(resource_acquire)) {
        memtrace_fire_resource_acquire(kind, id, parent, bytes, name);
    }
}

/* For announcers: it has been held for `age_ns` and was last used `idle_ns` ago. */
MEMTRACE_COLD void memtrace_resource_alive(const char* kind, uint64_t id, uint64_t parent, uint64_t bytes, const char* name,
                                           uint64_t age_ns, uint64_t idle_ns) {
    if (MEMTRACE_ENABLED(resource_alive)) {
        STAP_PROBE7(memtrace, resource_alive, kind, id, parent, bytes, name, age_ns, idle_ns);
    }
}

MEMTRACE_COLD void memtrace_fire_resource_touch(const char* kind, uint64_t id) {
    memtrace_answer();
    STAP_PROBE2(memtrace, resource_touch, kind, id);
}
/* It was used. */
MEMTRACE_HOT void memtrace_resource_touch(const char* kind, uint64_t id) {
    if (MEMTRACE_ENABLED(resource_touch)) {
        memtrace_fire_resource_touch(kind, id);
    }
}

MEMTRACE_COLD void memtrace_fire_resource_release(const char* kind, uint64_t id) {
    memtrace_answer();
    STAP_PROBE2(memtrace, resource_release, kind, id);
}
/* It is given back. */
MEMTRACE_HOT void memtrace_resource_release(const char* kind, uint64_t id) {
    if (MEMTRACE_ENABLED(resource_release)) {
        memtrace_fire_resource_release(kind, id);
    }
}

/* ---- pools --------------------------------------------------------------------------------------------------------------------- */

#define MEMTRACE_POOL_PROBE(event)                                                                                               \
    MEMTRACE_COLD void memtrace_fire_pool_##event(const void* pool, const char* name, uint64_t in_use, uint64_t limit) {         \
        memtrace_answer();                                                                                                       \
        STAP_PROBE4(memtrace, pool_##event, pool, name, in_use, limit);                                                          \
    }                                                                                                                            \
    MEMTRACE_HOT void memtrace_pool_##event(const void* pool, const char* name, uint64_t in_use, uint64_t limit) {               \
        if (MEMTRACE_ENABLED(pool_##event)) {                                                                                    \
            memtrace_fire_pool_##event(pool, name, in_use, limit);                                                               \
        }                                                                                                                        \
    }
MEMTRACE_POOL_PROBE(get)   /* one was taken: `in_use` are taken now, of at most `limit` (0: no limit) */
MEMTRACE_POOL_PROBE(put)   /* one was given back */
MEMTRACE_POOL_PROBE(wait)  /* the limit is reached: somebody waits, or was refused */
MEMTRACE_POOL_PROBE(limit) /* the limit was set */
#undef MEMTRACE_POOL_PROBE

/* For announcers: of its limit, `in_use` are taken; `waiting`: somebody waits for one. */
MEMTRACE_COLD void memtrace_pool_alive(const void* pool, const char* name, uint64_t in_use, uint64_t limit, int waiting) {
    if (MEMTRACE_ENABLED(pool_limit)) {
        STAP_PROBE4(memtrace, pool_limit, pool, name, in_use, limit);
    }
    if (waiting && MEMTRACE_ENABLED(pool_wait)) {
        STAP_PROBE4(memtrace, pool_wait, pool, name, in_use, limit);
    }
}

/* ---- emergency cleanup --------------------------------------------------------------------------------------------------------- */

/* How urgently a tracer asks for memory to be given back: 0 not at all, 1 low, 2 high, 3 critical. It asks by attaching to the probe
 * memtrace:emergency_LEVEL, which raises that semaphore; nobody else than root can. To be looked at where cleaning up is safe. */
MEMTRACE_HOT int memtrace_emergency_level(void) {
    return __builtin_expect(
               memtrace_emergency_low_semaphore | memtrace_emergency_high_semaphore | memtrace_emergency_critical_semaphore, 0)
               ? (memtrace_emergency_critical_semaphore ? 3
                  : memtrace_emergency_high_semaphore   ? 2
                                                        : 1)
               : 0;
}

/* The program has seen the request and begins to free up to `target_bytes`. Ends with memtrace_cleanup_end. */
MEMTRACE_COLD void memtrace_cleanup_start(int level, uint64_t target_bytes) {
    memtrace_answer();
    if (level >= 3) {
        STAP_PROBE1(memtrace, emergency_critical, target_bytes);
    } else if (level == 2) {
        STAP_PROBE1(memtrace, emergency_high, target_bytes);
    } else {
        STAP_PROBE1(memtrace, emergency_low, target_bytes);
    }
    STAP_PROBE2(memtrace, cleanup_start, level, target_bytes);
}
/* `freed_bytes` were freed, in `released` resources. */
MEMTRACE_COLD void memtrace_cleanup_end(int level, uint64_t freed_bytes, uint64_t released) {
    memtrace_answer();
    STAP_PROBE3(memtrace, cleanup_end, level, freed_bytes, released);
}

/* ---- the OpenTelemetry profiler's memory contract ------------------------------------------------------------------------------ */

MEMTRACE_COLD void memtrace_fire_otel_alloc(const void* pointer, size_t size, uint64_t weighted_bytes) {
    STAP_PROBE3(otel_memory, alloc, pointer, size, weighted_bytes);
}
/* A sampled allocation, which stands for `weighted_bytes`. */
MEMTRACE_HOT void memtrace_otel_alloc(const void* pointer, size_t size, uint64_t weighted_bytes) {
    if (MEMTRACE_OTEL_ENABLED(alloc)) {
        memtrace_fire_otel_alloc(pointer, size, weighted_bytes);
    }
}
MEMTRACE_COLD void memtrace_fire_otel_free(const void* pointer) {
    STAP_PROBE1(otel_memory, free, pointer);
}
/* A sampled allocation is freed. */
MEMTRACE_HOT void memtrace_otel_free(const void* pointer) {
    if (MEMTRACE_OTEL_ENABLED(free)) {
        memtrace_fire_otel_free(pointer);
    }
}

#ifdef __cplusplus
}
#endif

#ifdef __clang__
#pragma clang diagnostic pop
#endif
#pragma pop_macro("_SDT_SEMAPHORE")

#endif
