// lightning-load: keeps a lightningd busy for a given time, and says how much was done and what went wrong.
#include <getopt.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "load_client.hpp"

namespace {

using namespace lightning;
using Clock = std::chrono::steady_clock;

constexpr const char* kUsage =
    "usage: lightning-load (--socket PATH | --port N) [--connections 4] [--seconds 10] [--rate OPS-PER-SECOND, 0 = no bound]\n"
    "       [--mix get=60,put=25,delete=5,scan=8,bad=2] [--reconnect REQUESTS, 0 = never] [--forget PERCENT-OF-SCANS]\n"
    "       [--keys 20000] [--value-bytes 400] [--cursor-bytes 8192] [--seed 1]\n";

constexpr unsigned kMostForgotten = 50;

enum Kind : unsigned { kGet, kPut, kDelete, kScan, kBad, kKinds };
constexpr std::array<const char*, kKinds> kKindNames = {"get", "put", "delete", "scan", "bad"};

struct Options {
    Address address;
    unsigned connections = 4;
    double seconds = 10;
    double rate = 0;
    std::array<unsigned, kKinds> mix = {60, 25, 5, 8, 2};
    unsigned reconnect = 0;
    unsigned forget = 0;
    unsigned keys = 20000;
    unsigned value_bytes = 400; ///< mean; sizes spread from half to one and a half of it
    unsigned cursor_bytes = 8192;
    unsigned seed = 1;
};

struct Totals {
    std::array<std::atomic<std::uint64_t>, kKinds> ops{};
    std::atomic<std::uint64_t> errors{0};
    std::atomic<std::uint64_t> rejected{0};
    std::atomic<std::uint64_t> connects{0};
};

std::atomic<bool> interrupted{false};

template <typename T>
bool parse_number(std::string_view text, T& value) {
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && stop == text.data() + text.size();
}

/// "get=60,put=40": kinds left out get no share.
bool parse_mix(std::string_view text, std::array<unsigned, kKinds>& mix) {
    mix.fill(0);
    unsigned sum = 0;
    while (!text.empty()) {
        const auto item = text.substr(0, text.find(','));
        text.remove_prefix(std::min(text.size(), item.size() + 1));
        const auto equals = item.find('=');
        unsigned kind = 0;
        while (kind < kKinds && item.substr(0, equals) != kKindNames[kind]) {
            ++kind;
        }
        if (kind == kKinds || equals == std::string_view::npos || !parse_number(item.substr(equals + 1), mix[kind])) {
            return false;
        }
        sum += mix[kind];
    }
    return sum > 0;
}

bool set_option(Options& options, char letter, const char* text) {
    switch (letter) {
    case 's':
        options.address.socket = text;
        return true;
    case 'p':
        return parse_number(text, options.address.port);
    case 'c':
        return parse_number(text, options.connections) && options.connections > 0;
    case 't':
        return parse_number(text, options.seconds) && options.seconds > 0;
    case 'r':
        return parse_number(text, options.rate) && options.rate >= 0;
    case 'm':
        return parse_mix(text, options.mix);
    case 'n':
        return parse_number(text, options.reconnect);
    case 'f':
        return parse_number(text, options.forget) && options.forget <= 100;
    case 'k':
        return parse_number(text, options.keys) && options.keys > 0;
    case 'v':
        return parse_number(text, options.value_bytes) && options.value_bytes <= 40000;
    case 'u':
        return parse_number(text, options.cursor_bytes);
    case 'e':
        return parse_number(text, options.seed);
    default:
        return false;
    }
}

bool parse_options(int argc, char** argv, Options& options) {
    static const option kLong[] = {{"socket", required_argument, nullptr, 's'},
                                   {"port", required_argument, nullptr, 'p'},
                                   {"connections", required_argument, nullptr, 'c'},
                                   {"seconds", required_argument, nullptr, 't'},
                                   {"rate", required_argument, nullptr, 'r'},
                                   {"mix", required_argument, nullptr, 'm'},
                                   {"reconnect", required_argument, nullptr, 'n'},
                                   {"forget", required_argument, nullptr, 'f'},
                                   {"keys", required_argument, nullptr, 'k'},
                                   {"value-bytes", required_argument, nullptr, 'v'},
                                   {"cursor-bytes", required_argument, nullptr, 'u'},
                                   {"seed", required_argument, nullptr, 'e'},
                                   {nullptr, 0, nullptr, 0}};
    int letter = 0;
    while ((letter = ::getopt_long(argc, argv, "", kLong, nullptr)) != -1) {
        if (!set_option(options, static_cast<char>(letter), optarg)) {
            return false;
        }
    }
    return optind == argc && options.address.socket.empty() == (options.address.port != 0);
}

/// One connection's worth of load, in a thread of its own.
class Worker {
public:
    Worker(const Options& options, Totals& totals, unsigned number, Clock::time_point end)
        : options_(options), totals_(totals), random_(options.seed * 7919 + number), end_(end),
          kinds_(options.mix.begin(), options.mix.end()) {}

