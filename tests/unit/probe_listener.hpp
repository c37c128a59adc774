// A tracer of this very process, for tests of what a program tells by probes: raises semaphores and puts breakpoints where the notes
// of .note.stapsdt say, as the kernel would, and reads the arguments as the notes say. Needs no root. x86-64 only.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "proc/elf_handle.hpp"

// What the kernel would do to the program: no thread sanitizer shall see it.
#define PROBE_TEST_UNSEEN __attribute__((no_sanitize("thread")))

namespace memtrace::probe_test {

/// One place of a probe, as the ELF file says it.
struct ProbeNote {
    std::string provider;
    std::string name;
    std::string arguments; ///< "8@%rdi -4@$1 ..."
    std::uint64_t location = 0;
    std::uint64_t semaphore = 0; ///< 0: it has none
};

/// The notes of the file at `path`; addresses as linked. Empty where it has none.
inline std::vector<ProbeNote> read_probe_notes(const std::string& path) {
    std::vector<ProbeNote> notes;
    elf_version(EV_CURRENT);
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const ElfHandle elf(elf_begin(file.get(), ELF_C_READ_MMAP, nullptr));
    GElf_Shdr header;
    GElf_Shdr base_header{};
    Elf_Scn* section =
        find_section(elf.get(), ".note.stapsdt", header, [](const GElf_Shdr& it) { return it.sh_type == SHT_NOTE; });
    if (section == nullptr ||
        find_section(elf.get(), ".stapsdt.base", base_header, [](const GElf_Shdr&) { return true; }) == nullptr) {
        return notes;
    }
    for_each_note(elf_getdata(section, nullptr), [&](GElf_Word type, std::string_view owner, std::string_view description) {
        if (type != 3 || owner != std::string_view("stapsdt\0", 8)) {
            return;
        }
        std::array<std::uint64_t, 3> addresses{}; // location, base, semaphore
        std::memcpy(addresses.data(), description.data(), sizeof addresses);
        const auto moved = base_header.sh_addr - addresses[1];
        const char* text = description.data() + sizeof addresses;
        ProbeNote note;
        note.provider = text;
        note.name = text + note.provider.size() + 1;
        note.arguments = text + note.provider.size() + note.name.size() + 2;
        note.location = addresses[0] + moved;
        note.semaphore = addresses[2] != 0 ? addresses[2] + moved : 0;
        notes.push_back(note);
    });
    return notes;
}

/// What fired. Arguments as the probe's types extend them to 64 bits.
struct ProbeEvent {
    std::string_view probe;
    std::array<std::uint64_t, 7> args{};
    pid_t tid = 0;

    [[nodiscard]] const char* text(std::size_t arg) const { return reinterpret_cast<const char*>(args[arg]); }
};

/// Where an argument is found: a register, a constant, or memory at register + offset.
struct ArgumentPlace {
    int size = 8; ///< negative: signed
    int reg = -1; ///< of ucontext; -1: `value` alone
    std::int64_t value = 0;
    bool in_memory = false;
};

class ProbeListener {
public:
    static constexpr std::size_t kMaxEvents = 50'000;

    /// Listens to those probes, "memtrace:ref_acquire" and so on, until it ends. One at a time in a process.
    explicit ProbeListener(const std::set<std::string>& wanted) {
        bias_ = load_bias();
        for (const auto& note : read_probe_notes("/proc/self/exe")) {
            const auto name = note.provider + ":" + note.name;
            if (wanted.count(name) != 0) {
                probes_.push_back({name, note.location + bias_, parse(note.arguments)});
                semaphores_[name] = note.semaphore + bias_;
            }
        }
        EXPECT_EQ(semaphores_.size(), wanted.size()) << "some probe has no note";
        events_.resize(kMaxEvents);
        active_ = this;
        struct sigaction action{};
        action.sa_sigaction = on_trap;
        action.sa_flags = SA_SIGINFO | SA_RESTART;
        ::sigaction(SIGTRAP, &action, &before_);
        for (const auto& probe : probes_) {
            write_code(probe.address, kBreakpoint);
        }
        // The last to be attached is what asks, as tracers do.
        const auto asks = semaphores_.find("memtrace:announce");
        for (auto it = semaphores_.begin(); it != semaphores_.end(); ++it) {
            if (it != asks) {
                change(it->second, 1);
            }
        }
        if (asks != semaphores_.end()) {
            change(asks->second, 1);
        }
    }
    ProbeListener(const ProbeListener&) = delete;
    ProbeListener& operator=(const ProbeListener&) = delete;
    ~ProbeListener() {
        for (const auto& [name, address] : semaphores_) {
            change(address, -1);
        }
        for (const auto& probe : probes_) {
            write_code(probe.address, kNop);
        }
        ::sigaction(SIGTRAP, &before_, nullptr);
        active_ = nullptr;
    }

    /// What fired so far. Not while other threads fire.
    [[nodiscard]] std::vector<ProbeEvent> events() const {
        EXPECT_LE(count_, kMaxEvents) << "events are missing";
        return {events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(count_, kMaxEvents))};
    }
    void forget() { count_ = 0; }

private:
    static constexpr std::uint8_t kNop = 0x90;
    static constexpr std::uint8_t kBreakpoint = 0xCC;

