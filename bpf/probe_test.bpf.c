/* The smallest programs: what the collector uses to find out what the kernel offers and what a probe hit costs. */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u64 hits = 0;

SEC("uprobe")
int probe_test(void* ctx) {
    (void)ctx;
    __sync_fetch_and_add(&hits, 1);
    return 0;
}
