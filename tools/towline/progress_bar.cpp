// SPDX-License-Identifier: Apache-2.0
// The bar goes to standard error, so that standard output stays for results.

#include "tools/towline/progress_bar.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <sys/ioctl.h>
#include <unistd.h>

namespace towline {

namespace {

std::string format_time(double seconds_left) {
    char text[32];
    const auto whole = std::lround(seconds_left);
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    return text;
}

std::size_t terminal_columns() {
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0) return 80;
    return size.ws_col;
}

std::string drawn_bar(double share, std::size_t width) {
    const auto full = static_cast<std::size_t>(share * static_cast<double>(width));
    return "[" + std::string(full, '#') + std::string(width - full, '.') + "]";
}

}  // namespace

std::string human_bytes(double bytes) {
    static constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
    std::size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < kUnits.size()) {
        bytes /= 1024;
        ++unit;
    }
    char text[32];
    std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", bytes, kUnits[unit]);
    return text;
}

ProgressBar::ProgressBar(bool wanted) : active_(wanted && ::isatty(STDERR_FILENO) == 1) {}

void ProgressBar::show(const RunProgress& progress) {
    if (!active_) return;
    if (stage_ != progress.stage) {
        stage_ = progress.stage;
        stage_began_ = progress.elapsed;
        stage_sent_began_ = progress.sent_bytes;
    }
    const double elapsed = std::max(0.05, seconds(progress.elapsed - stage_began_));
    const double speed = static_cast<double>(progress.done_bytes) / elapsed;
    const double wire = static_cast<double>(progress.sent_bytes - stage_sent_began_) / elapsed;
    const double total = static_cast<double>(progress.total_bytes);
    const double share =
        total > 0 ? std::min(1.0, static_cast<double>(progress.done_bytes) / total) : 0;
    std::string line = stage_;
    line.resize(std::max<std::size_t>(line.size(), 9), ' ');
    char numbers[160];
    std::snprintf(numbers, sizeof numbers, " %5.1f%%  %s/s", share * 100,
                  human_bytes(speed).c_str());
    std::string tail = numbers;
    tail += "  wire " + human_bytes(wire) + "/s";
    // time left = (total - done) / speed
    if (speed > 0 && total > 0)
        tail += "  left " + format_time((total - static_cast<double>(progress.done_bytes)) / speed);
    const std::size_t columns = terminal_columns();
    const std::size_t taken = line.size() + tail.size() + 4;
    if (columns > taken + 8)
        line += " " + drawn_bar(share, std::min<std::size_t>(40, columns - taken));
    line += tail;
    std::fprintf(stderr, "\r%.*s\033[K", static_cast<int>(columns - 1), line.c_str());
    std::fflush(stderr);
    drawn_ = true;
}

void ProgressBar::clear() {
    if (drawn_) std::fprintf(stderr, "\r\033[K");
    drawn_ = false;
}

}  // namespace towline
