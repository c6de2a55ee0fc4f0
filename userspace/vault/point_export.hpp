// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>

#include "userspace/engine/run_report.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

struct ExportOptions {
    VaultName point;
    KeySource keys;
    std::string volume;  // of a point that has several
    std::filesystem::path file;
    std::function<bool()> cancelled = [] { return false; };
    std::function<void(const RunProgress&)> on_progress = [](const RunProgress&) {};
};

struct ExportReport {
    std::string point;
    std::uint64_t volume_bytes = 0;
    std::uint64_t file_bytes = 0;  // that are stored
};

// A file under this name, or kRefused: nothing is written over.
Status refuse_existing(const std::filesystem::path& file);
// The name that a file has until it is whole, and its own.
std::filesystem::path partial_name(const std::filesystem::path& file);
Status publish(const std::filesystem::path& file);

// The point's volume as a qcow2 image, checked as it is read; under its name when it is whole.
Result<ExportReport> export_qcow2(const ExportOptions& options);

}  // namespace towline
