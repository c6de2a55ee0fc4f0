// SPDX-License-Identifier: Apache-2.0
// `towline group …`: sets of jobs, and what is asked of all of them.

#include <cstdio>

#include "tools/towline/api_command.hpp"
#include "tools/towline/api_help.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"

namespace towline {

using nlohmann::json;

namespace {

struct GroupWords : ApiWords {
    std::string name;
    std::string description;
    std::vector<std::string> jobs;
    std::vector<std::string> add, remove;
    bool dry_run = false;

    std::string path(const std::string& verb = "") const {
        return "/v1/groups/" + percent_encoded(name) + verb + (dry_run ? "?dry_run=true" : "");
    }
};

using Words = std::shared_ptr<GroupWords>;

void show_change(const json& answer) {
    const json& group = answer.at("group");
    std::printf("group %s: %s%s, %zu jobs\n", field_text(group, "name").c_str(),
                answer.at("changed").get<bool>() ? "changed" : "not changed",
                answer.at("dry_run").get<bool>() ? " (dry run)" : "", group.at("jobs").size());
}

int create(const GroupWords& words) {
    const json body{{"description", words.description}, {"jobs", words.jobs}};
    return finish(words, words.client().call("PUT", words.path(), body), show_change);
}

int edit(const GroupWords& words, const CLI::App& command) {
    json body = json::object();
    if (command.count("--description") > 0) body["description"] = words.description;
    if (!words.add.empty()) body["add"] = words.add;
    if (!words.remove.empty()) body["remove"] = words.remove;
    return finish(words, words.client().call("PATCH", words.path(), body), show_change);
}

int list(const GroupWords& words) {
    return finish(words, words.client().all("/v1/groups", "groups"), [](const json& body) {
        TextTable table({"NAME", "JOBS", "DESCRIPTION"});
        for (const json& each : body.at("groups"))
            table.add({field_text(each, "name"), std::to_string(each.at("jobs").size()),
                       field_text(each, "description")});
        std::printf("%s", table.text().c_str());
    });
}

int show(const GroupWords& words) {
    return finish(words, words.client().call("GET", words.path()), [](const json& body) {
        for (const char* field : {"name", "description", "jobs"})
            std::printf("%-18s %s\n", field, field_text(body, field).c_str());
    });
}

int remove(const GroupWords& words) {
    return finish(words, words.client().call("DELETE", words.path()), [](const json& body) {
        std::printf("group %s: deleted\n", field_text(body.at("group"), "name").c_str());
    });
}

// Exit 3 where a job refused: the others did what was asked.
int ask(const GroupWords& words, const std::string& verb) {
    const auto answer = words.client().call("POST", words.path("/" + verb));
    const int code = finish(words, answer, [](const json& body) {
        TextTable table({"JOB", "STATE", "RUN", "CHANGED", "NOTE"});
        for (const json& each : body.at("results"))
            table.add({field_text(each, "job"), field_text(each, "state"), field_text(each, "run"),
                       each.at("changed").get<bool>() ? "yes" : "no",
                       each.at("error").is_null() ? "" : field_text(each.at("error"), "message")});
        std::printf("%s", table.text().c_str());
    });
    const bool refused = code == 0 && answer->body.at("refused").get<std::size_t>() > 0;
    return refused ? static_cast<int>(Exit::kRefused) : code;
}

CLI::App* add(CLI::App& parent, const Words& words, const char* name, const char* help) {
    CLI::App* added = parent.add_subcommand(name, help);
    add_api_options(*added, *words);
    return added;
}

CLI::App* add_named(CLI::App& parent, const Words& words, const char* name, const char* help) {
    CLI::App* added = add(parent, words, name, help);
    added->add_option("NAME", words->name, "its name")->required();
    return added;
}

void add_changes(CLI::App& parent, std::function<int()>& run) {
    auto making = std::make_shared<GroupWords>();
    CLI::App* create_it =
        add_named(parent, making, "create", "Creates it, or makes it exactly this.");
    create_it->add_option("--job", making->jobs)->type_name("JOB");
    create_it->add_option("--description", making->description)->type_name("TEXT");
    create_it->add_flag("--dry-run", making->dry_run);
    describe_by_api(
        *create_it, "put_group",
        {{"--job", "jobs"}, {"--description", "description"}, {"--dry-run", "dry_run"}});
    create_it->callback([making, &run] { run = [making] { return create(*making); }; });
    auto editing = std::make_shared<GroupWords>();
    CLI::App* edit_it = add_named(parent, editing, "edit", "Takes jobs in and out.");
    edit_it->add_option("--add", editing->add)->type_name("JOB");
    edit_it->add_option("--remove", editing->remove)->type_name("JOB");
    edit_it->add_option("--description", editing->description)->type_name("TEXT");
    edit_it->add_flag("--dry-run", editing->dry_run);
    describe_by_api(*edit_it, "patch_group",
                    {{"--add", "add"},
                     {"--remove", "remove"},
                     {"--description", "description"},
                     {"--dry-run", "dry_run"}});
    edit_it->callback([editing, edit_it, &run] {
        run = [editing, edit_it] { return edit(*editing, *edit_it); };
    });
}

}  // namespace

void add_group_command(CLI::App& app, std::function<int()>& run) {
    CLI::App* parent = app.add_subcommand("group", "Sets of jobs, and what is asked of them all.");
    parent->require_subcommand(1);
    add_changes(*parent, run);
    auto listing = std::make_shared<GroupWords>();
    add(*parent, listing, "list", "All of them.")->callback([listing, &run] {
        run = [listing] { return list(*listing); };
    });
    for (const auto& [name, help, work] :
         {std::tuple{"show", "One of them.", &show},
          std::tuple{"delete", "Forgets it; its jobs stay as they are.", &remove}}) {
        auto one = std::make_shared<GroupWords>();
        add_named(*parent, one, name, help)->callback([one, work, &run] {
            run = [one, work] { return work(*one); };
        });
    }
    for (const auto& [name, help] :
         {std::pair{"start", "A run on demand of each job; exit 3 where one refuses."},
          std::pair{"pause", "Pauses each job."}, std::pair{"resume", "Resumes each job."},
          std::pair{"cancel", "Ends the run of each job that has one."}}) {
        auto one = std::make_shared<GroupWords>();
        add_named(*parent, one, name, help)->callback([one, verb = std::string(name), &run] {
            run = [one, verb] { return ask(*one, verb); };
        });
    }
}

}  // namespace towline
