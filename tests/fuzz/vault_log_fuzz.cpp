// SPDX-License-Identifier: Apache-2.0
// Entries of a name's log. What is taken says the same when it is written again, and a log of it is
// judged.

#include <cstdlib>

#include <nlohmann/json.hpp>

#include "userspace/vault/series_log.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace towline;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object()) return 0;
    const auto entry = log_entry_from_json(json, 1, "an entry");
    if (!entry) return 0;
    const auto again = log_entry_from_json(to_json(*entry), 1, "the same entry");
    if (!again || *again != *entry) std::abort();
    const SeriesState state = judge_log({*entry});
    if (state.counting.size() > state.points.size() && !state.last_begin && !state.last_delete)
        std::abort();
    return 0;
}
