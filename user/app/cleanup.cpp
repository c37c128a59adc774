// memtrace cleanup: asks a program to give memory back, by the semaphore of a probe, and waits for what it says of it.
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "app/contract_decode.hpp"
#include "app/message.hpp"
#include "app/signals.hpp"
#include "base/clock.hpp"
#include "kernel/contract_tracer.hpp"
#include "kernel/features.hpp"
#include "proc/process.hpp"
#include "proc/usdt.hpp"

namespace memtrace {

namespace {

struct Answer {
    std::optional<CleanupTold> began;
    std::optional<CleanupTold> ended;
};

/// Attaches to the program's answers, then asks, in each object that can be asked. An error: none can.
Status ask(ContractTracer& tracer, std::int32_t pid, unsigned level, const std::vector<UsdtObject>& objects) {
    const auto has = [](const UsdtObject& object, const char* name) {
        return std::any_of(object.probes.begin(), object.probes.end(), [&](const auto& probe) { return probe.name == name; });
    };
    std::vector<const UsdtObject*> asked;
    for (const auto& object : objects) {
        if (!has(object, emergency_probe_name(level)) || !has(object, contract_probe_name(MT_CONTRACT_cleanup_end))) {
            continue;
        }
        for (const std::uint16_t kind : {MT_CONTRACT_cleanup_start, MT_CONTRACT_cleanup_end}) {
            if (!has(object, contract_probe_name(kind))) {
                continue;
            }
            if (auto status = tracer.attach(pid, kind, path_of(object.file), 0); !status) {
                return status;
            }
        }
        asked.push_back(&object);
    }
    if (asked.empty()) {
        return fail("process " + std::to_string(pid) + " has no probe memtrace:" + emergency_probe_name(level) +
                    " to be asked by (include/memtrace/probes.h)");
    }
    for (const auto* object : asked) {
        if (auto status = tracer.request_cleanup(pid, level, path_of(object->file)); !status) {
            return status;
        }
    }
    return {};
}

/// Takes what has come. Of other levels: somebody else asked.
void take(ContractTracer& tracer, unsigned level, Answer& answer) {
    tracer.read_records([&](std::span<const std::byte> record) {
        const auto head = contract_head(record);
        const auto event =
            head ? decode_contract(record, {{}, head->time_ns, static_cast<std::int32_t>(head->tid), {}}) : std::nullopt;
        const auto* told = event ? std::get_if<CleanupTold>(&*event) : nullptr;
        if (told != nullptr && told->level == level) {
            (told->ended ? answer.ended : answer.began) = *told;
        }
    });
}

Result<Answer> await(ContractTracer& tracer, std::int32_t pid, const Options& options, const StopSignals& signals) {
    const auto process = open_pidfd(pid);
    if (!process) {
        return tl::unexpected(process.error());
    }
    Answer answer;
    const auto deadline = monotonic_ns() + options.timeout_ns;
    pollfd fds[]{{tracer.records_fd(), POLLIN, 0}, {process->get(), POLLIN, 0}, {signals.fd(), POLLIN, 0}};
    while (true) {
        take(tracer, options.level, answer);
        if (answer.ended) { // before all else: it may have answered and ended
            return answer;
        }
        if (fds[2].revents != 0) {
            return fail("stopped before process " + std::to_string(pid) + " had answered");
        }
        if (fds[1].revents != 0) {
            return fail("process " + std::to_string(pid) + " has ended without an answer");
        }
        const auto now = monotonic_ns();
        if (now >= deadline) {
            return fail("process " + std::to_string(pid) +
                        (answer.began ? " began to clean up, and did not end in time" : " did not answer the request in time"));
        }
        const auto left = std::min<std::uint64_t>((deadline - now) / kNanosPerMilli + 1, 1 << 30);
        if (::poll(fds, std::size(fds), static_cast<int>(left)) < 0 && errno != EINTR) {
            return fail_errno("cannot wait for an answer", errno);
        }
    }
}

double millis(std::uint64_t ns) {
    return static_cast<double>(ns) / static_cast<double>(kNanosPerMilli);
}

Status clean_up(const Options& options) {
    const auto pid = options.pids.front();
    if (const auto missing = missing_capabilities(); !missing.empty()) {
        return tl::unexpected(privileges_error(missing));
    }
    const auto info = read_process_info(pid);
    const auto mappings = info ? read_maps(pid) : tl::unexpected(info.error());
    if (!mappings) {
        return tl::unexpected(mappings.error());
    }
    std::set<FileIdentity> seen;
    const auto objects = find_usdt_objects(pid, *mappings, "memtrace", seen);
    auto signals = StopSignals::open();
    auto tracer = ContractTracer::load({.max_processes = 1, .max_stacks = 64}, std::nullopt);
    if (!signals || !tracer) {
        return tl::unexpected(!signals ? signals.error() : tracer.error());
    }
    if (const auto key = tracer->add_process(pid); !key) {
        return tl::unexpected(key.error());
    }
    const auto asked_ns = monotonic_ns();
    if (auto status = ask(*tracer, pid, options.level, objects); !status) {
        return status;
    }
    const auto answer = await(*tracer, pid, options, *signals);
    if (!answer) {
        return tl::unexpected(answer.error());
    }
    const auto& ended = *answer->ended;
    std::printf("process %d (%s) freed %llu bytes, in %llu resources, %.1f ms after it was asked", pid, info->comm.c_str(),
                static_cast<unsigned long long>(ended.bytes), static_cast<unsigned long long>(ended.released),
                millis(ended.origin.mono_ns - asked_ns));
    if (answer->began) {
        std::printf("; %.1f ms of them to free", millis(ended.origin.mono_ns - answer->began->origin.mono_ns));
    }
    std::printf("\n");
    return {};
}

} // namespace

int run_cleanup(const Options& options) {
    if (auto status = clean_up(options); !status) {
        return fail_with(status.error());
    }
    return kExitFine;
}

} // namespace memtrace
