// SPDX-License-Identifier: Apache-2.0
// The command line of Towline: picks the command and turns its end into an exit code.

#include <algorithm>
#include <array>
#include <csignal>
#include <string_view>

#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/support_command.hpp"
#include "userspace/command_line/manual_page.hpp"

namespace towline {

namespace {

// A command by the words that it begins with. To describe all of them takes as long as a small run
// does, so that one which is named alone is described alone.
struct Command {
    std::array<std::string_view, 2> names;
    void (*add)(CLI::App& app, std::function<int()>& run);
};

constexpr Command kCommands[] = {
    {{"sync"}, add_sync_command},
    {{"serve"}, add_serve_command},
    {{"target"}, add_target_command},
    {{"track", "snapshot"}, add_track_commands},
    {{"job"}, add_job_command},
    {{"group"}, add_group_command},
    {{"template"}, add_template_command},
    {{"run"}, add_run_command},
    {{"catalog"}, add_catalog_command},
    {{"dial-stdio"}, add_dial_command},
    {{}, add_completion_command},  // it lists all the others
    {{"notification"}, add_notification_command},
    {{"event"}, add_event_command},
    {{"status"}, add_status_command},
    {{"support"}, add_support_command},
    {{"mount-image"}, add_mount_image_command},
    {{"vault"}, add_vault_command},
    {{"point"}, add_point_command},
    {{"restore", "export"}, add_restore_commands},
    {{"verify"}, add_verify_command},
};

void add_commands(CLI::App& app, std::function<int()>& run, std::string_view word) {
    const auto named = [&](const Command& each) {
        return !word.empty() && std::ranges::find(each.names, word) != each.names.end();
    };
    const auto only = std::ranges::find_if(kCommands, named);
    if (only != std::end(kCommands)) return only->add(app, run);
    for (const Command& each : kCommands)
        each.add(app, run);
}

}  // namespace

}  // namespace towline

int main(int argc, char** argv) {
    // A peer that goes away is an error of the connection, not the end of the process.
    std::signal(SIGPIPE, SIG_IGN);
    CLI::App app{"Keeps a replica of a live Linux volume a short line behind it."};
    app.name("towline");
    app.set_version_flag("--version", "towline " TOWLINE_VERSION);
    towline::add_manual_flag(app);
    app.require_subcommand(1);
    app.footer("Manual: towline(1). Exit codes: docs/cli.md.");
    std::function<int()> run;
    towline::add_commands(app, run, argc > 1 ? argv[1] : "");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        const int code = app.exit(problem);
        return code == 0 ? 0 : static_cast<int>(towline::Exit::kUsage);
    }
    return run();
}
