#include "app/told_heap.hpp"

#include <algorithm>
#include <utility>

namespace memtrace {

std::string missing_told_probe(const UsdtObject& object) {
    for (const auto* name : kToldHeapProbes) {
        if (!object.has_probe(name)) {
            return object.path + " has no probe otel_memory:" + name + ", without which it is not known what is held";
        }
    }
    return "";
}

Status ToldHeap::look(std::int32_t pid, mt_process_key key, const std::vector<Mapping>& mappings) {
    auto& process = processes_[pid];
    for (auto& object : find_usdt_objects(pid, mappings, kToldHeapProvider, process.seen)) {
        if (auto missing = missing_told_probe(object); missing.empty()) {
            process.objects.push_back(std::move(object));
        } else {
            process.one_sided = std::move(missing);
        }
    }
    auto status = process.listens ? attach(pid, key, process) : Status();
    if (!status) { // what comes later is still tried
        process.objects.erase(process.objects.begin() + static_cast<std::ptrdiff_t>(process.attached), process.objects.end());
    }
    return status;
}

std::string ToldHeap::one_sided(std::int32_t pid) const {
    const auto found = processes_.find(pid);
    return found == processes_.end() || !found->second.objects.empty() ? "" : found->second.one_sided;
}

bool ToldHeap::can_listen(std::int32_t pid) const {
    const auto found = processes_.find(pid);
    return found != processes_.end() && !found->second.objects.empty() && !found->second.tried;
}

Status ToldHeap::listen(std::int32_t pid, mt_process_key key) {
    auto& process = processes_[pid];
    process.tried = true;
    if (const auto load = std::exchange(load_, nullptr)) {
        auto tracer = load();
        if (!tracer) {
            return tl::unexpected(tracer.error());
        }
        tracer_ = std::move(*tracer);
    }
    if (!tracer_) {
        return fail("the kernel refused the programs for otel_memory");
    }
    process.listens = true;
    auto status = attach(pid, key, process);
    if (!status) {
        silence(pid);
        process.listens = false;
        process.attached = 0;
    }
    return status;
}

Status ToldHeap::attach(std::int32_t pid, mt_process_key key, Process& process) {
    for (; process.attached < process.objects.size(); ++process.attached) {
        const auto path = path_of(process.objects[process.attached].file);
        if (auto status = tracer_->attach(key, pid, path, function_); !status) {
            return status;
        }
    }
    return {};
}

bool ToldHeap::listens(std::int32_t pid) const {
    const auto found = processes_.find(pid);
    return found != processes_.end() && found->second.listens;
}

void ToldHeap::silence(std::int32_t pid) {
    if (tracer_) {
        tracer_->remove_process(pid);
    }
}

void ToldHeap::forget(std::int32_t pid) {
    silence(pid);
    processes_.erase(pid);
}

std::vector<std::string> ToldHeap::sources(std::int32_t pid) const {
    std::vector<std::string> out;
    if (const auto found = processes_.find(pid); found != processes_.end()) {
        for (std::size_t i = 0; i < found->second.attached; ++i) {
            const auto& path = found->second.objects[i].path;
            out.push_back(std::string(kToldHeapProvider) + ": alloc, free (" + path.substr(path.rfind('/') + 1) + ")");
        }
    }
    return out;
}

} // namespace memtrace
