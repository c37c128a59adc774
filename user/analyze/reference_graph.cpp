#include "analyze/reference_graph.hpp"

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

namespace memtrace {

namespace {

/// Addresses in ascending order with what they belong to. A radix sort, low digits first: four million in a fraction of what comparing
/// takes, and all of them in one process lie close together, so the high digits are mostly the same and skipped.
struct Addressed {
    std::uint64_t address;
    std::uint32_t index;
};

void sort_by_address(std::vector<Addressed>& values) {
    constexpr unsigned kBits = 11;
    std::uint64_t differ = 0;
    for (const auto& value : values) {
        differ |= value.address ^ values.front().address;
    }
    std::vector<Addressed> sorted(values.size());
    for (unsigned shift = 0; shift < 64; shift += kBits) {
        if (((differ >> shift) & ((1u << kBits) - 1)) == 0) {
            continue;
        }
        std::vector<std::size_t> place(std::size_t{1} << kBits);
        const auto digit = [shift](const Addressed& value) { return (value.address >> shift) & ((1u << kBits) - 1); };
        for (const auto& value : values) {
            ++place[digit(value)];
        }
        std::exclusive_scan(place.begin(), place.end(), place.begin(), std::size_t{0});
        for (const auto& value : values) {
            sorted[place[digit(value)]++] = value;
        }
        values.swap(sorted);
    }
}

std::vector<ObjectIndex::Range> ranges_of(const std::vector<ReferenceGraph::Object>& objects) {
    std::vector<ObjectIndex::Range> ranges;
    ranges.reserve(objects.size());
    for (std::uint32_t node = 0; node < objects.size(); ++node) {
        const auto& object = objects[node];
        ranges.push_back({object.address, object.address + std::min(object.bytes, UINT64_MAX - object.address), node});
    }
    return ranges;
}

/// What roots lead to is alive, and of no interest to what follows.
std::vector<bool> reached_from_roots(const ReferenceGraph& graph) {
    std::vector<bool> reached(graph.objects().size());
    auto front = graph.roots();
    for (const auto node : front) {
        reached[node] = true;
    }
    while (!front.empty()) {
        const auto node = front.back();
        front.pop_back();
        for (auto edge = graph.offsets()[node]; edge < graph.offsets()[node + 1]; ++edge) {
            if (const auto to = graph.targets()[edge]; !reached[to]) {
                reached[to] = true;
                front.push_back(to);
            }
        }
    }
    return reached;
}

/// Strongly connected components of the nodes that are not `reached`: R. Tarjan, "Depth-first search and linear graph algorithms", SIAM J.
/// Computing 1 (1972), with a stack of its own instead of recursion, as a list of a million objects is as deep. A component comes out after
/// those that it leads to.
class Components {
public:
    Components(const ReferenceGraph& graph, const std::vector<bool>& reached)
        : graph_(graph), reached_(reached), order_(graph.objects().size()), low_(order_.size()), of_(order_.size(), kNoIndex) {
        for (std::uint32_t node = 0; node < order_.size(); ++node) {
            if (!reached_[node] && order_[node] == 0) {
                visit(node);
            }
        }
    }
    /// Those that are cycles, of ascending nodes.
    [[nodiscard]] std::vector<std::vector<std::uint32_t>>& cycles() { return cycles_; }
    /// By node: which of cycles() it is part of, kNoIndex for none.
    [[nodiscard]] const std::vector<std::uint32_t>& cycle_of() const { return of_; }

private:
    struct Visit {
        std::uint32_t node;
        std::uint32_t edge; ///< the next one to follow
    };
    static constexpr std::uint32_t kDone = UINT32_MAX; ///< as low_: its component is complete

    void enter(std::uint32_t node) {
        order_[node] = low_[node] = ++counter_;
        open_.push_back(node);
        path_.push_back({node, graph_.offsets()[node]});
    }

    void visit(std::uint32_t start) {
        enter(start);
        while (!path_.empty()) {
            auto& [node, edge] = path_.back();
            if (edge == graph_.offsets()[node + 1]) {
                leave();
                continue;
            }
            const auto to = graph_.targets()[edge++];
            if (order_[to] == 0) { // nothing that was reached: what is not reached may lead there, but then it is done with
                if (!reached_[to]) {
                    enter(to);
                }
            } else if (low_[to] != kDone) {
                low_[node] = std::min(low_[node], order_[to]);
            }
        }
    }

    void leave() {
        const auto node = path_.back().node;
        path_.pop_back();
        if (!path_.empty()) {
            auto& above = low_[path_.back().node];
            above = std::min(above, low_[node]);
        }
        if (low_[node] == order_[node]) {
            complete(node);
        }
    }

