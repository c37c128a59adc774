#include "tests/unit/probe_listener.hpp"

#include <gtest/gtest.h>

#include <link.h>
#include <sys/mman.h>
#include <sys/ucontext.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "proc/usdt.hpp"

namespace memtrace::probe_test {

namespace {

constexpr std::uint8_t kNop = 0x90;
constexpr std::uint8_t kBreakpoint = 0xCC;

std::string full_name(const UsdtProbe& probe) {
    return probe.provider + ":" + probe.name;
}

std::uint64_t load_bias() {
    std::uint64_t bias = 0;
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* to) {
            *static_cast<std::uint64_t*>(to) = info->dlpi_addr;
            return 1; // the program itself is the first
        },
        &bias);
    return bias;
}

/// Of this program, at the addresses where it runs.
const std::vector<UsdtProbe>& own_probes() {
    static const std::vector<UsdtProbe> probes = [] {
        auto found = read_usdt_probes("/proc/self/exe").value_or(std::vector<UsdtProbe>{});
        for (auto& probe : found) {
            probe.address += load_bias();
            probe.semaphore += probe.semaphore != 0 ? load_bias() : 0;
        }
        return found;
    }();
    return probes;
}

/// Which arguments of the contract's probes are strings.
std::uint32_t strings_of(const std::string& name) {
    static const std::map<std::string, std::uint32_t> strings = {
#define PROBE_TEST_STRINGS(probe, arguments, strings, keyed) {#probe, strings},
        MT_CONTRACT_PROBES(PROBE_TEST_STRINGS)
#undef PROBE_TEST_STRINGS
    };
    const auto found = strings.find(name);
    return found != strings.end() ? found->second : 0;
}

#ifdef __x86_64__

int register_of(std::string_view name) {
    // Each with its names by size.
    static constexpr std::pair<int, std::array<std::string_view, 4>> kRegisters[] = {
        {REG_RAX, {"rax", "eax", "ax", "al"}},      {REG_RBX, {"rbx", "ebx", "bx", "bl"}},
        {REG_RCX, {"rcx", "ecx", "cx", "cl"}},      {REG_RDX, {"rdx", "edx", "dx", "dl"}},
        {REG_RSI, {"rsi", "esi", "si", "sil"}},     {REG_RDI, {"rdi", "edi", "di", "dil"}},
        {REG_RBP, {"rbp", "ebp", "bp", "bpl"}},     {REG_RSP, {"rsp", "esp", "sp", "spl"}},
        {REG_R8, {"r8", "r8d", "r8w", "r8b"}},      {REG_R9, {"r9", "r9d", "r9w", "r9b"}},
        {REG_R10, {"r10", "r10d", "r10w", "r10b"}}, {REG_R11, {"r11", "r11d", "r11w", "r11b"}},
        {REG_R12, {"r12", "r12d", "r12w", "r12b"}}, {REG_R13, {"r13", "r13d", "r13w", "r13b"}},
        {REG_R14, {"r14", "r14d", "r14w", "r14b"}}, {REG_R15, {"r15", "r15d", "r15w", "r15b"}},
    };
    for (const auto& [index, names] : kRegisters) {
        if (std::find(names.begin(), names.end(), name) != names.end()) {
            return index;
        }
    }
    ADD_FAILURE() << "a probe's argument lies in register " << name;
    return REG_RAX;
}

template <typename T>
T number_of(std::string_view text) {
    T value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

/// What comes before the next `end`, taken off `text`.
std::string_view take_until(std::string_view& text, char end) {
    const auto part = text.substr(0, text.find(end));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    return part;
}

/// "8@%rax", "-4@$5", "8@-24(%rbp)", "8@8(%rax,%rcx,4)"
ArgumentPlace parse_place(std::string_view text) {
    ArgumentPlace place;
    place.size = number_of<int>(take_until(text, '@'));
    if (text.front() == '$') {
        place.number = number_of<std::int64_t>(text.substr(1));
    } else if (text.front() == '%') {
        place.kind = ArgumentPlace::in_register;
        place.base = register_of(text.substr(1));
    } else {
        place.kind = ArgumentPlace::memory;
        place.number = number_of<std::int64_t>(take_until(text, '('));
        auto inside = take_until(text, ')');
        const auto base = take_until(inside, ',');
        const auto index = take_until(inside, ',');
        place.base = base.empty() ? -1 : register_of(base.substr(1));
        place.index = index.empty() ? -1 : register_of(index.substr(1));
        place.scale = inside.empty() ? 1 : number_of<std::int64_t>(inside);
    }
    return place;
}

/// An operand of memory with an index has commas, and no spaces of its own.
std::vector<ArgumentPlace> parse_places(std::string_view text) {
    std::vector<ArgumentPlace> places;
    while (!text.empty()) {
        places.push_back(parse_place(take_until(text, ' ')));
    }
    return places;
}

std::uint64_t read(const ArgumentPlace& place, const gregset_t& registers) {
    auto value = static_cast<std::uint64_t>(place.number);
    if (place.kind == ArgumentPlace::in_register) {
        value = static_cast<std::uint64_t>(registers[place.base]);
    } else if (place.kind == ArgumentPlace::memory) {
        value += place.base < 0 ? 0 : static_cast<std::uint64_t>(registers[place.base]);
        value += place.index < 0 ? 0 : static_cast<std::uint64_t>(registers[place.index] * place.scale);
        std::memcpy(&value, reinterpret_cast<const void*>(value), sizeof value);
    }
    switch (place.size) {
    case 4:
        return static_cast<std::uint32_t>(value);
    case -4:
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(value)));
    default:
        return value;
    }
}

