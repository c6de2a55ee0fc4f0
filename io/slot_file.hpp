// SPDX-License-Identifier: Apache-2.0
#pragma once

// A small state that is written often: two slots in a file of fixed size, written in turn, so that
// a change costs one write and one fdatasync where a renamed file costs two commits of the
// filesystem's journal. docs/format-state.md has the form.

#include <filesystem>
#include <optional>
#include <vector>

#include "io/bytes.hpp"
#include "io/result.hpp"

namespace towline {

enum class SlotSync {
    kNow,    // durable when the call returns
    kLater,  // the old or the new one after a crash, whichever the disk has got to
};

// Nothing when there is no such file; kCorrupt when it cannot be told which state is the last.
Result<std::optional<std::vector<std::byte>>> read_slots(const std::filesystem::path& path,
                                                         std::size_t bytes_max);

// After any crash it is the old contents or the new, whole. One writer a path at a time.
Status write_slots(const std::filesystem::path& path, ByteSpan contents,
                   SlotSync sync = SlotSync::kNow);

}  // namespace towline
