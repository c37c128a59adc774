// Holds back the signals that end a process for as long as it lives: one that arrives meanwhile takes effect afterwards. For what must
// not be cut short. SIGKILL cannot be held back. Of the thread that makes it.
#pragma once

#include <signal.h>

namespace memtrace {

class SignalGuard {
public:
    SignalGuard() {
        sigset_t ending;
        sigemptyset(&ending);
        for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
            sigaddset(&ending, number);
        }
        pthread_sigmask(SIG_BLOCK, &ending, &before_);
    }
    SignalGuard(const SignalGuard&) = delete;
    SignalGuard& operator=(const SignalGuard&) = delete;
    ~SignalGuard() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_{};
};

} // namespace memtrace
