// SPDX-License-Identifier: Apache-2.0
// Options stay as they were given: what is not said is not decided here. That they make sense is
// tried out on an order of their own, so that a template that is kept can be used.

#include "userspace/jobs/job_template.hpp"

namespace towline {

using nlohmann::json;

json JobTemplate::complete(const json& order) const {
    json whole = options;
    whole.update(order);
    return whole;
}

json json_of(const JobTemplate& preset) {
    return {
        {"name", preset.name}, {"description", preset.description}, {"options", preset.options}};
}

std::expected<JobTemplate, FieldError> template_of(const json& value) {
    JobTemplate made;
    made.name = value.value("name", "");
    made.description = value.value("description", "");
    made.options = value.value("options", json::object());
    const json order{{"name", made.name}, {"volumes", {"/volume"}}, {"target", "/target"}};
    if (const auto tried = spec_of(made.complete(order)); !tried)
        return std::unexpected(FieldError{"options." + tried.error().field, tried.error().message});
    return made;
}

}  // namespace towline
