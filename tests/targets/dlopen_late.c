// Loads a shared object after "go". Its code leaks through libc's malloc; with --allocator the object is an allocator itself, under
// the usual names, found by dlsym, and nothing but the functions below calls it.
#define _GNU_SOURCE
#include <dlfcn.h>

#include "self.h"
#include "truth.h"

enum { kBlocks = 40 };

// Same name as the function in the shared object: that one calls malloc.
static struct truth_site plugin_site = {"leak_in_plugin", 0, 0, 0, 0, 0, NULL};

static void* symbol_of(void* library, const char* name) {
    void* symbol = dlsym(library, name);
    truth_check(symbol != NULL, name);
    return symbol;
}

static void use_leaky(void* library) {
    void* (*leak_in_plugin)(size_t) = (void* (*)(size_t))symbol_of(library, "leak_in_plugin");
    for (size_t i = 0; i < kBlocks; i++) {
        void* block = truth_alloc(&plugin_site, leak_in_plugin(200 + i), 200 + i);
        if (i % 4 == 0) {
            truth_free(&plugin_site, block, 200 + i);
        }
    }
}

static LEAKING void leak_late_allocator(void* (*late_malloc)(size_t), void (*late_free)(void*)) {
    TRUTH_HERE(site);
    for (size_t i = 0; i < kBlocks; i++) {
        void* block = truth_alloc(&site, late_malloc(300 + i), 300 + i);
        if (i % 4 == 0) {
            truth_gone(&site, 300 + i);
            late_free(block);
        }
    }
}

static LEAKING void leak_late_realloc(void* (*late_calloc)(size_t, size_t), void* (*late_realloc)(void*, size_t)) {
    TRUTH_HERE(site);
    void* block = truth_alloc(&site, late_calloc(truth_opaque(5), 9), 45);
    truth_gone(&site, 45);
    truth_alloc(&site, late_realloc(block, truth_opaque(4500)), 4500);
}

static void use_allocator(void* library) {
    leak_late_allocator((void* (*)(size_t))symbol_of(library, "malloc"), (void (*)(void*))symbol_of(library, "free"));
    leak_late_realloc((void* (*)(size_t, size_t))symbol_of(library, "calloc"),
                      (void* (*)(void*, size_t))symbol_of(library, "realloc"));
}

static LEAKING void leak_in_program(void) {
    TRUTH_HERE(site);
    truth_alloc(&site, malloc(truth_opaque(99)), 99);
}

int main(int argc, char** argv) {
    int allocator = truth_flag(argc, argv, "--allocator");
    truth_ready(argc, argv);
    leak_in_program();
    void* library = dlopen(self_beside(allocator ? "liballocator.so" : "libleaky.so"), RTLD_NOW | RTLD_LOCAL);
    truth_check(library != NULL, "dlopen");
    if (allocator) {
        use_allocator(library);
    } else {
        use_leaky(library);
    }
    leak_in_program();
    truth_finish(TRUTH_SITES); // dlopen allocates, and keeps some of it
}