    void run() {
        auto due = Clock::now();
        const auto step =
            options_.rate > 0
                ? std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.connections / options_.rate))
                : Clock::duration::zero();
        while (!interrupted && Clock::now() < end_) {
            if (due > Clock::now()) {
                std::this_thread::sleep_until(std::min(due, end_));
                continue;
            }
            due += step;
            if (!client_ && !reconnect()) {
                return;
            }
            const auto kind = kinds_(random_);
            count(kind, request(kind));
            ++since_connect_;
            if ((options_.reconnect != 0 && since_connect_ >= options_.reconnect) || forgotten_ >= kMostForgotten) {
                client_.reset();
            }
        }
    }

private:
    bool reconnect() {
        auto client = Client::connect(options_.address);
        if (!client) {
            ++totals_.errors;
            std::fprintf(stderr, "lightning-load: %s\n", client.error().message.c_str());
            return false;
        }
        client_.emplace(std::move(*client));
        since_connect_ = 0;
        forgotten_ = 0;
        ++totals_.connects;
        return true;
    }

    unsigned below(unsigned bound) { return std::uniform_int_distribution<unsigned>(0, bound - 1)(random_); }
    std::string key() { return "key" + std::to_string(below(options_.keys)); }
    std::size_t value_bytes() { return options_.value_bytes / 2 + below(options_.value_bytes + 1); }

    /// The server bounds the cursors of a session, so one that has forgotten many connects anew.
    Outcome scan() {
        const bool forget = below(100) < options_.forget;
        forgotten_ += forget ? 1 : 0;
        const auto buffer_bytes = options_.cursor_bytes / 2 + below(options_.cursor_bytes);
        return client_->scan(key(), buffer_bytes, 1 + below(3), forget);
    }

    Outcome request(unsigned kind) {
        switch (kind) {
        case kGet:
            return client_->get(key());
        case kPut:
            return client_->put(key(), value_bytes());
        case kDelete:
            return client_->remove(key());
        case kScan:
            return scan();
        default:
            return client_->bad(below(6), value_bytes());
        }
    }

    void count(unsigned kind, Outcome outcome) {
        const bool expected = kind == kBad ? outcome == Outcome::rejected : outcome == Outcome::fine;
        ++totals_.ops[kind];
        if (outcome == Outcome::rejected) {
            ++totals_.rejected;
        }
        if (!expected) {
            ++totals_.errors;
            client_.reset();
        }
    }

    const Options& options_;
    Totals& totals_;
    std::mt19937 random_;
    Clock::time_point end_;
    std::discrete_distribution<unsigned> kinds_;
    std::optional<Client> client_;
    unsigned since_connect_ = 0;
    unsigned forgotten_ = 0; ///< cursors left open on this connection
};

void print(const Totals& totals, double seconds) {
    std::uint64_t ops = 0;
    for (unsigned kind = 0; kind < kKinds; ++kind) {
        ops += totals.ops[kind];
        std::printf("%s %llu  ", kKindNames[kind], static_cast<unsigned long long>(totals.ops[kind]));
    }
    std::printf("connects %llu  rejected %llu\n", static_cast<unsigned long long>(totals.connects),
                static_cast<unsigned long long>(totals.rejected));
    std::printf("ops %llu in %.2f s: %.0f ops/s, %llu errors\n", static_cast<unsigned long long>(ops), seconds,
                static_cast<double>(ops) / seconds, static_cast<unsigned long long>(totals.errors));
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    if (!parse_options(argc, argv, options)) {
        std::fputs(kUsage, stderr);
        return 2;
    }
    for (const int signal : {SIGINT, SIGTERM}) {
        std::signal(signal, [](int) { interrupted = true; });
    }
    Totals totals;
    const auto start = Clock::now();
    const auto end = start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.seconds));
    std::vector<std::thread> threads;
    threads.reserve(options.connections);
    for (unsigned i = 0; i < options.connections; ++i) {
        threads.emplace_back([&options, &totals, i, end] { Worker(options, totals, i, end).run(); });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    print(totals, std::chrono::duration<double>(Clock::now() - start).count());
    return totals.errors == 0 ? 0 : 1;
}
