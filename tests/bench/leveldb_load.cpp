// As LevelDB's db_bench does it: fillrandom, then readrandom, --num entries of 16 and 100 bytes each, in a database of its own in a directory
// that must not exist. Says "ready PID", waits for a line, works, says how long each took and how many were found, waits for a line, removes it.
#include <leveldb/db.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kKeyBytes = 16;
constexpr int kValueBytes = 100;

std::string key_of(std::uint64_t number) {
    std::string key(kKeyBytes, '0');
    for (auto digit = key.rbegin(); number != 0 && digit != key.rend(); ++digit, number /= 10) {
        *digit = static_cast<char>('0' + number % 10);
    }
    return key;
}

void check(const leveldb::Status& status) {
    if (!status.ok()) {
        std::cerr << "leveldb_load: " << status.ToString() << '\n';
        std::exit(1);
    }
}

void say(const char* what, Clock::time_point begin, std::uint64_t count) {
    const std::chrono::duration<double, std::micro> took = Clock::now() - begin;
    std::cout << what << ' ' << took.count() / static_cast<double>(count) << '\n';
}

void wait_for_line() {
    std::string line;
    std::cout << std::flush;
    std::getline(std::cin, line);
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "usage: leveldb_load DIRECTORY NUM\n";
        return 2;
    }
    const std::uint64_t num = std::strtoull(argv[2], nullptr, 10);
    leveldb::Options options;
    options.create_if_missing = true;
    options.error_if_exists = true;
    leveldb::DB* opened = nullptr;
    check(leveldb::DB::Open(options, argv[1], &opened));
    std::unique_ptr<leveldb::DB> db(opened);
    std::mt19937_64 random(301);
    std::string value(kValueBytes, 'v');
    std::cout << "ready " << ::getpid() << '\n';
    wait_for_line();

    auto begin = Clock::now();
    for (std::uint64_t i = 0; i < num; ++i) {
        value[i % kValueBytes] = static_cast<char>('a' + i % 26);
        check(db->Put({}, key_of(random() % num), value));
    }
    say("fillrandom_us", begin, num);
    begin = Clock::now();
    std::uint64_t found = 0;
    for (std::uint64_t i = 0; i < num; ++i) {
        found += db->Get({}, key_of(random() % num), &value).ok() ? 1 : 0;
    }
    say("readrandom_us", begin, num);
    std::cout << "found " << found << "\ndone\n";
    wait_for_line();
    db.reset();
    check(leveldb::DestroyDB(argv[1], options));
    return found == 0 ? 1 : 0;
}
