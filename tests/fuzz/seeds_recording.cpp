// Writes the inputs that fuzz_recording starts from into a directory: one recording of everything, and one for each event.
#include <cstdio>
#include <string>

#include "store/recording.hpp"
#include "tests/unit/sample_events.hpp"

namespace {

using namespace memtrace;

Status write_seed(const std::string& path, const std::vector<Event>& events) {
    auto writer = RecordingWriter::create(path);
    if (!writer) {
        return tl::unexpected(writer.error());
    }
    for (const auto& event : events) {
        if (auto status = writer->write(event); !status) {
            return status;
        }
    }
    return writer->close();
}

Status write_seeds(const std::string& directory) {
    const auto events = testing::sample_events();
    auto status = write_seed(directory + "/all", events);
    for (std::size_t i = 0; status && i < events.size(); ++i) {
        status = write_seed(directory + "/event-" + std::to_string(i), {events[i]});
    }
    return status;
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    if (const auto status = write_seeds(argv[1]); !status) {
        std::fprintf(stderr, "%s: %s\n", argv[0], status.error().message.c_str());
        return 1;
    }
    return 0;
}
