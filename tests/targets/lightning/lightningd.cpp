// lightningd: the command line, the parts put together, the truth at the end.
#include <getopt.h>

#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server.hpp"

namespace {

using namespace lightning;

constexpr const char* kUsage = "usage: lightningd --db DIR (--socket PATH | --port N) [--cache-bytes N] [--bug NAME,...]\n";

struct Options {
    std::string database;
    std::string socket;
    std::optional<std::uint16_t> port;
    std::size_t cache_bytes = std::size_t{1024} * 1024;
    std::vector<Bug> bugs;
};

template <typename T>
bool parse_number(std::string_view text, T& value) {
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && stop == text.data() + text.size();
}

memtrace::Status parse_bugs(std::string_view list, std::vector<Bug>& bugs) {
    while (!list.empty()) {
        const auto comma = list.find(',');
        const auto name = list.substr(0, comma);
        const auto bug = find_bug(name);
        if (!bug) {
            return memtrace::fail("no bug is called '" + std::string(name) + "', known are " + bug_names());
        }
        bugs.push_back(*bug);
        list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    }
    return {};
}

memtrace::Result<Options> parse_options(int argc, char** argv) {
    static const option kLong[] = {{"db", required_argument, nullptr, 'd'},   {"socket", required_argument, nullptr, 's'},
                                   {"port", required_argument, nullptr, 'p'}, {"cache-bytes", required_argument, nullptr, 'c'},
                                   {"bug", required_argument, nullptr, 'b'},  {nullptr, 0, nullptr, 0}};
    Options options;
    int letter = 0;
    while ((letter = ::getopt_long(argc, argv, "", kLong, nullptr)) != -1) {
        if (letter == 'd') {
            options.database = optarg;
        } else if (letter == 's') {
            options.socket = optarg;
        } else if (letter == 'p' && parse_number(optarg, options.port.emplace())) {
            continue;
        } else if (letter == 'c' && parse_number(optarg, options.cache_bytes)) {
            continue;
        } else if (letter == 'b') {
            if (auto status = parse_bugs(optarg, options.bugs); !status) {
                return tl::unexpected(status.error());
            }
        } else {
            return memtrace::fail("bad option");
        }
    }
    if (optind != argc || options.database.empty() || options.socket.empty() == !options.port) {
        return memtrace::fail("wanted are --db and one of --socket and --port");
    }
    return options;
}

memtrace::Status serve(const Options& options, const Shared& shared) {
    auto server = options.port ? Server::on_port(shared, *options.port) : Server::on_socket(shared, options.socket);
    if (!server) {
        return tl::unexpected(server.error());
    }
    std::printf("lightningd ready on %s, pid %d\n", server->address().c_str(), static_cast<int>(::getpid()));
    std::fflush(stdout);
    auto status = server->run();
    if (!options.socket.empty()) {
        ::unlink(options.socket.c_str());
    }
    return status;
}

memtrace::Status run(const Options& options, BugBoard& board, Cache& cache) {
    auto storage = Storage::open(options.database);
    if (!storage) {
        return tl::unexpected(storage.error());
    }
    Statistics statistics;
    Database database(*storage, cache, statistics);
    Database* in_use = &database;
    database.acquire(&in_use);
    Forgotten forgotten;
    ErrorLog errors(options.database + ".errors", board, forgotten);
    auto status = serve(options, {database, statistics, board, errors, forgotten});
    database.release(&in_use);
    return status;
}

} // namespace

int main(int argc, char** argv) {
    const auto options = parse_options(argc, argv);
    if (!options) {
        std::fprintf(stderr, "lightningd: %s\n%s", options.error().message.c_str(), kUsage);
        return 2;
    }
    block_server_signals();
    // Static, as what the cache does not evict has to stay reachable to the end: it has grown, it is not lost.
    static BugBoard board;
    static std::optional<Cache> cache;
    for (const Bug bug : options->bugs) {
        board.set(bug, true);
    }
    cache.emplace(board, options->cache_bytes);
    const auto status = run(*options, board, *cache);
    cache->close();
    std::fputs(board.truth().c_str(), stdout);
    if (!status) {
        std::fprintf(stderr, "lightningd: %s\n", status.error().message.c_str());
        return 1;
    }
    return 0;
}
