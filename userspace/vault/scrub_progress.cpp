// SPDX-License-Identifier: Apache-2.0
// Objects are immutable and their names are used once, so that a line that is believed too long is
// no danger but its age: a scrub that goes on says of the vault what two looks said together.

#include "userspace/vault/scrub_progress.hpp"

#include <fcntl.h>
#include <fstream>
#include <unistd.h>

#include "io/durable_file.hpp"

namespace towline {

Result<ScrubProgress> ScrubProgress::open(const std::filesystem::path& file, bool resume) {
    TRY_STATUS(make_folder(file.parent_path()));
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (resume ? 0 : O_TRUNC);
    Fd fd(::open(file.c_str(), flags, 0600));
    if (!fd) return fail_errno("opening " + file.string());
    ScrubProgress progress(file, std::move(fd));
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
        // A line that a crash cut off has no end, and is no object's name.
        if (!lines.eof()) progress.before_.insert(line);
    }
    // What comes next begins a line of its own.
    if (!progress.before_.empty()) progress.add("");
    return progress;
}

void ScrubProgress::add(const std::string& object) {
    const std::string line = object + "\n";
    (void)!::write(fd_.get(), line.data(), line.size());
}

void ScrubProgress::finish() {
    ::unlink(file_.c_str());
}

}  // namespace towline
