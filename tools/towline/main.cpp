// SPDX-License-Identifier: Apache-2.0
// The command line of Towline: picks the command and turns its end into an exit code.

#include <csignal>
#include <cstdio>

#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"

int main(int argc, char** argv) {
    // A peer that goes away is an error of the connection, not the end of the process.
    std::signal(SIGPIPE, SIG_IGN);
    CLI::App app{"Keeps a replica of a live Linux volume a short line behind it."};
    app.name("towline");
    app.set_version_flag("--version", "towline " TOWLINE_VERSION);
    app.require_subcommand(1);
    app.footer("Manual: towline(1). Exit codes: docs/cli.md.");
    std::function<int()> run;
    towline::add_sync_command(app, run);
    towline::add_serve_command(app, run);
    towline::add_target_command(app, run);
    towline::add_track_commands(app, run);
    towline::add_job_command(app, run);
    towline::add_group_command(app, run);
    towline::add_template_command(app, run);
    towline::add_run_command(app, run);
    towline::add_catalog_command(app, run);
    towline::add_dial_command(app, run);
    towline::add_completion_command(app, run);
    towline::add_notification_command(app, run);
    towline::add_event_command(app, run);
    towline::add_status_command(app, run);
    towline::add_mount_image_command(app, run);
    towline::add_vault_command(app, run);
    towline::add_point_command(app, run);
    towline::add_restore_commands(app, run);
    towline::add_verify_command(app, run);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        const int code = app.exit(problem);
        return code == 0 ? 0 : static_cast<int>(towline::Exit::kUsage);
    }
    return run();
}
