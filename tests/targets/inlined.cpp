// A leak within functions that are inlined into each other, one of them a lambda's: names that nothing but the DWARF knows.
#include "truth.h"

namespace shelf {

template <typename T>
struct Box {
    T* kept = nullptr;

    [[gnu::always_inline]] inline void keep(truth_site* site, size_t count) {
        const size_t bytes = count * sizeof(T);
        void* const block = malloc(bytes); // @keep
        kept = static_cast<T*>(truth_alloc(site, block, bytes));
    }
};

} // namespace shelf

static LEAKING void leak_inlined(void) {
    TRUTH_HERE(site);
    shelf::Box<int> box;
    const auto put = [&](size_t count) __attribute__((always_inline)) {
        box.keep(&site, count); // @put
    };
    put(30); // @leak
}

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    for (int i = 0; i < 10; i++) {
        leak_inlined();
    }
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
