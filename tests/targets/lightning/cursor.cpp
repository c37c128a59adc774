#include "cursor.hpp"

#include <cstdlib>
#include <cstring>
#include <string>

LIGHTNING_ALLOCATES void* cursor_buffer_create(std::size_t bytes) {
    void* buffer = std::malloc(bytes);
    return buffer;
}

namespace lightning {

memtrace::Result<Batch> Cursor::next(std::uint64_t max_rows) {
    Batch batch;
    std::size_t used = 0;
    rows_.touch();
    auto& rows = **rows_;
    while (rows.Valid() && batch.rows < max_rows) {
        const auto key = rows.key();
        const auto value = rows.value();
        const std::string tail = " " + std::to_string(value.size()) + "\n";
        const auto need = key.size() + tail.size() + value.size() + 1;
        if (need > buffer_.size() - used) {
            if (batch.rows == 0) {
                return memtrace::fail("buffer the next row takes " + std::to_string(need) + " bytes");
            }
            break;
        }
        char* at = buffer_.data() + used;
        at = static_cast<char*>(mempcpy(at, key.data(), key.size()));
        at = static_cast<char*>(mempcpy(at, tail.data(), tail.size()));
        at = static_cast<char*>(mempcpy(at, value.data(), value.size()));
        *at = '\n';
        used += need;
        ++batch.rows;
        rows.Next();
    }
    if (!rows.status().ok()) {
        return memtrace::fail("storage " + rows.status().ToString());
    }
    plan_.passed(batch.rows);
    batch.bytes = {buffer_.data(), used};
    batch.done = !rows.Valid();
    return batch;
}

} // namespace lightning
