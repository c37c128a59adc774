// Maps --count N times 1 MiB that nobody touches: what it keeps shows in no figure of resident memory. With --unmap it keeps none.
#include <sys/mman.h>

#include "truth.h"

enum { kBytes = 1 << 20 };

static LEAKING void* reserve(void) {
    return truth_escape(mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

int main(int argc, char** argv) {
    const long long count = truth_option(argc, argv, "--count", 40);
    const int unmaps = truth_flag(argc, argv, "--unmap");
    truth_ready(argc, argv);
    for (long long i = 0; i < count; i++) {
        void* place = reserve();
        truth_check(place != MAP_FAILED, "mmap");
        if (unmaps) {
            munmap(place, kBytes);
        }
    }
    truth_finish(TRUTH_SITES);
}
