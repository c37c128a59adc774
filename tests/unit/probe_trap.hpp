// Listens to all probes of a provider (probe_listener.hpp), and tells what fired in words.
//
//     ProbeTrap trap("memtrace");
//     ...
//     EXPECT_EQ(trap.take(), (Lines{"resource_acquire cursor 7 0 100 name"}));
//
// One at a time. No other thread may run a probe while one is set up or taken down.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/unit/probe_listener.hpp"

namespace memtrace {

class ProbeTrap {
public:
    /// `except`: names of probes that are left alone.
    explicit ProbeTrap(const std::string& provider, const std::vector<std::string>& except = {"emergency_low", "emergency_high",
                                                                                              "emergency_critical", "announce"})
        : listener_(all_but(provider, except)) {}

    /// What fired since, in order: the name and the arguments of each, strings as they are, numbers in decimal.
    std::vector<std::string> take() { return take(""); }
    /// Of those, the ones that begin with `name`.
    std::vector<std::string> take(const std::string& name) {
        std::vector<std::string> out;
        for (const auto& event : take_events()) {
            if (auto line = line_of(event); line.starts_with(name)) {
                out.push_back(std::move(line));
            }
        }
        return out;
    }
    /// Without formatting: the arguments of each time that `name` fired.
    std::vector<std::vector<std::uint64_t>> take_numbers(const std::string& name) {
        std::vector<std::vector<std::uint64_t>> out;
        for (const auto& event : take_events()) {
            if (event.probe == name) {
                out.emplace_back(event.args.begin(), event.args.begin() + static_cast<std::ptrdiff_t>(event.count));
            }
        }
        return out;
    }

private:
    static std::set<std::string> all_but(const std::string& provider, const std::vector<std::string>& except) {
        auto names = probe_test::probes_of(provider);
        for (const auto& name : except) {
            names.erase(provider + ":" + name);
        }
        return names;
    }

    static std::string line_of(const probe_test::ProbeEvent& event) {
        std::string out(event.probe);
        for (std::size_t i = 0; i < event.count; ++i) {
            out += ' ';
            out += event.strings >> i & 1 ? event.text(i) : std::to_string(event.args[i]);
        }
        return out;
    }

    std::vector<probe_test::ProbeEvent> take_events() {
        auto events = listener_.events();
        listener_.forget();
        return events;
    }

    probe_test::ProbeListener listener_;
};

/// Raises one semaphore for as long as it lives.
class RaisedSemaphore {
public:
    RaisedSemaphore(const std::string& provider, const std::string& name)
        : semaphore_(probe_test::semaphore_of(provider + ":" + name)) {
        *semaphore_ = static_cast<unsigned short>(*semaphore_ + 1);
    }
    ~RaisedSemaphore() { *semaphore_ = static_cast<unsigned short>(*semaphore_ - 1); }
    RaisedSemaphore(const RaisedSemaphore&) = delete;
    RaisedSemaphore& operator=(const RaisedSemaphore&) = delete;

private:
    volatile unsigned short* semaphore_;
};

} // namespace memtrace
