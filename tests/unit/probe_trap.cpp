#include "tests/unit/probe_trap.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <gelf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sstream>

namespace memtrace {
namespace {

/// Where an argument lies: size@operand, as the compiler wrote it down.
struct Operand {
    int size = 8; ///< negative: signed
    enum Kind { immediate, in_register, memory } kind = immediate;
    int base = -1; ///< registers: index into gregs
    int index = -1;
    long long scale = 1;
    long long number = 0; ///< of an immediate; displacement of memory
};

struct Probe {
    std::uintptr_t address = 0;
    volatile unsigned short* semaphore = nullptr;
    std::string provider;
    std::string name;
    std::vector<Operand> operands;
};

constexpr std::size_t kArguments = 7;
constexpr std::size_t kTextBytes = 64;

struct Record {
    const Probe* probe;
    std::array<std::uint64_t, kArguments> values;
    std::array<std::array<char, kTextBytes>, kArguments> texts;
};

/// Which arguments are strings.
const std::map<std::string, std::vector<std::size_t>> kTexts = {
    {"object_create", {2}},     {"object_alive", {2}},   {"resource_acquire", {0, 4}},
    {"resource_alive", {0, 4}}, {"resource_touch", {0}}, {"resource_release", {0}},
    {"pool_get", {1}},          {"pool_put", {1}},       {"pool_wait", {1}},
    {"pool_limit", {1}},
};

bool is_text(const std::string& name, std::size_t argument) {
    const auto found = kTexts.find(name);
    return found != kTexts.end() && std::count(found->second.begin(), found->second.end(), argument) != 0;
}

#ifdef __x86_64__

int register_of(std::string_view name) {
    // Each with its names by size.
    static const std::array<std::pair<int, std::array<std::string_view, 4>>, 16> kRegisters = {{
        {REG_RAX, {"rax", "eax", "ax", "al"}},
        {REG_RBX, {"rbx", "ebx", "bx", "bl"}},
        {REG_RCX, {"rcx", "ecx", "cx", "cl"}},
        {REG_RDX, {"rdx", "edx", "dx", "dl"}},
        {REG_RSI, {"rsi", "esi", "si", "sil"}},
        {REG_RDI, {"rdi", "edi", "di", "dil"}},
        {REG_RBP, {"rbp", "ebp", "bp", "bpl"}},
        {REG_RSP, {"rsp", "esp", "sp", "spl"}},
        {REG_R8, {"r8", "r8d", "r8w", "r8b"}},
        {REG_R9, {"r9", "r9d", "r9w", "r9b"}},
        {REG_R10, {"r10", "r10d", "r10w", "r10b"}},
        {REG_R11, {"r11", "r11d", "r11w", "r11b"}},
        {REG_R12, {"r12", "r12d", "r12w", "r12b"}},
        {REG_R13, {"r13", "r13d", "r13w", "r13b"}},
        {REG_R14, {"r14", "r14d", "r14w", "r14b"}},
        {REG_R15, {"r15", "r15d", "r15w", "r15b"}},
    }};
    for (const auto& [index, names] : kRegisters) {
        if (std::find(names.begin(), names.end(), name) != names.end()) {
            return index;
        }
    }
    ADD_FAILURE() << "a probe's argument lies in register " << name;
    return REG_RAX;
}

// "8@%rax", "-4@$5", "8@-24(%rbp)", "8@8(%rax,%rcx,4)"
Operand parse_operand(const std::string& text) {
    Operand out;
    const auto at = text.find('@');
    out.size = std::atoi(text.c_str());
    auto rest = text.substr(at + 1);
    if (rest[0] == '$') {
        out.number = std::strtoll(rest.c_str() + 1, nullptr, 0);
    } else if (rest[0] == '%') {
        out.kind = Operand::in_register;
        out.base = register_of(rest.substr(1));
    } else {
        out.kind = Operand::memory;
        out.number = std::strtoll(rest.c_str(), nullptr, 0);
        std::vector<std::string> parts;
        std::istringstream inside(rest.substr(rest.find('(') + 1, rest.find(')') - rest.find('(') - 1));
        for (std::string part; std::getline(inside, part, ',');) {
            parts.push_back(part);
        }
        out.base = parts.at(0).empty() ? -1 : register_of(parts[0].substr(1));
        out.index = parts.size() > 1 ? register_of(parts[1].substr(1)) : -1;
        out.scale = parts.size() > 2 ? std::atoll(parts[2].c_str()) : 1;
    }
    return out;
}

// An operand of memory with an index has commas and no spaces of its own.
std::vector<Operand> parse_operands(const std::string& text) {
    std::vector<Operand> out;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
        out.push_back(parse_operand(word));
    }
    return out;
}

std::uint64_t value_of(const Operand& operand, const gregset_t& registers) {
    std::uint64_t value = static_cast<std::uint64_t>(operand.number);
    if (operand.kind == Operand::in_register) {
        value = static_cast<std::uint64_t>(registers[operand.base]);
    } else if (operand.kind == Operand::memory) {
        value += operand.base < 0 ? 0 : static_cast<std::uint64_t>(registers[operand.base]);
        value += operand.index < 0 ? 0 : static_cast<std::uint64_t>(registers[operand.index] * operand.scale);
        std::memcpy(&value, reinterpret_cast<const void*>(value), sizeof value);
    }
    switch (operand.size) {
    case 4:
        return static_cast<std::uint32_t>(value);
    case -4:
        return static_cast<std::uint64_t>(static_cast<std::int32_t>(value));
    default:
        return value;
    }
}

#else

std::vector<Operand> parse_operands(const std::string&) {
    return {};
}

#endif

std::vector<Probe> read_notes() {
    std::vector<Probe> out;
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    elf_version(EV_CURRENT);
    Elf* const elf = elf_begin(fd, ELF_C_READ, nullptr);
    std::uintptr_t bias = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* bias_out) {
            *static_cast<std::uintptr_t*>(bias_out) = info->dlpi_addr;
            return 1; // the program comes first
        },
        &bias);
    std::size_t names = 0;
    elf_getshdrstrndx(elf, &names);
    for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section));) {
        GElf_Shdr header;
        gelf_getshdr(section, &header);
        if (std::strcmp(elf_strptr(elf, names, header.sh_name), ".note.stapsdt") != 0) {
            continue;
        }
        Elf_Data* const data = elf_getdata(section, nullptr);
        GElf_Nhdr note;
        std::size_t name_at = 0;
        std::size_t at = 0;
        for (std::size_t next = 0; (next = gelf_getnote(data, next, &note, &name_at, &at));) {
            const char* const begin = static_cast<const char*>(data->d_buf) + at;
            std::array<std::uintptr_t, 3> addresses{}; // probe, base, semaphore
            std::memcpy(addresses.data(), begin, sizeof addresses);
            Probe probe;
            const char* text = begin + sizeof addresses;
            probe.provider = text;
            text += probe.provider.size() + 1;
            probe.name = text;
            text += probe.name.size() + 1;
            probe.operands = parse_operands(text);
            probe.address = addresses[0] + bias;
            probe.semaphore = addresses[2] ? reinterpret_cast<volatile unsigned short*>(addresses[2] + bias) : nullptr;
            out.push_back(std::move(probe));
        }
    }
    elf_end(elf);
    close(fd);
    return out;
}

