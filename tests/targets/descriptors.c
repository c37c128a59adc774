// Descriptors, threads and timers: given out and taken back in every way there is (the default), or kept, more and more of them, by named
// functions (--leak, until it is told to exit; --tidy: the same work, and all is given back). A note for each function that keeps some
// says how many. --exec: becomes itself again with what it holds, some of it not to be inherited.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "truth.h"

static int opened(int descriptor) {
    truth_check(descriptor >= 0, "a system call that gives out a descriptor");
    return descriptor;
}

// ---- one of each way: each function keeps as many as it says -----------------------------------------------------------------------

static LEAKING int keep_open(void) {
    opened(openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY));
    opened(open("/dev/null", O_RDWR));
    return opened(open("/proc/self/exe", O_RDONLY)) >= 0 ? 3 : 0;
}

static LEAKING int keep_creat(void) {
    char name[64];
    snprintf(name, sizeof(name), "/tmp/memtrace-descriptors-%d", getpid());
    opened(creat(name, 0600));
    unlink(name);
    return 1;
}

// The one that listens, the client's, and the one accepted.
static LEAKING int keep_accept(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(address);
    int server = opened(socket(AF_UNIX, SOCK_STREAM, 0)), client = opened(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    truth_check(bind(server, (struct sockaddr*)&address, sizeof(sa_family_t)) == 0 && listen(server, 1) == 0, "listen");
    truth_check(getsockname(server, (struct sockaddr*)&address, &size) == 0, "getsockname");
    truth_check(connect(client, (struct sockaddr*)&address, size) == 0, "connect");
    opened(accept4(server, NULL, NULL, SOCK_CLOEXEC));
    return 3;
}

static LEAKING int keep_pairs(void) {
    int pair[2];
    truth_check(pipe(pair) == 0 && pipe2(pair, O_CLOEXEC) == 0, "pipe");
    truth_check(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0, "socketpair");
    return 6;
}

// dup2 over one that is open puts another in its place; over itself it does nothing.
static LEAKING int keep_copies(void) {
    int file = opened(open("/proc/self/exe", O_RDONLY)), event = opened(eventfd(0, 0));
    opened(dup(event));
    opened(fcntl(event, F_DUPFD, 100));
    opened(fcntl(event, F_DUPFD_CLOEXEC, 200));
    truth_check(dup2(event, file) == file && dup2(event, event) == event, "dup2");
    truth_check(dup3(event, 150, O_CLOEXEC) == 150, "dup3");
    return 6;
}

static LEAKING int keep_events(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    opened(epoll_create1(0));
    opened(eventfd(0, EFD_CLOEXEC));
    opened(timerfd_create(CLOCK_MONOTONIC, 0));
    opened(inotify_init1(0));
    int signals = opened(signalfd(-1, &set, 0));
    truth_check(signalfd(signals, &set, 0) == signals, "signalfd, again");
    return 5;
}

static LEAKING int keep_memory(void) {
    opened(memfd_create("kept", 0));
    opened((int)syscall(SYS_pidfd_open, getpid(), 0));
    return 2;
}

// With the sender's credentials before them.
static LEAKING int keep_passed(void) {
    enum { kPassed = 3 };
    char data = 'x', control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * kPassed)] = {0};
    struct iovec vector = {&data, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * kPassed)};
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    int pair[2], on = 1, file = opened(open("/proc/self/exe", O_RDONLY));
    truth_check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
    truth_check(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0, "SO_PASSCRED");
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * kPassed);
    for (int i = 0; i < kPassed; i++) {
        memcpy(CMSG_DATA(header) + sizeof(int) * (size_t)i, &file, sizeof(file));
    }
    truth_check(sendmsg(pair[0], &message, 0) == 1, "sendmsg");
    message.msg_controllen = sizeof(control);
    truth_check(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) == 1, "recvmsg");
    close(pair[0]);
    close(pair[1]);
    close(file);
    return kPassed;
}

