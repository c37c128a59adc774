#include "kernel/process_table.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

namespace memtrace {

void ProcessTable::Unmap::operator()(mt_process* memory) const {
    ::munmap(memory, size);
}

Result<ProcessTable> ProcessTable::map(int map_fd, std::uint32_t entries) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t size = (entries * sizeof(mt_process) + page - 1) / page * page;
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
    if (memory == MAP_FAILED) {
        return fail_errno("cannot map the table of processes", errno);
    }
    ProcessTable table;
    table.memory_ = {static_cast<mt_process*>(memory), Unmap{size}};
    return table;
}

} // namespace memtrace
