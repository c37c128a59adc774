// Tells of more than anybody wants to hear: --objects N tracked objects with two strong references each, and references to them that are taken and
// given back without end, until a line is read. `note objects` and `note references`: what it holds. Then only now and then, until the next line.
#include <poll.h>

#include <random>
#include <vector>

#include "memtrace/tracked_ptr.hpp"
#include "truth.h"

namespace {

struct Session {
    long number = 0;
};

constexpr int kAtOnce = 200;
constexpr int kCalmMs = 5;

/// True when a line has come; `ms` is the longest wait for it.
bool line_came(int ms) {
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    char text[64];
    if (poll(&input, 1, ms) <= 0) {
        return false;
    }
    truth_read_line(text, sizeof(text));
    return true;
}

} // namespace

int main(int argc, char** argv) {
    const long long count = truth_option(argc, argv, "--objects", 20'000);
    std::vector<memtrace::tracked_ptr<Session>> held;
    for (long long i = 0; i < count; ++i) {
        held.push_back(memtrace::make_tracked<Session>());
    }
    const auto again = held;
    std::mt19937_64 random(1);
    truth_ready(argc, argv);
    while (!line_came(0)) {
        for (int i = 0; i < kAtOnce; ++i) {
            const auto taken = held[random() % held.size()];
            const auto made = memtrace::make_tracked<Session>();
        }
    }
    truth_note("objects", count);
    truth_note("references", 2 * count);
    truth_print(TRUTH_SITES);
    while (!line_came(kCalmMs)) {
        const auto taken = held[random() % held.size()]; // a program in which nothing is told of does not answer either
    }
    _exit(0);
}
