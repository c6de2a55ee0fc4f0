// SPDX-License-Identifier: Apache-2.0
// `towline template …`: presets of jobs, with the options of `towline job create`.

#include <cstdio>

#include "tools/towline/api_help.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/job_words.hpp"

namespace towline {

using nlohmann::json;

namespace {

struct TemplateWords : JobWords {
    bool dry_run = false;
};

using Words = std::shared_ptr<TemplateWords>;

std::string path_of(const TemplateWords& words) {
    return "/v1/templates/" + percent_encoded(words.name) + (words.dry_run ? "?dry_run=true" : "");
}

int create(const TemplateWords& words, const CLI::App& command) {
    json options = job_options(words, command);
    json body{{"description", words.description}};
    options.erase("description");  // the template's own
    body["options"] = std::move(options);
    return finish(words, words.client().call("PUT", path_of(words), body), [](const json& answer) {
        std::printf("template %s: %s%s\n", field_text(answer.at("template"), "name").c_str(),
                    answer.at("changed").get<bool>() ? "changed" : "not changed",
                    answer.at("dry_run").get<bool>() ? " (dry run)" : "");
    });
}

int list(const TemplateWords& words) {
    const auto all = words.client().all("/v1/templates", "templates");
    return finish(words, all, [](const json& body) {
        TextTable table({"NAME", "DESCRIPTION", "OPTIONS"});
        for (const json& each : body.at("templates"))
            table.add({field_text(each, "name"), field_text(each, "description"),
                       each.at("options").dump()});
        std::printf("%s", table.text().c_str());
    });
}

int show(const TemplateWords& words) {
    return finish(words, words.client().call("GET", path_of(words)), [](const json& body) {
        std::printf("%-18s %s\n%-18s %s\n", "name", field_text(body, "name").c_str(), "description",
                    field_text(body, "description").c_str());
        for (const auto& [option, value] : body.at("options").items())
            std::printf("%-18s %s\n", option.c_str(),
                        option == "schedule"
                            ? schedule_text(value).c_str()
                            : field_text(body.at("options"), option.c_str()).c_str());
    });
}

int remove(const TemplateWords& words) {
    return finish(words, words.client().call("DELETE", path_of(words)), [](const json& body) {
        std::printf("template %s: deleted\n", field_text(body.at("template"), "name").c_str());
    });
}

CLI::App* add(CLI::App& parent, const Words& words, const char* name, const char* help) {
    CLI::App* added = parent.add_subcommand(name, help);
    add_api_options(*added, *words);
    return added;
}

}  // namespace

void add_template_command(CLI::App& app, std::function<int()>& run) {
    CLI::App* parent = app.add_subcommand("template", "Presets of jobs.");
    parent->require_subcommand(1);
    auto making = std::make_shared<TemplateWords>();
    CLI::App* command = add(*parent, making, "create", "Creates it, or makes it exactly this.");
    command->add_option("NAME", making->name, "its name")->required();
    add_start_option(*command, *making);
    add_job_options(*command, *making, "put_job");
    command->add_flag("--dry-run", making->dry_run);
    describe_by_api(*command, "put_template",
                    {{"--description", "description"}, {"--dry-run", "dry_run"}});
    command->callback(
        [making, command, &run] { run = [making, command] { return create(*making, *command); }; });
    auto listing = std::make_shared<TemplateWords>();
    add(*parent, listing, "list", "All of them.")->callback([listing, &run] {
        run = [listing] { return list(*listing); };
    });
    for (const auto& [name, help, work] :
         {std::tuple{"show", "What jobs are made with by it.", &show},
          std::tuple{"delete", "Forgets it; jobs that were made from it stay.", &remove}}) {
        auto one = std::make_shared<TemplateWords>();
        CLI::App* added = add(*parent, one, name, help);
        added->add_option("NAME", one->name, "its name")->required();
        added->callback([one, work, &run] { run = [one, work] { return work(*one); }; });
    }
}

}  // namespace towline
