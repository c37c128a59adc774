#include "store/recording.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/bytes.hpp"
#include "store/event_codec.hpp"

namespace memtrace {

namespace {

// The zero tells the file from text, the line ends show a transfer that changed them.
constexpr std::string_view kMagic("MTREC\0\r\n", 8);
constexpr std::uint16_t kFormatVersion = 1;
constexpr std::size_t kHeaderSize = 12;
// Written out when this much has gathered between two flushes, read in pieces of this size.
constexpr std::size_t kChunk = 256U << 10;

std::string file_header() {
    ByteWriter header;
    header.write(kFormatVersion);
    header.write<std::uint16_t>(0);
    return std::string(kMagic) + header.data();
}

// Opening a device can already act on it (rewind a tape, arm a watchdog), and nobody means to record into a terminal or a disk.
bool takes_recording(const struct stat& file) {
    const auto null_device = makedev(1, 3);
    const auto full_device = makedev(1, 7);
    return S_ISREG(file.st_mode) || S_ISFIFO(file.st_mode) ||
           (S_ISCHR(file.st_mode) && (file.st_rdev == null_device || file.st_rdev == full_device));
}

tl::unexpected<Error> refuse_file(const std::string& path) {
    return fail("cannot record to " + path + ": it exists and is not a regular file: give another name");
}

Result<UniqueFd> open_for_recording(const std::string& path) {
    const std::string what = "cannot record to " + path;
    struct stat file{};
    if (::stat(path.c_str(), &file) == 0 && !takes_recording(file)) {
        return refuse_file(path);
    }
    // No O_TRUNC: what was opened is looked at once more before it is emptied, as the name may have changed hands meanwhile.
    // O_NONBLOCK is for fifos: a caller that takes its signals from a descriptor could not be stopped while it waits here.
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600));
    if (!fd && errno == ENXIO) {
        return tl::unexpected(Error{what + ": nobody reads from this fifo: start its reader first", ENXIO});
    }
    if (!fd) {
        return fail_errno(what, errno);
    }
    if (::fstat(fd.get(), &file) != 0) {
        return fail_errno(what, errno);
    }
    if (!takes_recording(file)) {
        return refuse_file(path);
    }
    if (S_ISREG(file.st_mode)) {
        // A recording names the internals of a program: an earlier file's wider mode does not suit it. Where the file system
        // knows no modes this fails, and there is nothing to protect.
        static_cast<void>(::fchmod(fd.get(), 0600));
        if (::ftruncate(fd.get(), 0) != 0) {
            return fail_errno(what, errno);
        }
    }
    return fd;
}

} // namespace

Result<RecordingWriter> RecordingWriter::create(const std::string& path, std::chrono::milliseconds patience) {
    auto fd = open_for_recording(path);
    if (!fd) {
        return tl::unexpected(fd.error());
    }
    RecordingWriter writer(std::move(*fd), path, patience);
    writer.buffer_ = file_header();
    if (auto status = writer.flush(); !status) {
        return tl::unexpected(status.error());
    }
    return writer;
}

Status RecordingWriter::write(const Event& event) {
    if (broken_) {
        return tl::unexpected(*broken_);
    }
    if (ended_) {
        return fail("cannot record to " + path_ + ": the recording has ended");
    }
    if (auto status = append_event(buffer_, event); !status) {
        return status;
    }
    ++records_;
    if (const auto* report = std::get_if<ReportDue>(&event); report && report->last) {
        ByteWriter payload;
        payload.write(records_);
        append_record(buffer_, kEndKind, payload.data());
        ended_ = true;
    }
    return ended_ || buffer_.size() >= kChunk ? flush() : Status{};
}

Status RecordingWriter::flush() {
    if (broken_) {
        return tl::unexpected(*broken_);
    }
    return write_out();
}

Status RecordingWriter::write_out() {
    const std::string what = "cannot record to " + path_;
    std::size_t done = 0;
    while (done < buffer_.size()) {
        const auto count = ::write(fd_.get(), buffer_.data() + done, buffer_.size() - done);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0 && errno == EAGAIN) {
            if (auto status = wait_for_room(); !status) {
                return status;
            }
            continue;
        }
        if (count < 0) {
            return break_off(fail_errno(what, errno));
        }
        if (count == 0) {
            return break_off(fail_errno(what, EIO)); // POSIX leaves it open; trying again could last for ever
        }
        done += static_cast<std::size_t>(count);
    }
    buffer_.clear();
    return {};
}

// Only a fifo gets here: its reader has not yet taken what was written before.
Status RecordingWriter::wait_for_room() {
    pollfd wanted{fd_.get(), POLLOUT, 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(patience_.count()));
    if (ready < 0 && errno != EINTR) {
        return break_off(fail_errno("cannot record to " + path_, errno));
    }
    if (ready == 0) {
        return break_off(tl::unexpected(Error{"cannot record to " + path_ + ": its reader takes nothing any more", ETIMEDOUT}));
    }
    return {}; // room, or an error that the next write names
}

Status RecordingWriter::close() {
    if (!fd_) {
        return broken_ ? Status(tl::unexpected(*broken_)) : Status{};
    }
    auto status = flush();
    ended_ = true;
    // Network file systems report only here that a write failed. Linux has closed the descriptor in every case.
    if (::close(fd_.release()) != 0 && errno != EINTR && status) {
        status = break_off(fail_errno("cannot record to " + path_, errno));
    }
    return status;
}

