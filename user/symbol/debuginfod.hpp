// Debug files from debuginfod servers, only where the user asks for them. libdebuginfod, libcurl and a TLS library work in a process of
// their own, which is made before anything is traced:
//
//   memtrace  -- build-id -->  helper  <-- HTTP -->  servers
//             <-- path ------     |
//                                 +-- libdebuginfod's cache directory
//
// so they get at no descriptor of the tracer's, nothing here ever waits for the network, and a library that hangs is killed. Files come
// one after the other. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace memtrace {

struct DebuginfodSettings {
    std::string servers;                      ///< as in DEBUGINFOD_URLS: URLs with blanks between them
    std::uint64_t file_ns = 30'000'000'000;   ///< longest time for one file
    std::uint64_t total_ns = 300'000'000'000; ///< longest time for all files of a run; what comes after that is not asked for
    std::uint64_t max_bytes = std::uint64_t{1} << 30; ///< largest file; a DEBUGINFOD_MAXSIZE that is smaller holds too
};

class Debuginfod {
public:
    /// What came of a build-id.
    struct Answer {
        std::string build_id; ///< raw bytes
        std::string path;     ///< of the file in the cache, an ELF file of that build-id; empty = none
        std::string problem;  ///< why there is none, where it is more than that no server has it
    };

    /// Starts the helper. Fails where libdebuginfod is not installed.
    static Result<std::unique_ptr<Debuginfod>> start(const DebuginfodSettings& settings);
    Debuginfod(const Debuginfod&) = delete;
    Debuginfod& operator=(const Debuginfod&) = delete;
    /// Kills the helper.
    ~Debuginfod();

    /// Asks for the debug file of that build-id, once. Returns at once.
    void want(const std::string& build_id);
    /// The answers that have come since the last call. Returns at once.
    std::vector<Answer> take();
    /// Where an answer announces itself: for poll().
    [[nodiscard]] int fd() const { return socket_.get(); }
    /// Whether an answer is still to come.
    [[nodiscard]] bool pending() const { return !wanted_.empty() || !answers_.empty(); }

    /// want() and the answer to it, which takes file_ns at most, and no time where it has been asked for before. For those who have
    /// nothing else to do.
    Answer fetch(const std::string& build_id);

private:
    Debuginfod(const DebuginfodSettings& settings, UniqueFd socket, pid_t helper);
    void send_next();
    void receive();
    void give_up(const std::string& why);

    DebuginfodSettings settings_;
    UniqueFd socket_; ///< to the helper; none once it has been given up
    pid_t helper_;
    std::set<std::string> asked_;
    std::deque<std::string> wanted_; ///< the first of them has been sent, where sent_ns_ is not 0
    std::uint64_t sent_ns_ = 0;
    std::vector<Answer> answers_; ///< not taken yet
};

} // namespace memtrace
