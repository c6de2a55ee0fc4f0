// SPDX-License-Identifier: Apache-2.0
// `towline target finish`: a replica that was left with a run staged whole is made that moment,
// without its source: what a takeover needs when nobody else comes.

#include <cstdio>

#include <nlohmann/json.hpp>

#include "tools/towline/commands.hpp"
#include "tools/towline/error_report.hpp"
#include "userspace/engine/file_target_store.hpp"
#include "userspace/engine/target_finish.hpp"

namespace towline {

namespace {

struct TargetWords {
    std::string target;
    std::string root;
    std::string state_dir = "/var/lib/towline";
    bool json = false;
};

Result<bool> finish(const TargetWords& words) {
    if (!words.root.empty()) {
        RootFolder root = TRY(RootFolder::open(words.root));
        const std::filesystem::path state_folder = root.path() / ".towline";
        const auto place = place_beneath(std::move(root));
        FileTargetStore store(state_folder, *place);
        return finish_target(store, words.target, EngineKind::kAuto);
    }
    std::error_code error;
    const auto path =
        std::filesystem::weakly_canonical(std::filesystem::absolute(words.target, error), error);
    if (error) return fail_errno(error.value(), "cannot resolve the target " + words.target);
    const std::filesystem::path state_folder = std::filesystem::path(words.state_dir) / "targets";
    if (!std::filesystem::exists(state_folder, error))
        return fail(Code::kRefused, "the target " + words.target +
                                        " is no replica that is recorded in " + words.state_dir);
    const auto place = local_place([](const Volume&) { return Status{}; });
    FileTargetStore store(state_folder, *place);
    return finish_target(store, path.string(), EngineKind::kAuto);
}

int finish_and_tell(const TargetWords& words) {
    const auto done = finish(words);
    if (!done) return report_error("target finish", done.error(), words.json);
    if (words.json) {
        std::printf("%s\n",
                    nlohmann::json{{"target", words.target}, {"applied", *done}}.dump(2).c_str());
    } else {
        std::printf("%s: %s\n", words.target.c_str(),
                    *done ? "the run that was staged is applied" : "nothing was left to be done");
    }
    return 0;
}

}  // namespace

void add_target_command(CLI::App& app, std::function<int()>& run) {
    CLI::App* target = app.add_subcommand("target", "Of replicas: devices and image files.");
    target->require_subcommand(1);
    auto words = std::make_shared<TargetWords>();
    CLI::App* command = target->add_subcommand(
        "finish", "Applies a run that was staged whole, without its source.");
    command->add_option("TARGET", words->target, "a path; with --root a NAME beneath it")
        ->required();
    command->add_option("--root", words->root, "of the `towline serve` that received it")
        ->type_name("DIR");
    command->add_option("--state-dir", words->state_dir, "where this host's records are kept")
        ->type_name("DIR")
        ->capture_default_str();
    command->add_flag("--json", words->json, "one JSON object on standard output");
    command->callback([words, &run] { run = [words] { return finish_and_tell(*words); }; });
}

}  // namespace towline
