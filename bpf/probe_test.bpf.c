/* The smallest programs: what the collector uses to find out what the kernel offers and what a probe hit costs. */
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u64 hits = 0;

SEC("?uprobe")
int probe_test(void* ctx) {
    (void)ctx;
    __sync_fetch_and_add(&hits, 1);
    return 0;
}

/* Never attached: a kernel in lockdown refuses to load it. */
SEC("?uprobe")
int probe_write(void* ctx) {
    __u64 word = 0;
    (void)ctx;
    return (int)bpf_probe_write_user(0, &word, sizeof(word));
}

/* The same for session links: counts entries, declines the return of every call unless `wants_return`. */
extern bool bpf_session_is_return(void) __ksym __weak;

__u32 wants_return = 0;

SEC("?uprobe")
int probe_session(void* ctx) {
    (void)ctx;
    if (bpf_session_is_return()) {
        return 0;
    }
    __sync_fetch_and_add(&hits, 1);
    return !wants_return;
}