tl::unexpected<Error> RecordingWriter::break_off(tl::unexpected<Error> error) {
    broken_ = error.value();
    buffer_.clear();
    return error;
}

Result<RecordingReader> RecordingReader::open(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd) {
        return fail_errno("cannot read " + path, errno);
    }
    RecordingReader reader(std::move(fd), path, {});
    if (auto status = reader.read_header(); !status) {
        return tl::unexpected(status.error());
    }
    return reader;
}

Result<RecordingReader> RecordingReader::from_bytes(std::string bytes) {
    RecordingReader reader({}, "recording", std::move(bytes));
    if (auto status = reader.read_header(); !status) {
        return tl::unexpected(status.error());
    }
    return reader;
}

Status RecordingReader::read_header() {
    const auto whole = have(kHeaderSize);
    if (!whole) {
        return tl::unexpected(whole.error());
    }
    const std::string_view bytes(buffer_);
    const auto magic = bytes.substr(0, std::min(kMagic.size(), bytes.size()));
    if (magic != kMagic.substr(0, magic.size())) {
        return fail(name_ + ": not a recording of memtrace: it begins with other bytes");
    }
    if (!*whole) {
        return truncated();
    }
    ByteReader reader(bytes.substr(kMagic.size()));
    const auto version = reader.read<std::uint16_t>();
    const auto flags = reader.read<std::uint16_t>();
    if (version > kFormatVersion) {
        return fail(name_ + ": format version " + std::to_string(version) + " is newer than this memtrace reads (" +
                    std::to_string(kFormatVersion) + "): replay it with the memtrace that recorded it");
    }
    if (version == 0) {
        return damaged("there is no format version 0");
    }
    if (flags != 0) {
        return damaged("the header has flags that this memtrace does not know");
    }
    position_ = kHeaderSize;
    return {};
}

Result<std::optional<Event>> RecordingReader::next() {
    if (broken_) {
        return tl::unexpected(*broken_);
    }
    auto event = next_unchecked();
    if (!event) {
        broken_ = event.error();
    }
    return event;
}

Result<std::optional<Event>> RecordingReader::next_unchecked() {
    while (!ended_) {
        auto here = have(kRecordHeaderSize);
        if (!here) {
            return tl::unexpected(here.error());
        }
        if (!*here) {
            return truncated();
        }
        const auto header = parse_record_header(std::string_view(buffer_).substr(position_));
        if (header.payload_size > kMaxPayload) {
            return damaged("a record of " + std::to_string(header.payload_size) + " bytes is over the limit");
        }
        const auto size = kRecordHeaderSize + header.payload_size;
        here = have(size);
        if (!here) {
            return tl::unexpected(here.error());
        }
        if (!*here) {
            return truncated();
        }
        const auto record = std::string_view(buffer_).substr(position_, size);
        if (record_crc(record) != header.crc) {
            return damaged("the checksum does not match");
        }
        const auto payload = record.substr(kRecordHeaderSize);
        if (header.kind == kEndKind) {
            if (auto status = finish(payload); !status) {
                return tl::unexpected(status.error());
            }
            break;
        }
        auto event = decode_event(header.kind, payload);
        if (!event) {
            return damaged("record kind " + std::to_string(header.kind) + ": " + event.error().message);
        }
        ++records_;
        position_ += size;
        if (event->has_value()) {
            return event;
        }
        ++unknown_;
    }
    return std::nullopt;
}

// The end record is the last thing in the file and knows how many came before it: a lost or doubled record does not pass.
Status RecordingReader::finish(std::string_view payload) {
    ByteReader reader(payload);
    const auto expected = reader.read<std::uint64_t>();
    if (reader.failed()) {
        return damaged("the end record is too short");
    }
    if (expected != records_) {
        return damaged("the end record counts " + std::to_string(expected) + " records, the file holds " +
                       std::to_string(records_));
    }
    position_ += kRecordHeaderSize + payload.size();
    const auto more = have(1);
    if (!more) {
        return tl::unexpected(more.error());
    }
    if (*more) {
        return damaged("there are bytes after the end record");
    }
    ended_ = true;
    return {};
}

// Makes `count` bytes from position_ on available; false where the file ends before. Invalidates views into the buffer, which
// grows with the bytes that are really there, not with what a record claims.
Result<bool> RecordingReader::have(std::size_t count) {
    while (buffer_.size() - position_ < count) {
        if (!fd_) {
            return false;
        }
        buffer_offset_ += position_;
        buffer_.erase(0, std::exchange(position_, 0));
        const auto held = buffer_.size();
        buffer_.resize(held + kChunk);
        ssize_t got = 0;
        do {
            got = ::read(fd_.get(), buffer_.data() + held, kChunk);
        } while (got < 0 && errno == EINTR);
        const int errnum = errno;
        buffer_.resize(held + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
        if (got < 0) {
            return fail_errno("cannot read " + name_ + " at byte " + std::to_string(buffer_offset_ + held), errnum);
        }
        if (got == 0) {
            return false;
        }
    }
    return true;
}

tl::unexpected<Error> RecordingReader::truncated() const {
    return fail(name_ + ": truncated at byte " + std::to_string(buffer_offset_ + buffer_.size()) +
                ": the recording stopped early (killed?)");
}

tl::unexpected<Error> RecordingReader::damaged(const std::string& why) const {
    return fail(name_ + ": damaged at byte " + std::to_string(offset()) + ": " + why);
}

} // namespace memtrace