    void complete(std::uint32_t first) {
        auto begin = open_.end();
        do {
            --begin;
            low_[*begin] = kDone;
        } while (*begin != first);
        if (open_.end() - begin > 1 || leads_to_itself(first)) {
            for (auto member = begin; member != open_.end(); ++member) {
                of_[*member] = static_cast<std::uint32_t>(cycles_.size());
            }
            cycles_.emplace_back(begin, open_.end());
            std::sort(cycles_.back().begin(), cycles_.back().end());
        }
        open_.erase(begin, open_.end());
    }

    [[nodiscard]] bool leads_to_itself(std::uint32_t node) const {
        const auto first = graph_.targets().begin() + graph_.offsets()[node];
        const auto last = graph_.targets().begin() + graph_.offsets()[node + 1];
        return std::find(first, last, node) != last;
    }

    const ReferenceGraph& graph_;
    const std::vector<bool>& reached_;
    std::vector<std::uint32_t> order_; ///< of discovery, from 1
    std::vector<std::uint32_t> low_;   ///< the first discovered that it leads back to
    std::vector<std::uint32_t> of_;
    std::vector<std::uint32_t> open_;
    std::vector<Visit> path_;
    std::vector<std::vector<std::uint32_t>> cycles_;
    std::uint32_t counter_ = 0;
};

/// By breadth: from the first of a cycle's objects through its others back to it.
class ShortestWays {
public:
    ShortestWays(const ReferenceGraph& graph, const std::vector<std::uint32_t>& cycle_of)
        : graph_(graph), cycle_of_(cycle_of), from_(cycle_of.size(), kNoIndex), edge_(cycle_of.size()) {}

    std::vector<ReferenceCycle::Edge> back_to(std::uint32_t start) {
        std::vector<std::uint32_t> front{start};
        for (std::size_t next = 0; next < front.size(); ++next) {
            const auto node = front[next];
            for (auto edge = graph_.offsets()[node]; edge < graph_.offsets()[node + 1]; ++edge) {
                const auto to = graph_.targets()[edge];
                if (cycle_of_[to] != cycle_of_[start] || from_[to] != kNoIndex) {
                    continue;
                }
                from_[to] = node;
                edge_[to] = edge;
                if (to == start) {
                    return way_to(start);
                }
                front.push_back(to);
            }
        }
        return {};
    }

private:
    [[nodiscard]] std::vector<ReferenceCycle::Edge> way_to(std::uint32_t start) const {
        std::vector<ReferenceCycle::Edge> way;
        auto node = start;
        do {
            way.push_back({from_[node], node, graph_.handles()[edge_[node]]});
            node = from_[node];
        } while (node != start);
        std::reverse(way.begin(), way.end());
        return way;
    }

    const ReferenceGraph& graph_;
    const std::vector<std::uint32_t>& cycle_of_;
    std::vector<std::uint32_t> from_; ///< by node, of its own cycle alone: no need to clear it between two
    std::vector<std::uint32_t> edge_;
};

/// What hangs on a cycle belongs to the first one downstream, and to one only.
void retain(const ReferenceGraph& graph, const std::vector<bool>& reached, const std::vector<std::uint32_t>& cycle_of,
            std::vector<bool>& taken, ReferenceCycle& cycle) {
    auto front = cycle.objects;
    while (!front.empty()) {
        const auto node = front.back();
        front.pop_back();
        for (auto edge = graph.offsets()[node]; edge < graph.offsets()[node + 1]; ++edge) {
            const auto to = graph.targets()[edge];
            if (reached[to] || taken[to] || cycle_of[to] != kNoIndex) {
                continue;
            }
            taken[to] = true;
            ++cycle.retained_objects;
            cycle.retained_bytes += graph.objects()[to].bytes;
            front.push_back(to);
        }
    }
}

/// Where handles lie, for who leads to them: what lies in the memory of a container, and in no object there, lies where the container does,
/// which may in turn be in the memory of another.
class StoragePlaces {
public:
    explicit StoragePlaces(const ReferenceLedger& ledger) : ledger_(ledger) {
        if (ledger.storages().size() != 0) {
            objects_.emplace(ledger);
        }
    }

