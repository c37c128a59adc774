#include "app/contract_decode.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

namespace memtrace {

namespace {

struct ProbeShape {
    std::size_t arguments = 0;
    unsigned strings = 0;
};

/// By kind.
constexpr ProbeShape kShapes[MT_CONTRACT_KINDS] = {
    {},
#define MT_CONTRACT_SHAPE(name, arguments, strings, keyed) {arguments, strings},
    MT_CONTRACT_PROBES(MT_CONTRACT_SHAPE)
#undef MT_CONTRACT_SHAPE
        {}, // and MT_CONTRACT_MAPPED, which app/mapped_ledger.hpp reads
};

struct Told {
    std::array<std::uint64_t, MT_CONTRACT_MAX_ARGUMENTS> number{};
    std::array<std::string, MT_CONTRACT_MAX_ARGUMENTS> text; ///< of those that are strings
};

std::optional<Told> read_body(std::span<const std::byte> body, const ProbeShape& shape) {
    Told told;
    const auto arguments = shape.arguments * sizeof(std::uint64_t);
    if (body.size() < arguments) {
        return std::nullopt;
    }
    std::memcpy(told.number.data(), body.data(), arguments);
    body = body.subspan(arguments);
    for (std::size_t i = 0; i < shape.arguments; ++i) {
        if ((shape.strings >> i & 1) == 0) {
            continue;
        }
        const auto size = told.number[i];
        if (size > body.size() || size > MT_CONTRACT_STRING_BYTES) {
            return std::nullopt;
        }
        const auto* text = reinterpret_cast<const char*>(body.data());
        told.text[i].assign(text, strnlen(text, size));
        body = body.subspan(size);
    }
    return told;
}

ReferenceTold reference(const ContractOrigin& origin, ReferenceAction action, const Told& told) {
    return {origin, action, told.number[0], told.number[1], 0, told.number[2] != 0, told.number[3]};
}

PoolTold pool(const ContractOrigin& origin, PoolAction action, const Told& told) {
    return {origin, action, told.number[0], told.text[1], told.number[2], told.number[3]};
}

CleanupTold cleanup(const ContractOrigin& origin, bool ended, const Told& told) {
    return {origin, ended, static_cast<std::uint32_t>(told.number[0]), told.number[1], ended ? told.number[2] : 0};
}

} // namespace

std::optional<mt_contract_record> contract_head(std::span<const std::byte> record) {
    mt_contract_record head;
    if (record.size() < sizeof(head)) {
        return std::nullopt;
    }
    std::memcpy(&head, record.data(), sizeof(head));
    return head.size == record.size() ? std::optional(head) : std::nullopt;
}

std::optional<std::uint64_t> other_contract(std::span<const std::byte> record) {
    const auto head = contract_head(record);
    if (!head || (head->kind != MT_CONTRACT_announce && head->kind != MT_CONTRACT_announce_end)) {
        return std::nullopt;
    }
    const auto told = read_body(record.subspan(sizeof(*head)), kShapes[head->kind]);
    return told && told->number[0] != kContractVersion ? std::optional(told->number[0]) : std::nullopt;
}

std::optional<Event> decode_contract(std::span<const std::byte> record, const ContractOrigin& origin) {
    const auto head = contract_head(record);
    if (!head || head->kind >= MT_CONTRACT_KINDS) {
        return std::nullopt;
    }
    const auto told = read_body(record.subspan(sizeof(*head)), kShapes[head->kind]);
    if (!told) {
        return std::nullopt;
    }
    const auto& number = told->number;
    const auto& text = told->text;
    switch (head->kind) {
    case MT_CONTRACT_object_create:
        return ObjectTold{origin, ObjectAction::created, number[0], number[1], text[2], 0, 0};
    case MT_CONTRACT_object_alive:
        return ObjectTold{origin, ObjectAction::alive, number[0], number[1], text[2], number[3], number[4]};
    case MT_CONTRACT_object_destroy:
        return ObjectTold{origin, ObjectAction::destroyed, number[0], 0, "", 0, 0};
    case MT_CONTRACT_ref_acquire:
        return reference(origin, ReferenceAction::acquired, *told);
    case MT_CONTRACT_ref_release:
        return reference(origin, ReferenceAction::released, *told);
    case MT_CONTRACT_ref_move:
        return ReferenceTold{origin, ReferenceAction::moved, number[0], number[2], number[1], number[3] != 0, 0};
    case MT_CONTRACT_storage_acquire:
        return StorageTold{origin, StorageAction::acquired, number[0], number[1], number[2], 0};
    case MT_CONTRACT_storage_release:
        return StorageTold{origin, StorageAction::released, number[0], 0, 0, 0};
    case MT_CONTRACT_storage_move:
        return StorageTold{origin, StorageAction::moved, 0, 0, number[1], number[0]};
    case MT_CONTRACT_resource_acquire:
        return ResourceTold{origin, ResourceAction::acquired, text[0], number[1], number[2], number[3], text[4], 0, 0};
    case MT_CONTRACT_resource_alive:
        return ResourceTold{origin,   ResourceAction::alive, text[0], number[1], number[2], number[3], text[4], number[5],
                            number[6]};
    case MT_CONTRACT_resource_touch:
        return ResourceTold{origin, ResourceAction::touched, text[0], number[1], 0, 0, "", 0, 0};
    case MT_CONTRACT_resource_release:
        return ResourceTold{origin, ResourceAction::released, text[0], number[1], 0, 0, "", 0, 0};
    case MT_CONTRACT_pool_get:
        return pool(origin, PoolAction::got, *told);
    case MT_CONTRACT_pool_put:
        return pool(origin, PoolAction::put, *told);
    case MT_CONTRACT_pool_wait:
        return pool(origin, PoolAction::waited, *told);
    case MT_CONTRACT_pool_limit:
        return pool(origin, PoolAction::limited, *told);
    case MT_CONTRACT_cleanup_start:
        return cleanup(origin, false, *told);
    case MT_CONTRACT_cleanup_end:
        return cleanup(origin, true, *told);
    case MT_CONTRACT_THREAD_END:
        return ThreadEnded{origin.process, origin.mono_ns, origin.tid};
    default:
        return std::nullopt;
    }
}

} // namespace memtrace
