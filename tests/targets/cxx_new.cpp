// operator new and delete in all their forms, and the containers above them. The caller of malloc is operator new, in libstdc++,
// which keeps no frame pointer: each form has a function do_X of its own that calls it, and the truth is of the function above,
// leak_X, which a frame-pointer walk that loses one frame still finds.
#include <map>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "truth.h"

namespace {

struct Plain {
    char bytes[72];
};

struct Destroyed { // has a destructor: new[] puts the number of elements in front, 8 bytes more
    char bytes[24];
    ~Destroyed() { truth_escape(bytes); }
};

struct alignas(128) Aligned {
    char bytes[256];
};

// Counts what a container asks for: the nodes' sizes are the library's own.
template <class T>
struct CountingAllocator {
    using value_type = T;
    truth_site* site;

    explicit CountingAllocator(truth_site* owner) : site(owner) {}
    template <class U>
    CountingAllocator(const CountingAllocator<U>& other) : site(other.site) {}

    T* allocate(size_t count) { return static_cast<T*>(truth_alloc(site, ::operator new(count * sizeof(T)), count * sizeof(T))); }
    void deallocate(T* block, size_t count) {
        truth_gone(site, count * sizeof(T));
        ::operator delete(block, count * sizeof(T));
    }
    template <class U>
    bool operator==(const CountingAllocator<U>& other) const {
        return site == other.site;
    }
};

template <class T>
using Counted = CountingAllocator<T>;
using CountedMap = std::map<int, long, std::less<int>, Counted<std::pair<const int, long>>>;
using CountedHash = std::unordered_map<int, long, std::hash<int>, std::equal_to<int>, Counted<std::pair<const int, long>>>;

} // namespace

extern "C" {

static LEAKING Plain* do_new() {
    return new Plain;
}

static LEAKING void leak_new() {
    TRUTH_HERE(site);
    for (int i = 0; i < 30; i++) {
        Plain* plain = do_new();
        truth_alloc(&site, plain, sizeof(Plain));
        if (i % 3 == 0) {
            truth_gone(&site, sizeof(Plain));
            delete plain; // the sized form
        }
    }
}

static LEAKING void* do_new_array(size_t count) {
    return new char[count];
}

static LEAKING void leak_new_array() {
    TRUTH_HERE(site);
    for (size_t i = 0; i < 20; i++) {
        void* block = do_new_array(500 + i);
        truth_alloc(&site, block, 500 + i);
        if (i % 2) {
            truth_gone(&site, 500 + i);
            delete[] static_cast<char*>(block);
        }
    }
}

static LEAKING Destroyed* do_new_objects(size_t count) {
    return new Destroyed[count];
}

static LEAKING void leak_new_objects() {
    TRUTH_HERE(site);
    const size_t bytes = 10 * sizeof(Destroyed) + sizeof(size_t);
    truth_alloc(&site, do_new_objects(truth_opaque(10)), bytes);
    Destroyed* deleted = do_new_objects(truth_opaque(10));
    truth_alloc(&site, deleted, bytes);
    truth_gone(&site, bytes);
    delete[] deleted;
}

static LEAKING Aligned* do_new_aligned() {
    return new Aligned;
}

static LEAKING void leak_new_aligned() {
    TRUTH_HERE(site);
    for (int i = 0; i < 6; i++) {
        Aligned* aligned = do_new_aligned();
        truth_alloc(&site, aligned, sizeof(Aligned));
        if (i % 2) {
            truth_gone(&site, sizeof(Aligned));
            delete aligned;
        }
    }
}

static LEAKING Plain* do_new_nothrow() {
    return new (std::nothrow) Plain;
}

static LEAKING void leak_new_nothrow() {
    TRUTH_HERE(site);
    truth_alloc(&site, do_new_nothrow(), sizeof(Plain));
}

// The exception object is a block too: allocated, thrown, freed.
static LEAKING int do_new_huge() {
    try {
        truth_escape(::operator new(truth_opaque(SIZE_MAX / 2 - 4096)));
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}

static LEAKING int setup_exceptions() {
    return do_new_huge();
}

static LEAKING void do_vector(truth_site* site) {
    auto* values = new std::vector<int, Counted<int>>(Counted<int>(site));
    truth_alloc(site, values, sizeof(*values));
    for (int i = 0; i < 1000; i++) {
        values->push_back(i); // grows by moving: every buffer but the last is freed
    }
}

static LEAKING void leak_vector() {
    TRUTH_HERE(site);
    do_vector(&site);
}

static LEAKING void do_map(truth_site* site) {
    auto* values = new CountedMap(Counted<std::pair<const int, long>>(site));
    truth_alloc(site, values, sizeof(*values));
    for (int i = 0; i < 300; i++) {
        (*values)[i * 7 % 300] = i;
    }
    for (int i = 0; i < 100; i++) {
        values->erase(i);
    }
}

static LEAKING void leak_map() {
    TRUTH_HERE(site);
    do_map(&site);
}

static LEAKING void do_hash(truth_site* site) {
    auto* values = new CountedHash(8, std::hash<int>(), std::equal_to<int>(), Counted<std::pair<const int, long>>(site));
    truth_alloc(site, values, sizeof(*values));
    for (int i = 0; i < 500; i++) {
        (*values)[i] = i;
    }
}

static LEAKING void leak_hash() {
    TRUTH_HERE(site);
    do_hash(&site);
}

// A cycle of shared pointers: each block holds the object and its counts.
struct Node {
    std::shared_ptr<Node> next;
    char bytes[40];
};

static LEAKING void do_cycle(truth_site* site) {
    auto first = std::allocate_shared<Node>(Counted<Node>(site));
    auto second = std::allocate_shared<Node>(Counted<Node>(site));
    first->next = second;
    second->next = first;
}

static LEAKING void leak_cycle() {
    TRUTH_HERE(site);
    for (int i = 0; i < 5; i++) {
        do_cycle(&site);
    }
}

static LEAKING std::string* do_string(size_t length) {
    return new std::string(length, 'x');
}

static LEAKING void leak_string() {
    TRUTH_HERE(site);
    std::string* text = do_string(truth_opaque(700));
    truth_alloc(&site, text, sizeof(std::string));
    truth_alloc(&site, text->data(), text->capacity() + 1);
    std::string* deleted = do_string(truth_opaque(800));
    truth_escape(deleted);
    delete deleted;
}

} // extern "C"

int main(int argc, char** argv) {
    const bool throws = !truth_flag(argc, argv, "--no-throw"); // Valgrind's operator new cannot
    truth_check(!throws || setup_exceptions(), "operator new did not throw");
    truth_ready(argc, argv);
    leak_new();
    leak_new_array();
    leak_new_objects();
    leak_new_aligned();
    leak_new_nothrow();
    truth_check(!throws || do_new_huge(), "operator new did not throw");
    leak_vector();
    leak_map();
    leak_hash();
    leak_cycle();
    leak_string();
    truth_finish(TRUTH_LIVE);
}
