// A shared object that leaks: loaded by dlopen_late after "go", and over and over by hostile. Its caller keeps the truth.
#include <stdlib.h>

__attribute__((noipa)) void* leak_in_plugin(size_t bytes) {
    void* block = malloc(bytes);
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}