#else

std::vector<ArgumentPlace> parse_places(std::string_view) {
    return {};
}

#endif

PROBE_TEST_UNSEEN void write_code(std::uint64_t address, std::uint8_t byte) {
    const auto page_size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    auto* page = reinterpret_cast<void*>(address / page_size * page_size);
    ASSERT_EQ(::mprotect(page, page_size, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    *reinterpret_cast<volatile std::uint8_t*>(address) = byte;
    ASSERT_EQ(::mprotect(page, page_size, PROT_READ | PROT_EXEC), 0);
}

PROBE_TEST_UNSEEN void change(volatile unsigned short* semaphore, int by) {
    *semaphore = static_cast<unsigned short>(*semaphore + by);
}

} // namespace

const char* ProbeEvent::text(std::size_t arg) const {
    std::size_t before = 0;
    for (std::size_t i = 0; i < arg; ++i) {
        before += strings >> i & 1;
    }
    EXPECT_TRUE(strings >> arg & 1) << probe << ": argument " << arg << " is no string";
    return texts.at(before).data();
}

std::set<std::string> probes_of(const std::string& provider) {
    std::set<std::string> names;
    for (const auto& probe : own_probes()) {
        if (probe.provider == provider) {
            names.insert(full_name(probe));
        }
    }
    return names;
}

volatile unsigned short* semaphore_of(const std::string& probe) {
    const auto& probes = own_probes();
    const auto found = std::find_if(probes.begin(), probes.end(), [&](const auto& own) { return full_name(own) == probe; });
    return found != probes.end() ? reinterpret_cast<volatile unsigned short*>(found->semaphore) : nullptr;
}

ProbeListener::ProbeListener(const std::set<std::string>& wanted) {
    std::map<std::string, volatile unsigned short*> semaphores;
    for (const auto& probe : own_probes()) {
        const auto name = full_name(probe);
        if (wanted.count(name) != 0) {
            probes_[probe.address] = {probe.name, strings_of(probe.name), parse_places(probe.arguments)};
            semaphores[name] = reinterpret_cast<volatile unsigned short*>(probe.semaphore);
        }
    }
    EXPECT_EQ(semaphores.size(), wanted.size()) << "some probe has no note";
    // The last to be attached is what asks, as tracers do.
    const auto asks = semaphores.extract("memtrace:announce");
    for (const auto& [name, semaphore] : semaphores) {
        semaphores_.push_back(semaphore);
    }
    if (!asks.empty()) {
        semaphores_.push_back(asks.mapped());
    }
    events_.resize(kMaxEvents);
    active_ = this;
    struct sigaction action{};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(SIGTRAP, &action, &before_);
    for (const auto& [address, probe] : probes_) {
        write_code(address, kBreakpoint);
    }
    for (auto* semaphore : semaphores_) {
        change(semaphore, 1);
    }
}

ProbeListener::~ProbeListener() {
    for (auto* semaphore : semaphores_) {
        change(semaphore, -1);
    }
    for (const auto& [address, probe] : probes_) {
        write_code(address, kNop);
    }
    ::sigaction(SIGTRAP, &before_, nullptr);
    active_ = nullptr;
}

std::vector<ProbeEvent> ProbeListener::events() const {
    EXPECT_LE(count_, kMaxEvents) << "events are missing";
    return {events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(count_, kMaxEvents))};
}

PROBE_TEST_UNSEEN void ProbeListener::on_trap(int, siginfo_t*, void* where) {
#ifdef __x86_64__
    const auto& registers = static_cast<const ucontext_t*>(where)->uc_mcontext.gregs;
    const auto found = active_->probes_.find(static_cast<std::uint64_t>(registers[REG_RIP]) - 1);
    if (found == active_->probes_.end()) {
        ::_exit(99); // somebody else's
    }
    const auto& probe = found->second;
    const auto index = active_->count_.fetch_add(1);
    if (index >= kMaxEvents) {
        return; // events() says so
    }
    auto& event = active_->events_[index];
    std::size_t text = 0;
    event.probe = probe.name;
    event.count = probe.arguments.size();
    event.strings = probe.strings;
    event.args = {};
    event.tid = ::gettid();
    for (std::size_t i = 0; i < event.count; ++i) {
        event.args[i] = read(probe.arguments[i], registers);
        if (probe.strings >> i & 1) {
            auto& to = event.texts[text++];
            const auto* from = reinterpret_cast<const char*>(event.args[i]);
            const auto size = ::strnlen(from, to.size() - 1);
            std::memcpy(to.data(), from, size);
            to[size] = 0;
        }
    }
    // It goes on behind the breakpoint, which is as long as the nop.
#else
    static_cast<void>(where);
#endif
}

} // namespace memtrace::probe_test
