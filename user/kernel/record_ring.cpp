#include "kernel/record_ring.hpp"

#include <bpf/libbpf.h>

#include <cerrno>
#include <string>

namespace memtrace {

struct RecordRing::Impl {
    ring_buffer* ring = nullptr;
    std::size_t bytes = 0; ///< of the ring
    const Visit* visit = nullptr;
    std::size_t taken = 0;

    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() { ring_buffer__free(ring); }

    static int take(void* context, void* data, std::size_t size) {
        auto* self = static_cast<Impl*>(context);
        (*self->visit)({static_cast<const std::byte*>(data), size});
        self->taken += (size + BPF_RINGBUF_HDR_SZ + 7) / 8 * 8;
        return self->taken < self->bytes ? 0 : -ECANCELED; // this one counts as read
    }
};

RecordRing::RecordRing() = default;
RecordRing::~RecordRing() = default;
RecordRing::RecordRing(RecordRing&&) noexcept = default;
RecordRing& RecordRing::operator=(RecordRing&&) noexcept = default;

Result<RecordRing> RecordRing::open(const bpf_map* map, const char* what) {
    RecordRing ring;
    ring.impl_ = std::make_unique<Impl>();
    ring.impl_->bytes = bpf_map__max_entries(map);
    ring.impl_->ring = ring_buffer__new(bpf_map__fd(map), Impl::take, ring.impl_.get(), nullptr);
    if (ring.impl_->ring == nullptr) {
        return fail_errno("cannot read " + std::string(what), errno);
    }
    return ring;
}

int RecordRing::fd() const {
    return ring_buffer__epoll_fd(impl_->ring);
}

void RecordRing::consume(const Visit& visit) {
    impl_->visit = &visit;
    impl_->taken = 0;
    ring_buffer__consume(impl_->ring);
    impl_->visit = nullptr;
}

} // namespace memtrace
