#include "symbol/debuginfod.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/clock.hpp"
#include "symbol/debuginfod_helper.hpp"
#include "symbol/elf_image.hpp"
#include "symbol/safe_open.hpp"

namespace memtrace {
namespace {

constexpr std::uint64_t kStartNs = 10'000'000'000; // loading libcurl and what it brings
constexpr std::uint64_t kGraceNs = 3'000'000'000;  // libdebuginfod looks at the time once a second

/// Waits until there is something to read, or the time has come.
void wait_readable(int fd, std::uint64_t until_ns) {
    for (;;) {
        const auto now = monotonic_ns();
        pollfd one{fd, POLLIN, 0};
        const auto left = until_ns > now ? (until_ns - now) / 1'000'000 + 1 : 0;
        if (::poll(&one, 1, static_cast<int>(std::min<std::uint64_t>(left, 1u << 30))) >= 0 || errno != EINTR) {
            return;
        }
    }
}

/// It is not taken on a server's word that a file is the right one.
bool is_of_build(const std::string& path, const std::string& build_id) {
    auto fd = open_regular(path);
    const auto image = fd ? ElfImage::open(std::move(*fd)) : nullptr;
    return image && image->build_id() == build_id;
}

/// One packet that has arrived; empty where there is none.
std::string read_packet(int fd) {
    std::array<char, kLongestPacket> buffer{};
    const ssize_t size = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    return size > 0 ? std::string(buffer.data(), static_cast<std::size_t>(size)) : std::string();
}

} // namespace

Debuginfod::Debuginfod(const DebuginfodSettings& settings, UniqueFd socket, pid_t helper)
    : settings_(settings), socket_(std::move(socket)), helper_(helper) {}

Debuginfod::~Debuginfod() {
    give_up("");
}

Result<std::unique_ptr<Debuginfod>> Debuginfod::start(const DebuginfodSettings& settings) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return fail_errno("cannot start the helper for debuginfod", errno);
    }
    UniqueFd ours(ends[0]);
    UniqueFd theirs(ends[1]);
    const pid_t parent = ::getpid();
    const pid_t helper = ::fork();
    if (helper < 0) {
        return fail_errno("cannot start the helper for debuginfod", errno);
    }
    if (helper == 0) {
        run_debuginfod_helper(theirs.get(), parent, settings);
    }
    theirs.reset();
    std::unique_ptr<Debuginfod> client(new Debuginfod(settings, std::move(ours), helper));
    wait_readable(client->fd(), monotonic_ns() + kStartNs);
    const auto ready = read_packet(client->fd());
    if (ready.empty() || ready[0] != kHelperReady) {
        return fail("cannot ask debuginfod servers: " + (ready.empty() ? "the helper did not start" : ready.substr(1)) +
                    "; install libdebuginfod1");
    }
    return client;
}

void Debuginfod::want(const std::string& build_id) {
    if (build_id.empty() || build_id.size() > kLongestBuildId || !asked_.insert(build_id).second) {
        return;
    }
    if (!socket_) {
        answers_.push_back({build_id, "", ""});
        return;
    }
    wanted_.push_back(build_id);
    send_next();
}

void Debuginfod::send_next() {
    if (sent_ns_ != 0 || wanted_.empty() || !socket_) {
        return;
    }
    const auto& next = wanted_.front();
    if (::send(socket_.get(), next.data(), next.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(next.size())) {
        give_up("the helper for debuginfod has ended");
        return;
    }
    sent_ns_ = monotonic_ns();
}

void Debuginfod::receive() {
    while (socket_ && sent_ns_ != 0) {
        const auto packet = read_packet(socket_.get());
        if (packet.empty()) {
            pollfd one{socket_.get(), 0, 0};
            if (::poll(&one, 1, 0) > 0) { // it has hung up
                give_up("the helper for debuginfod has ended");
            } else if (monotonic_ns() > sent_ns_ + settings_.file_ns + kGraceNs) {
                give_up("the helper for debuginfod does not answer");
            }
            return;
        }
        Answer answer{wanted_.front(), "", ""};
        const auto text = packet.substr(1);
        if (packet[0] != kHelperFound) {
            answer.problem = text;
        } else if (is_of_build(text, answer.build_id)) {
            answer.path = text;
        } else {
            answer.problem = "what came is none, or of another build";
        }
        answers_.push_back(std::move(answer));
        wanted_.pop_front();
        sent_ns_ = 0;
        send_next();
    }
}

/// Nothing more is asked for; what has been is answered with nothing.
void Debuginfod::give_up(const std::string& why) {
    if (!socket_) {
        return;
    }
    ::kill(helper_, SIGKILL);
    while (::waitpid(helper_, nullptr, 0) < 0 && errno == EINTR) {
    }
    socket_.reset();
    sent_ns_ = 0;
    std::string problem = why; // said once
    for (auto& build_id : wanted_) {
        answers_.push_back({std::move(build_id), "", std::exchange(problem, "")});
    }
    wanted_.clear();
}

std::vector<Debuginfod::Answer> Debuginfod::take() {
    receive();
    return std::exchange(answers_, {});
}

Debuginfod::Answer Debuginfod::fetch(const std::string& build_id) {
    want(build_id);
    for (;;) {
        for (auto& answer : take()) {
            if (answer.build_id == build_id) {
                return answer;
            }
        }
        if (std::find(wanted_.begin(), wanted_.end(), build_id) == wanted_.end()) {
            return {build_id, "", ""};
        }
        wait_readable(fd(), sent_ns_ + settings_.file_ns + kGraceNs);
    }
}

} // namespace memtrace