const std::vector<Probe>& all_probes() {
    static const std::vector<Probe> probes = read_notes();
    return probes;
}

constexpr std::size_t kRecords = 1 << 16;

struct Trap {
    std::vector<Record> records;
    std::atomic<std::size_t> used{0};
    std::map<std::uintptr_t, const Probe*> armed;
    struct sigaction before{};
};
Trap* current = nullptr;

[[maybe_unused]] void on_trap(int, siginfo_t*, void* context) {
#ifdef __x86_64__
    const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    // A breakpoint replaces a `nop`, so going on behind it is all that there is to do.
    const auto found = current->armed.find(static_cast<std::uintptr_t>(registers[REG_RIP]) - 1);
    if (found == current->armed.end()) {
        std::abort();
    }
    const auto slot = current->used.fetch_add(1);
    if (slot >= kRecords) {
        return; // take() says so
    }
    auto& record = current->records[slot];
    record.probe = found->second;
    for (std::size_t i = 0; i < found->second->operands.size(); ++i) {
        record.values[i] = value_of(found->second->operands[i], registers);
        if (is_text(found->second->name, i)) {
            const char* const text = reinterpret_cast<const char*>(record.values[i]);
            std::memcpy(record.texts[i].data(), text, strnlen(text, kTextBytes - 1));
        }
    }
#else
    (void)context;
#endif
}