    /// Nothing: too deep to follow.
    [[nodiscard]] std::optional<std::uint64_t> of(std::uint64_t address) const {
        constexpr int kMaxDepth = 16;
        for (int depth = 0; depth < kMaxDepth; ++depth) {
            const auto* storage = ledger_.storages().around(address);
            if (storage == nullptr) {
                return address;
            }
            if (const auto object = objects_->around(address);
                object != kNoIndex && ledger_.objects()[object].address >= storage->start) {
                return address;
            }
            address = storage->holder;
        }
        return std::nullopt;
    }

private:
    const ReferenceLedger& ledger_;
    std::optional<ObjectIndex> objects_;
};

} // namespace

ReferenceGraph::ReferenceGraph(std::vector<Object> objects, const std::vector<Handle>& handles) : objects_(std::move(objects)) {
    const ObjectIndex index(ranges_of(objects_));
    std::vector<Edge> edges;
    edges.reserve(handles.size());
    std::vector<Addressed> lie; // handles whose owner is what they lie in
    lie.reserve(handles.size());
    for (std::uint32_t i = 0; i < handles.size(); ++i) {
        const auto& handle = handles[i];
        if (handle.root) {
            objects_[handle.target].held = true;
        } else if (handle.owner != kNoIndex) {
            edges.push_back({handle.owner, handle.target, i});
        } else {
            lie.push_back({handle.address, i});
        }
    }
    sort_by_address(lie);
    std::size_t after = 0;
    for (const auto& [address, i] : lie) {
        while (after < index.ranges().size() && index.ranges()[after].start <= address) {
            ++after;
        }
        if (const auto owner = index.around_from(after, address); owner != kNoIndex) {
            edges.push_back({owner, handles[i].target, i});
        } else {
            objects_[handles[i].target].held = true;
        }
    }
    for (const auto& range : index.ranges()) {
        if (range.enclosing != kNoIndex && index.ranges()[range.enclosing].end >= range.end) {
            edges.push_back({index.ranges()[range.enclosing].object, range.object, kNoIndex});
        }
    }
    add_edges(edges);
    add_roots(edges);
}

void ReferenceGraph::add_edges(const std::vector<Edge>& edges) {
    offsets_.assign(objects_.size() + 1, 0);
    for (const auto& edge : edges) {
        ++offsets_[edge.from + 1];
    }
    std::inclusive_scan(offsets_.begin(), offsets_.end(), offsets_.begin());
    auto next = offsets_;
    targets_.resize(edges.size());
    via_.resize(edges.size());
    for (const auto& edge : edges) {
        const auto at = next[edge.from]++;
        targets_[at] = edge.to;
        via_[at] = edge.via;
    }
}

void ReferenceGraph::add_roots(const std::vector<Edge>& edges) {
    std::vector<bool> referred(objects_.size());
    for (const auto& edge : edges) {
        referred[edge.to] = true;
    }
    for (std::uint32_t node = 0; node < objects_.size(); ++node) {
        if (objects_[node].held || !referred[node]) {
            roots_.push_back(node);
        }
    }
}

std::vector<ReferenceCycle> find_cycles(const ReferenceGraph& graph) {
    const auto reached = reached_from_roots(graph);
    Components components(graph, reached);
    ShortestWays ways(graph, components.cycle_of());
    std::vector<bool> taken(graph.objects().size());
    std::vector<ReferenceCycle> cycles;
    for (auto& objects : components.cycles()) {
        auto& cycle = cycles.emplace_back();
        cycle.objects = std::move(objects);
        for (const auto node : cycle.objects) {
            cycle.bytes += graph.objects()[node].bytes;
        }
        cycle.path = ways.back_to(cycle.objects.front());
        retain(graph, reached, components.cycle_of(), taken, cycle);
    }
    std::sort(cycles.begin(), cycles.end(), [](const ReferenceCycle& a, const ReferenceCycle& b) {
        return std::tuple(b.bytes + b.retained_bytes, a.objects.front()) <
               std::tuple(a.bytes + a.retained_bytes, b.objects.front());
    });
    return cycles;
}

LedgerGraph reference_graph(const ReferenceLedger& ledger) {
    const auto& entries = ledger.objects();
    const StoragePlaces places(ledger);
    std::vector<std::uint32_t> node_of(entries.size(), kNoIndex);
    std::vector<ReferenceGraph::Object> objects;
    std::vector<std::uint32_t> object_entries;
    for (std::uint32_t i = 0; i < entries.size(); ++i) {
        const auto& entry = entries[i];
        if (entry.state == TrackedObject::State::live) {
            node_of[i] = static_cast<std::uint32_t>(objects.size());
            const bool held = !entry.quiet || entry.drifted || entry.unknown_strong != 0 || entry.lost_strong != 0;
            objects.push_back({entry.address, entry.bytes, held});
            object_entries.push_back(i);
        }
    }
    std::vector<ReferenceGraph::Handle> handles;
    std::vector<std::uint32_t> handle_entries;
    for (std::uint32_t i = 0; i < ledger.handles().size(); ++i) {
        const auto& entry = ledger.handles()[i];
        if (entry.object == kNoIndex || !entry.strong || node_of[entry.object] == kNoIndex) {
            continue;
        }
        ReferenceGraph::Handle handle{entry.address, node_of[entry.object], kNoIndex, entry.place == HandlePlace::root};
        if (entry.place == HandlePlace::object && entries[entry.owner].serial == entry.owner_serial) {
            handle.owner = node_of[entry.owner];
            handle.root = handle.owner == kNoIndex; // destroyed a moment ago
        } else if (const auto address = places.of(entry.address)) {
            handle.address = *address;
        } else {
            handle.root = true;
        }
        handles.push_back(handle);
        handle_entries.push_back(i);
    }
    return {ReferenceGraph(std::move(objects), handles), std::move(object_entries), std::move(handle_entries)};
}

} // namespace memtrace
