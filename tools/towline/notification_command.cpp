// SPDX-License-Identifier: Apache-2.0
// `towline notification …`: whom the daemon tells of what happens.

#include <cstdio>
#include <fstream>

#include "tools/towline/api_command.hpp"
#include "tools/towline/api_help.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"

namespace towline {

using nlohmann::json;

namespace {

struct NotificationWords : ApiWords {
    std::string name;
    std::vector<std::string> events;
    std::vector<std::string> jobs;
    std::string url;
    std::string secret_file;
    std::string program;
    bool dry_run = false;

    std::string path(const std::string& verb = "") const {
        return "/v1/notifications/" + percent_encoded(name) + verb +
               (dry_run ? "?dry_run=true" : "");
    }
};

using Words = std::shared_ptr<NotificationWords>;

// A secret on the command line would be seen by whoever lists processes.
Result<std::string> read_secret(const std::string& path) {
    std::ifstream file(path);
    std::string secret;
    if (!std::getline(file, secret)) return fail_errno("cannot read the secret in " + path);
    return secret;
}

int create(const NotificationWords& words) {
    json body = json::object();
    if (!words.events.empty()) body["events"] = words.events;
    if (!words.jobs.empty()) body["jobs"] = words.jobs;
    if (!words.program.empty()) body["program"] = words.program;
    if (!words.url.empty()) {
        const auto secret = read_secret(words.secret_file);
        if (!secret) return report(secret.error());
        body["webhook"] = {{"url", words.url}, {"secret", *secret}};
    }
    return finish(words, words.client().call("PUT", words.path(), body), [](const json& answer) {
        std::printf("notification %s: %s%s\n",
                    field_text(answer.at("notification"), "name").c_str(),
                    answer.at("changed").get<bool>() ? "changed" : "not changed",
                    answer.at("dry_run").get<bool>() ? " (dry run)" : "");
    });
}

std::string receiver_of(const json& notification) {
    if (notification.contains("program")) return field_text(notification, "program");
    return field_text(notification.at("webhook"), "url");
}

int list(const NotificationWords& words) {
    return finish(words, words.client().call("GET", "/v1/notifications"), [](const json& body) {
        TextTable table({"NAME", "EVENTS", "JOBS", "TOLD UP TO", "RECEIVER"});
        for (const json& each : body.at("notifications"))
            table.add({field_text(each, "name"), field_text(each, "events"),
                       field_text(each, "jobs"), field_text(each, "told"), receiver_of(each)});
        std::printf("%s", table.text().c_str());
    });
}

int show(const NotificationWords& words) {
    return finish(words, words.client().call("GET", words.path()), [](const json& body) {
        for (const auto& [title, text] : {std::pair{"name", field_text(body, "name")},
                                          {"receiver", receiver_of(body)},
                                          {"events", field_text(body, "events")},
                                          {"jobs", field_text(body, "jobs")},
                                          {"told up to", field_text(body, "told")}})
            std::printf("%-12s %s\n", title, text.c_str());
    });
}

int test(const NotificationWords& words) {
    const auto answer = words.client().call("POST", words.path("/test"));
    const int code = finish(words, answer, [](const json& body) {
        if (body.at("told").get<bool>())
            std::printf("told\n");
        else
            std::fprintf(stderr, "towline: %s\n", field_text(body, "message").c_str());
    });
    const bool failed = code == 0 && !answer->body.at("told").get<bool>();
    return failed ? static_cast<int>(Exit::kDisconnected) : code;
}

int remove(const NotificationWords& words) {
    return finish(words, words.client().call("DELETE", words.path()), [](const json& body) {
        std::printf("notification %s: deleted\n",
                    field_text(body.at("notification"), "name").c_str());
    });
}

CLI::App* add(CLI::App& parent, const Words& words, const char* name, const char* help,
              std::function<int()>& run, int (*command)(const NotificationWords&)) {
    CLI::App* added = parent.add_subcommand(name, help);
    add_api_options(*added, *words);
    added->callback([words, command, &run] { run = [words, command] { return command(*words); }; });
    return added;
}

}  // namespace

void add_notification_command(CLI::App& app, std::function<int()>& run) {
    CLI::App* parent = app.add_subcommand("notification", "Whom the daemon tells what happens.");
    parent->require_subcommand(1);
    auto words = std::make_shared<NotificationWords>();
    CLI::App* making =
        add(*parent, words, "create", "Creates it, or makes it exactly this.", run, create);
    making->add_option("NAME", words->name, "its name")->required();
    CLI::Option* url = making->add_option("--webhook", words->url)->type_name("URL");
    CLI::Option* secret = making
                              ->add_option("--secret-file", words->secret_file,
                                           "its first line is what they are signed with")
                              ->type_name("FILE");
    url->needs(secret);
    making->add_option("--program", words->program)->type_name("PATH")->excludes(url);
    making->add_option("--event", words->events)->type_name("WORD");
    making->add_option("--job", words->jobs)->type_name("JOB");
    making->add_flag("--dry-run", words->dry_run);
    describe_by_api(*making, "put_notification",
                    {{"--webhook", "webhook/url"},
                     {"--program", "program"},
                     {"--event", "events"},
                     {"--job", "jobs"},
                     {"--dry-run", "dry_run"}});
    add(*parent, std::make_shared<NotificationWords>(), "list", "All of them.", run, list);
    for (const auto& [name, help, command] :
         {std::tuple{"show", "One of them; its secret is not shown.", &show},
          std::tuple{"test", "Tells it of nothing, now; exit 4 where that fails.", &test},
          std::tuple{"delete", "Tells it no more.", &remove}}) {
        auto one = std::make_shared<NotificationWords>();
        add(*parent, one, name, help, run, command)
            ->add_option("NAME", one->name, "its name")
            ->required();
    }
}

}  // namespace towline
