// Which objects keep which alive, and which keep but each other alive: cycles of strong references that no root leads to. Pure.
//
//   root --> A --> B        stack --h1--> A [ h2 ] --> B [ h3 ] --> A      alive: a root leads there
//            ^     |                                                        h1 given back: a cycle of A and B, closed by h2 and h3
//            +-----+
//
// Nodes are objects. A strong handle that lies in an object, or in memory that only one leads to (model/storages.hpp), is an edge from that
// object; an object that lies in another is led to by it. Whatever is not known to be held by an object alone is a root: a handle of which it is not known
// where it lies, a reference that was never told of, an object that was told of a moment ago or that nothing refers to. So a cycle may be
// missed, but none is made up. Weak handles hold nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "model/references.hpp"

namespace memtrace {

/// Edges as flat arrays: those of node n are at offsets[n] up to offsets[n + 1] (compressed sparse rows).
class ReferenceGraph {
public:
    struct Object {
        std::uint64_t address = 0;
        std::uint64_t bytes = 0;
        bool held = false; ///< by something that is no edge: a root leads to it
    };
    struct Handle {
        std::uint64_t address = 0;
        std::uint32_t target = 0;       ///< node
        std::uint32_t owner = kNoIndex; ///< node that is known to lead to it; kNoIndex: the one that it lies in
        bool root = false;              ///< it holds whatever becomes of objects
    };

    /// `objects` become the nodes, in that order.
    ReferenceGraph(std::vector<Object> objects, const std::vector<Handle>& handles);

    [[nodiscard]] const std::vector<Object>& objects() const { return objects_; }
    [[nodiscard]] const std::vector<std::uint32_t>& offsets() const { return offsets_; }
    [[nodiscard]] const std::vector<std::uint32_t>& targets() const { return targets_; }
    /// Parallel to targets(): index of the handle; kNoIndex: the target lies in the object.
    [[nodiscard]] const std::vector<std::uint32_t>& handles() const { return via_; }
    /// Nodes, each once.
    [[nodiscard]] const std::vector<std::uint32_t>& roots() const { return roots_; }

private:
    struct Edge {
        std::uint32_t from;
        std::uint32_t to;
        std::uint32_t via;
    };
    void add_edges(const std::vector<Edge>& edges);
    void add_roots(const std::vector<Edge>& edges);

    std::vector<Object> objects_;
    std::vector<std::uint32_t> offsets_;
    std::vector<std::uint32_t> targets_;
    std::vector<std::uint32_t> via_;
    std::vector<std::uint32_t> roots_;
};

struct ReferenceCycle {
    struct Edge {
        std::uint32_t from;   ///< node
        std::uint32_t to;     ///< node
        std::uint32_t handle; ///< index; kNoIndex: `to` lies in `from`
    };
    std::vector<std::uint32_t> objects; ///< nodes, ascending: each leads to each other
    std::vector<Edge> path;             ///< the shortest way from the first of them back to it
    std::uint64_t bytes = 0;            ///< of the objects
    std::uint64_t retained_objects = 0; ///< those that are alive only because of it, besides its own
    std::uint64_t retained_bytes = 0;
};

/// The largest first, by what they keep. Linear in objects and edges.
std::vector<ReferenceCycle> find_cycles(const ReferenceGraph& graph);

/// The graph of what a ledger knows, and which of its entries nodes and handles are.
struct LedgerGraph {
    ReferenceGraph graph;
    std::vector<std::uint32_t> objects; ///< by node
    std::vector<std::uint32_t> handles; ///< by handle of the graph
};
LedgerGraph reference_graph(const ReferenceLedger& ledger);

} // namespace memtrace
