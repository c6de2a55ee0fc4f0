// SPDX-License-Identifier: Apache-2.0
// First the copy, then the removal, then what the log says without it: killed anywhere, a second
// repair goes on.

#include "userspace/vault/repair.hpp"

#include <algorithm>

namespace towline {

namespace {

// As it is stored: what is damaged cannot be unsealed.
Status set_aside(const Vault& vault, const std::string& log_name) {
    ObjectStore& store = vault.stored();
    const std::string name = TRY(vault.stored_name(log_name));
    const auto size = TRY(store.size(name));
    if (!size) return {};
    std::vector<std::byte> bytes(*size);
    // What cannot be read at all is set aside as far as it can.
    const auto got = store.get_range(name, 0, bytes);
    bytes.resize(got.value_or(0));
    std::string aside = name;
    std::ranges::replace(aside, '/', '+');
    TRY_STATUS(store.put_if_absent("quarantine/" + aside, bytes));
    const std::vector<std::string> gone{name};
    return store.remove(gone);
}

}  // namespace

Result<RepairReport> repair_log(const std::shared_ptr<Vault>& vault, const std::string& series) {
    const SeriesLog log(vault, series);
    const auto held = TRY(log.hold());
    RepairReport report;
    const SeriesState before = TRY(log.read());
    for (const auto& [number, error] : before.damaged) {
        report.set_aside.push_back(log.entry_id(number).object_name());
        TRY_STATUS(set_aside(*vault, report.set_aside.back()));
    }
    const SeriesState state = TRY(log.read());
    Delete entry;
    for (const Point& each : state.points)
        entry.points.push_back(each.number);
    for (const std::uint64_t number : state.counting) {
        if (!std::ranges::binary_search(entry.points, number))
            report.forgotten_points.push_back(number);
    }
    if (report.forgotten_points.empty()) return report;
    // Nobody goes on with a run whose base is forgotten: what it brought can be given back.
    if (state.last_begin && state.resumable() == nullptr) entry.ended = state.last_begin->number;
    // Behind every number that there was.
    const std::uint64_t number = std::max(before.last_number, state.last_number) + 1;
    if (!TRY(log.append(number, entry)))
        return fail(Code::kBusy, "the log of " + decode_series(series) + " changed; try again");
    return report;
}

}  // namespace towline