    struct Probe {
        std::string name;
        std::uint64_t address = 0;
        std::vector<ArgumentPlace> arguments;
    };

    static std::uint64_t load_bias() {
        std::uint64_t bias = 0;
        ::dl_iterate_phdr(
            [](dl_phdr_info* info, std::size_t, void* to) {
                *static_cast<std::uint64_t*>(to) = info->dlpi_addr;
                return 1; // the program itself is the first
            },
            &bias);
        return bias;
    }

    static int number_of(std::string_view reg) {
        static const std::map<std::string_view, int> kNames = {
            {"ax", REG_RAX}, {"bx", REG_RBX}, {"cx", REG_RCX}, {"dx", REG_RDX}, {"si", REG_RSI}, {"di", REG_RDI},
            {"bp", REG_RBP}, {"sp", REG_RSP}, {"8", REG_R8},   {"9", REG_R9},   {"10", REG_R10}, {"11", REG_R11},
            {"12", REG_R12}, {"13", REG_R13}, {"14", REG_R14}, {"15", REG_R15}};
        reg.remove_prefix(1); // %
        if (reg.front() == 'r' || reg.front() == 'e') {
            reg.remove_prefix(1);
        }
        while (kNames.count(reg) == 0 && !reg.empty()) { // %r8d, %sil
            reg.remove_suffix(1);
        }
        const auto found = kNames.find(reg);
        return found != kNames.end() ? found->second : -1;
    }

    static std::vector<ArgumentPlace> parse(std::string_view text) {
        std::vector<ArgumentPlace> places;
        while (!text.empty()) {
            const auto end = std::min(text.find(' '), text.size());
            const auto word = text.substr(0, end);
            text.remove_prefix(std::min(end + 1, text.size()));
            const auto at = word.find('@');
            auto operand = word.substr(at + 1);
            ArgumentPlace place;
            std::from_chars(word.data(), word.data() + at, place.size);
            if (operand.front() == '$') {
                operand.remove_prefix(1);
                std::from_chars(operand.data(), operand.data() + operand.size(), place.value);
            } else if (operand.front() == '%') {
                place.reg = number_of(operand);
            } else {
                const auto open = operand.find('(');
                std::from_chars(operand.data(), operand.data() + open, place.value);
                place.reg = number_of(operand.substr(open + 1, operand.find_first_of(",)", open) - open - 1));
                place.in_memory = true;
                EXPECT_EQ(operand.find(','), std::string_view::npos) << "an operand that this reader does not know: " << operand;
            }
            EXPECT_TRUE(place.reg >= 0 || word[at + 1] == '$') << "an operand that this reader does not know: " << word;
            places.push_back(place);
        }
        return places;
    }

    static std::uint64_t read(const ArgumentPlace& place, const ucontext_t& context) {
        auto value = static_cast<std::uint64_t>(place.value);
        if (place.reg >= 0) {
            const auto content = static_cast<std::uint64_t>(context.uc_mcontext.gregs[place.reg]);
            if (place.in_memory) {
                std::memcpy(&value, reinterpret_cast<const void*>(content + value), sizeof value);
            } else {
                value = content;
            }
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

    PROBE_TEST_UNSEEN static void on_trap(int, siginfo_t*, void* where) {
        const auto& context = *static_cast<const ucontext_t*>(where);
        const auto address = static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_RIP]) - 1;
        for (const auto& probe : active_->probes_) {
            if (probe.address != address) {
                continue;
            }
            const auto index = active_->count_.fetch_add(1);
            if (index < kMaxEvents) {
                auto& event = active_->events_[index];
                event.probe = std::string_view(probe.name).substr(probe.name.find(':') + 1);
                event.tid = ::gettid();
                for (std::size_t i = 0; i < probe.arguments.size(); ++i) {
                    event.args[i] = read(probe.arguments[i], context);
                }
            }
            return; // behind the breakpoint, which is as long as the nop
        }
        ::_exit(99); // somebody else's
    }

    PROBE_TEST_UNSEEN static void write_code(std::uint64_t address, std::uint8_t byte) {
        const auto page_size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
        auto* page = reinterpret_cast<void*>(address / page_size * page_size);
        ASSERT_EQ(::mprotect(page, page_size, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
        *reinterpret_cast<volatile std::uint8_t*>(address) = byte;
        ASSERT_EQ(::mprotect(page, page_size, PROT_READ | PROT_EXEC), 0);
    }

    PROBE_TEST_UNSEEN static void change(std::uint64_t semaphore, int by) {
        auto& value = *reinterpret_cast<volatile unsigned short*>(semaphore);
        value = static_cast<unsigned short>(value + by);
    }

    static inline ProbeListener* active_ = nullptr;

    std::uint64_t bias_ = 0;
    std::vector<Probe> probes_;
    std::map<std::string, std::uint64_t> semaphores_;
    std::vector<ProbeEvent> events_;
    std::atomic<std::size_t> count_{0};
    struct sigaction before_{};
};

} // namespace memtrace::probe_test
