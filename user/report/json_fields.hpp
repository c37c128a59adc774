// Typed, checked access to the members of a JSON object that somebody else wrote. Internal to the snapshot reader.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace memtrace {

/// Counts are bounded to what pprof and signed differences can carry.
constexpr auto kMaxJsonCount = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

/// The first thing wrong is kept in `error`; what follows is read as absent, and does no harm. `where` names the object in errors. Keeps
/// references to `object` and `error`: lives no longer than they.
class JsonFields {
public:
    JsonFields(const nlohmann::json& object, std::string where, std::string& error)
        : object_(object), where_(std::move(where)), error_(error) {
        if (!object_.is_object()) {
            complain("", "is not an object");
        }
    }

    [[nodiscard]] const nlohmann::json* find(const char* key) const {
        if (!object_.is_object()) {
            return nullptr;
        }
        const auto member = object_.find(key);
        return member == object_.end() ? nullptr : &*member;
    }

    /// A member that must be there.
    [[nodiscard]] const nlohmann::json& require(const char* key) const {
        static const nlohmann::json nothing = nlohmann::json::object();
        const nlohmann::json* value = find(key);
        if (value == nullptr) {
            complain(key, "is missing");
            return nothing;
        }
        return *value;
    }

    void string(const char* key, std::string& target) const {
        if (const nlohmann::json* value = find(key)) {
            if (const auto* text = value->get_ptr<const std::string*>()) {
                target = *text;
            } else {
                complain(key, "is not a string");
            }
        }
    }

    void boolean(const char* key, bool& target) const {
        if (const nlohmann::json* value = find(key)) {
            if (const auto* flag = value->get_ptr<const bool*>()) {
                target = *flag;
            } else {
                complain(key, "is not true or false");
            }
        }
    }

    /// Not negative; what is larger than `most` counts as `most`.
    template <typename T>
    void count(const char* key, T& target, std::uint64_t most = kMaxJsonCount) const {
        if (const nlohmann::json* value = find(key)) {
            target = static_cast<T>(to_count(key, *value, most));
        }
    }

    /// A finite number (JSON has no others); null, which writers put for what is not one, counts as absent.
    void number(const char* key, double& target) const {
        const nlohmann::json* value = find(key);
        if (value == nullptr || value->is_null()) {
            return;
        }
        if (value->is_number()) {
            target = value->get<double>();
        } else {
            complain(key, "is not a number");
        }
    }

    /// Two numbers; where it is absent, both are `otherwise`.
    void interval(const char* key, double (&target)[2], double otherwise) const {
        target[0] = target[1] = otherwise;
        if (find(key) == nullptr) {
            return;
        }
        const nlohmann::json& bounds = elements(key);
        if (bounds.size() == 2 && bounds[0].is_number() && bounds[1].is_number()) {
            target[0] = bounds[0].get<double>();
            target[1] = bounds[1].get<double>();
        } else {
            complain(key, "is not two numbers");
        }
    }

    void strings(const char* key, std::vector<std::string>& target) const {
        for (const auto& value : elements(key)) {
            if (const auto* text = value.get_ptr<const std::string*>()) {
                target.push_back(*text);
            } else {
                complain(key, "holds something that is not a string");
            }
        }
    }

    void counts(const char* key, std::map<std::string, std::uint64_t>& target) const {
        if (const nlohmann::json* map = find(key)) {
            if (!map->is_object()) {
                complain(key, "is not an object");
                return;
            }
            for (const auto& [name, value] : map->items()) {
                target[name] = to_count(key, value, kMaxJsonCount);
            }
        }
    }

    void strings(const char* key, std::map<std::string, std::string>& target) const {
        if (const nlohmann::json* map = find(key)) {
            if (!map->is_object()) {
                complain(key, "is not an object");
                return;
            }
            for (const auto& [name, value] : map->items()) {
                if (const auto* text = value.get_ptr<const std::string*>()) {
                    target[name] = *text;
                } else {
                    complain(key, "holds something that is not a string");
                }
            }
        }
    }

    /// The elements of an array; none where it is absent.
    [[nodiscard]] const nlohmann::json& elements(const char* key) const {
        static const nlohmann::json nothing = nlohmann::json::array();
        const nlohmann::json* value = find(key);
        if (value == nullptr) {
            return nothing;
        }
        if (!value->is_array()) {
            complain(key, "is not an array");
            return nothing;
        }
        return *value;
    }

    void complain(const std::string& key, const std::string& what) const {
        if (error_.empty()) {
            error_ = (where_.empty() || key.empty() ? where_ + key : where_ + "." + key) + " " + what;
        }
    }

    [[nodiscard]] std::string path(const std::string& key) const { return where_.empty() ? key : where_ + "." + key; }

private:
    std::uint64_t to_count(const char* key, const nlohmann::json& value, std::uint64_t most) const {
        if (value.is_number_unsigned()) {
            return std::min(value.get<std::uint64_t>(), most);
        }
        if (!value.is_number()) {
            complain(key, "is not a number");
            return 0;
        }
        const auto real = value.get<double>();
        if (real < 0) {
            complain(key, "is negative");
            return 0;
        }
        return real >= static_cast<double>(most) ? most : static_cast<std::uint64_t>(real);
    }

    const nlohmann::json& object_;
    std::string where_;
    std::string& error_;
};

} // namespace memtrace
