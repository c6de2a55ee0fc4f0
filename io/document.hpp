// SPDX-License-Identifier: Apache-2.0
#pragma once

// JSON documents in slot files: the old one or the new one, whatever dies.

#include <filesystem>
#include <optional>

#include <nlohmann/json_fwd.hpp>

#include "io/result.hpp"

namespace towline {

Status save_document(const std::filesystem::path& path, const nlohmann::json& document);

// Nothing when there is no such file. A damaged one is kCorrupt, never half believed; one of a
// later form than ours is kUnsupported.
Result<std::optional<nlohmann::json>> load_document(const std::filesystem::path& path);

}  // namespace towline
