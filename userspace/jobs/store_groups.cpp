// SPDX-License-Identifier: Apache-2.0
// Templates as documents; groups as a row for each job in them, so that a job that goes takes its
// rows with it in the same transaction (Store::drop_job).

#include "userspace/jobs/store.hpp"

namespace towline {

using nlohmann::json;

Result<std::vector<JobTemplate>> Store::templates() {
    auto rows = TRY(database_.prepare("SELECT document FROM template ORDER BY name"));
    std::vector<JobTemplate> found;
    while (TRY(rows.step())) {
        const json document = json::parse(rows.text(0), nullptr, false);
        auto made = document.is_object() ? template_of(document)
                                         : std::unexpected(FieldError{"", "is no JSON"});
        if (!made)
            return fail(Code::kCorrupt, "a stored template is damaged: " + made.error().field +
                                            " " + made.error().message);
        found.push_back(std::move(*made));
    }
    return found;
}

Status Store::save(const JobTemplate& preset) {
    auto row = TRY(database_.prepare("INSERT OR REPLACE INTO template VALUES (?, ?)"));
    const std::string document =
        json_of(preset).dump(-1, ' ', false, json::error_handler_t::replace);
    return row.bind(preset.name).bind(document).run();
}

Status Store::drop_template(const std::string& name) {
    auto row = TRY(database_.prepare("DELETE FROM template WHERE name = ?"));
    return row.bind(name).run();
}

Result<std::vector<JobGroup>> Store::groups() {
    std::vector<JobGroup> found;
    auto rows = TRY(database_.prepare(
        "SELECT name, description, member.job FROM job_group "
        "LEFT JOIN group_member AS member ON member.job_group = name ORDER BY name, member.job"));
    while (TRY(rows.step())) {
        if (found.empty() || found.back().name != rows.text(0))
            found.push_back({.name = rows.text(0), .description = rows.text(1), .jobs = {}});
        if (std::string job = rows.text(2); !job.empty()) found.back().jobs.insert(std::move(job));
    }
    return found;
}

Status Store::save(const JobGroup& group) {
    TRY_STATUS(drop_group(group.name));
    auto row = TRY(database_.prepare("INSERT INTO job_group VALUES (?, ?)"));
    TRY_STATUS(row.bind(group.name).bind(group.description).run());
    for (const std::string& job : group.jobs) {
        auto member = TRY(database_.prepare("INSERT INTO group_member VALUES (?, ?)"));
        TRY_STATUS(member.bind(group.name).bind(job).run());
    }
    return {};
}

Status Store::drop_group(const std::string& name) {
    auto members = TRY(database_.prepare("DELETE FROM group_member WHERE job_group = ?"));
    TRY_STATUS(members.bind(name).run());
    auto row = TRY(database_.prepare("DELETE FROM job_group WHERE name = ?"));
    return row.bind(name).run();
}

}  // namespace towline