static LEAKING int keep_none(void) {
    int range[16];
    for (int round = 0; round < 100; round++) {
        close(opened(open("/proc/self/exe", O_RDONLY)));
    }
    for (int i = 0; i < 16; i++) {
        range[i] = opened(fcntl(STDIN_FILENO, F_DUPFD, 300));
    }
    truth_check(close_range((unsigned)range[0], (unsigned)range[15], 0) == 0, "close_range");
    close(999);           // no descriptor
    pid_t child = fork(); // with a table of its own
    if (child == 0) {
        close_range(3, ~0u, 0);
        opened(open("/dev/null", O_RDONLY));
        _exit(0);
    }
    truth_check(waitpid(child, NULL, 0) == child, "waitpid");
    return 0;
}

// ---- threads and timers --------------------------------------------------------------------------------------------------------------

static void* sleep_on(void* nothing) {
    for (;;) {
        pause();
    }
    return nothing;
}

static void* end_at_once(void* nothing) {
    return nothing;
}

static LEAKING int keep_thread(void) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * 1024);
    truth_check(pthread_create(&thread, &small, sleep_on, NULL) == 0, "pthread_create");
    return 1;
}

static LEAKING int keep_timer(void) {
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    timer_t timer;
    truth_check(timer_create(CLOCK_MONOTONIC, &none, &timer) == 0, "timer_create");
    return 1;
}

static LEAKING void tidy_thread(void) {
    pthread_t thread;
    truth_check(pthread_create(&thread, NULL, end_at_once, NULL) == 0 && pthread_join(thread, NULL) == 0, "pthread_create");
}

static LEAKING void tidy_timer(void) {
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    timer_t timer;
    truth_check(timer_create(CLOCK_MONOTONIC, &none, &timer) == 0 && timer_delete(timer) == 0, "timer_create");
}

// ---- more and more of them ------------------------------------------------------------------------------------------------------------

static LEAKING void leak_file(void) {
    opened(open("/proc/self/exe", O_RDONLY));
}
static LEAKING void leak_socket(void) {
    opened(socket(AF_INET, SOCK_STREAM, 0));
}
static LEAKING void leak_event(void) {
    opened(eventfd(0, 0));
}

static LEAKING void tidy_descriptors(void) {
    close(opened(open("/proc/self/exe", O_RDONLY)));
    close(opened(socket(AF_INET, SOCK_STREAM, 0)));
    close(opened(eventfd(0, 0)));
}

static int told_to_exit(int wait_ms) {
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    return poll(&input, 1, wait_ms) > 0;
}

static void go_on(int leak) {
    while (!told_to_exit(40)) {
        if (leak) {
            leak_file();
            leak_socket();
            leak_event();
            keep_thread();
            keep_timer();
        }
        tidy_descriptors();
        tidy_thread();
        tidy_timer();
    }
}

static void* open_and_close(void* rounds) {
    for (long i = 0; i < (long)rounds; i++) {
        tidy_descriptors();
    }
    return NULL;
}

static void churn(long rounds) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        truth_check(pthread_create(&threads[i], NULL, open_and_close, (void*)rounds) == 0, "pthread_create");
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void one_of_each(long rounds) {
    static const struct {
        const char* name;
        int (*way)(void);
    } kWays[] = {{"keep_open", keep_open},     {"keep_creat", keep_creat},   {"keep_accept", keep_accept},
                 {"keep_pairs", keep_pairs},   {"keep_copies", keep_copies}, {"keep_events", keep_events},
                 {"keep_memory", keep_memory}, {"keep_passed", keep_passed}, {"keep_none", keep_none},
                 {"keep_thread", keep_thread}, {"keep_timer", keep_timer}};
    for (size_t i = 0; i < sizeof(kWays) / sizeof(*kWays); i++) {
        truth_note(kWays[i].name, kWays[i].way());
    }
    tidy_thread();
    tidy_timer();
    churn(rounds);
}

int main(int argc, char** argv) {
    keep_open(); // before anybody looks
    keep_timer();
    truth_ready(argc, argv);
    if (truth_flag(argc, argv, "--exec")) {
        opened(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 500));
        opened(fcntl(STDIN_FILENO, F_DUPFD, 600));
        execl("/proc/self/exe", "descriptors", "--wait", (char*)NULL);
        truth_broken("exec");
    }
    if (truth_flag(argc, argv, "--leak") || truth_flag(argc, argv, "--tidy")) {
        truth_print(TRUTH_SITES);
        go_on(truth_flag(argc, argv, "--leak"));
        return 0;
    }
    one_of_each((long)truth_option(argc, argv, "--rounds", 0));
    truth_finish(TRUTH_SITES);
}
