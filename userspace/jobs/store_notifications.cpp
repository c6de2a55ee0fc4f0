// SPDX-License-Identifier: Apache-2.0
// Whom to tell, and up to which event each has been told: what is not told yet outlives the daemon.

#include "userspace/jobs/store.hpp"

namespace towline {

using nlohmann::json;

Result<std::vector<Store::Told>> Store::notifications() {
    auto rows =
        TRY(database_.prepare("SELECT document, told, version FROM notification ORDER BY name"));
    std::vector<Told> found;
    while (TRY(rows.step())) {
        const json document = json::parse(rows.text(0), nullptr, false);
        auto made = document.is_object() ? notification_of(document)
                                         : std::unexpected(FieldError{"", "is no JSON"});
        if (!made)
            return fail(Code::kCorrupt, "a stored notification is damaged: " + made.error().field +
                                            " " + made.error().message);
        found.push_back(
            {std::move(*made), static_cast<std::uint64_t>(rows.number(1)), rows.text(2)});
    }
    return found;
}

Status Store::save(const Told& told) {
    auto row =
        TRY(database_.prepare("INSERT OR REPLACE INTO notification "
                              "(name, document, told, version) VALUES (?, ?, ?, ?)"));
    const std::string document =
        stored_form(told.notification).dump(-1, ' ', false, json::error_handler_t::replace);
    row.bind(told.notification.name).bind(document);
    return row.bind(static_cast<std::int64_t>(told.sequence)).bind(told.version).run();
}

Status Store::set_told(const std::string& name, std::uint64_t sequence) {
    auto row = TRY(database_.prepare("UPDATE notification SET told = ? WHERE name = ?"));
    return row.bind(static_cast<std::int64_t>(sequence)).bind(name).run();
}

Status Store::drop_notification(const std::string& name) {
    auto row = TRY(database_.prepare("DELETE FROM notification WHERE name = ?"));
    return row.bind(name).run();
}

}  // namespace towline
