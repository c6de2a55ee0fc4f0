// SPDX-License-Identifier: Apache-2.0
// `towline catalog …`: the block devices of the daemon's host.

#include <cstdio>

#include "tools/towline/api_command.hpp"
#include "tools/towline/api_help.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/progress_bar.hpp"

namespace towline {

using nlohmann::json;

namespace {

void show_imported(const json& body) {
    std::printf("%s: %s volumes\n", body.at("changed").get<bool>() ? "changed" : "not changed",
                field_text(body, "imported").c_str());
}

void show_volumes(const json& body) {
    TextTable table({"PATH", "KIND", "SIZE", "FILESYSTEM", "MOUNTED AT", "STATE"});
    for (const json& each : body.at("volumes"))
        table.add({field_text(each, "path"), field_text(each, "kind"),
                   human_bytes(each.at("size_bytes").get<double>()), field_text(each, "filesystem"),
                   field_text(each, "mounts"), field_text(each, "state")});
    std::printf("%s", table.text().c_str());
}

void show_vaults(const json& body) {
    TextTable table({"VAULT", "JOBS", "NAMES", "ENCRYPTED", "FREE", "NOTE"});
    for (const json& each : body.at("vaults")) {
        const json& free = each.at("free_bytes");
        table.add({field_text(each, "path"), field_text(each, "jobs"), field_text(each, "names"),
                   field_text(each, "encrypted"),
                   free.is_null() ? "-" : human_bytes(free.get<double>()),
                   field_text(each, "error")});
    }
    std::printf("%s", table.text().c_str());
}

struct ListWords : ApiWords {
    std::string state;
};

int list(const ListWords& words) {
    const std::string query = words.state.empty() ? "" : "?state=" + percent_encoded(words.state);
    return finish(words, words.client().all("/v1/volumes" + query, "volumes"), show_volumes);
}

void add_list(CLI::App& parent, std::function<int()>& run) {
    auto words = std::make_shared<ListWords>();
    CLI::App* command =
        parent.add_subcommand("list", "Those that are there, and those that were imported.");
    add_api_options(*command, *words);
    command->add_option("--state", words->state)->type_name("STATE");
    describe_by_api(*command, "list_volumes", {{"--state", "state"}});
    command->callback([words, &run] { run = [words] { return list(*words); }; });
}

void add(CLI::App& parent, std::function<int()>& run, const char* name, const char* help,
         const char* method, const char* path, void (*show)(const json&)) {
    auto words = std::make_shared<ApiWords>();
    CLI::App* command = parent.add_subcommand(name, help);
    add_api_options(*command, *words);
    command->callback([=, &run] {
        run = [=] { return finish(*words, words->client().call(method, path), show); };
    });
}

}  // namespace

void add_catalog_command(CLI::App& app, std::function<int()>& run) {
    CLI::App* parent = app.add_subcommand("catalog", "Block devices of the daemon's host.");
    parent->require_subcommand(1);
    add(*parent, run, "import", "Notes them as they are now.", "POST", "/v1/volumes/import",
        show_imported);
    add_list(*parent, run);
    auto words = std::make_shared<ApiWords>();
    CLI::App* vaults = parent->add_subcommand("vaults", "The vaults that jobs go to.");
    add_api_options(*vaults, *words);
    vaults->callback([words, &run] {
        run = [words] {
            return finish(*words, words->client().all("/v1/vaults", "vaults"), show_vaults);
        };
    });
    add(*parent, run, "clear", "Forgets what was imported; no job is touched.", "DELETE",
        "/v1/volumes", show_imported);
}

}  // namespace towline
