// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include <CLI/CLI.hpp>

namespace towline {

// Each adds itself to the command line; the function it leaves in `run` is what main() calls, and
// its result the exit code.
void add_sync_command(CLI::App& app, std::function<int()>& run);
void add_serve_command(CLI::App& app, std::function<int()>& run);
void add_target_command(CLI::App& app, std::function<int()>& run);
void add_track_commands(CLI::App& app, std::function<int()>& run);
// Of the daemon: these ask its API.
void add_job_command(CLI::App& app, std::function<int()>& run);
void add_group_command(CLI::App& app, std::function<int()>& run);
void add_template_command(CLI::App& app, std::function<int()>& run);
void add_run_command(CLI::App& app, std::function<int()>& run);
void add_event_command(CLI::App& app, std::function<int()>& run);
void add_notification_command(CLI::App& app, std::function<int()>& run);
void add_dial_command(CLI::App& app, std::function<int()>& run);
void add_completion_command(CLI::App& app, std::function<int()>& run);
void add_catalog_command(CLI::App& app, std::function<int()>& run);
void add_status_command(CLI::App& app, std::function<int()>& run);
void add_mount_image_command(CLI::App& app, std::function<int()>& run);
void add_vault_command(CLI::App& app, std::function<int()>& run);
void add_point_command(CLI::App& app, std::function<int()>& run);
void add_restore_commands(CLI::App& app, std::function<int()>& run);
void add_verify_command(CLI::App& app, std::function<int()>& run);

}  // namespace towline
