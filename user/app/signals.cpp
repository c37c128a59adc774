#include "app/signals.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>

namespace memtrace {

namespace {

sigset_t stop_set() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

} // namespace

Result<StopSignals> StopSignals::open(Hangup hangup) {
    auto set = stop_set();
    if (hangup == Hangup::asks) {
        sigaddset(&set, SIGHUP);
    }
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
        return fail_errno("cannot block signals", errno);
    }
    UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd) {
        return fail_errno("cannot wait for signals", errno);
    }
    return StopSignals(std::move(fd));
}

bool StopSignals::pending() const {
    pollfd fd{fd_.get(), POLLIN, 0};
    return ::poll(&fd, 1, 0) > 0;
}

int StopSignals::take() {
    signalfd_siginfo info{};
    (void)!::read(fd_.get(), &info, sizeof(info));
    if (info.ssi_signo == SIGHUP) {
        return SIGHUP;
    }
    for (const int number : {SIGINT, SIGTERM}) { // a shell starts what it runs in the background with SIGINT ignored
        signal(number, SIG_DFL);
    }
    const auto set = stop_set();
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    return static_cast<int>(info.ssi_signo);
}

} // namespace memtrace