void poke(std::uintptr_t address, unsigned char byte) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    void* const start = reinterpret_cast<void*>(address & ~(page - 1));
    ASSERT_EQ(mprotect(start, page, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    *reinterpret_cast<volatile unsigned char*>(address) = byte;
    ASSERT_EQ(mprotect(start, page, PROT_READ | PROT_EXEC), 0);
}

std::string line_of(const Record& record) {
    std::string out = record.probe->name;
    for (std::size_t i = 0; i < record.probe->operands.size(); ++i) {
        out += ' ';
        out += is_text(record.probe->name, i) ? std::string(record.texts[i].data()) : std::to_string(record.values[i]);
    }
    return out;
}

std::size_t fired() {
    const auto used = current->used.exchange(0);
    EXPECT_LE(used, kRecords) << "more probes fired than are kept";
    return std::min(used, kRecords);
}

void raise_all(int by) {
    std::set<volatile unsigned short*> done;
    for (const auto& [address, probe] : current->armed) {
        if (probe->semaphore && done.insert(probe->semaphore).second) {
            *probe->semaphore = static_cast<unsigned short>(*probe->semaphore + by);
        }
    }
}

} // namespace

ProbeTrap::ProbeTrap(const std::string& provider, const std::vector<std::string>& except) {
    current = new Trap;
    current->records.resize(kRecords);
    for (const auto& probe : all_probes()) {
        if (probe.provider == provider && std::count(except.begin(), except.end(), probe.name) == 0) {
            current->armed.emplace(probe.address, &probe);
        }
    }
    struct sigaction action{};
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &current->before);
    for (const auto& [address, probe] : current->armed) {
        poke(address, 0xCC);
    }
    raise_all(1);
}

ProbeTrap::~ProbeTrap() {
    raise_all(-1);
    for (const auto& [address, probe] : current->armed) {
        poke(address, 0x90);
    }
    sigaction(SIGTRAP, &current->before, nullptr);
    delete current;
    current = nullptr;
}

std::vector<std::string> ProbeTrap::take() {
    return take("");
}

std::vector<std::string> ProbeTrap::take(const std::string& name) {
    std::vector<std::string> out;
    for (std::size_t i = 0, count = fired(); i < count; ++i) {
        if (auto line = line_of(current->records[i]); line.compare(0, name.size(), name) == 0) {
            out.push_back(std::move(line));
        }
    }
    return out;
}

std::vector<std::vector<std::uint64_t>> ProbeTrap::take_numbers(const std::string& name) {
    std::vector<std::vector<std::uint64_t>> out;
    for (std::size_t i = 0, count = fired(); i < count; ++i) {
        const auto& record = current->records[i];
        if (record.probe->name == name) {
            out.emplace_back(record.values.begin(),
                             record.values.begin() + static_cast<std::ptrdiff_t>(record.probe->operands.size()));
        }
    }
    return out;
}

volatile unsigned short* ProbeTrap::semaphore(const std::string& provider, const std::string& name) {
    for (const auto& probe : all_probes()) {
        if (probe.provider == provider && probe.name == name) {
            return probe.semaphore;
        }
    }
    return nullptr;
}

} // namespace memtrace
