// SPDX-License-Identifier: Apache-2.0
// The level as a choice by prediction: a level moves min(link x ratio, what the workers can do,
// what the source gives) bytes a second; the largest wins, of equals the densest. What the model
// has wrong is found out by doing, and every way to be wrong again and again has its patience: a
// level that was too slow, compressing that brought nothing, a link that was not faster after all.

#include "transport/level_control.hpp"

#include <algorithm>

namespace towline {
namespace {

// From raw to compressed only for this much, and back below this much: the gap is the hysteresis.
constexpr double kWorthStarting = 1.2;
constexpr double kWorthKeeping = 1.08;

// To promise less than this may be wrong, and a short run has no time to find that out.
constexpr double kClearlyWorth = 1.8;
constexpr std::uint64_t kShortRunWindows = 15;

constexpr double kAsGood = 0.98;        // rates this near count as equal
constexpr double kRoomForDenser = 0.9;  // a denser level must be this much within its capacity
constexpr double kSaturated = 0.8;      // workers busy for this part of a window are the limit
constexpr double kLinkChanged = 1.5;

constexpr std::uint64_t kSettleWindows = 3;  // between two changes of the level
constexpr std::uint64_t kProbeWindows = 20;
constexpr std::uint64_t kRawAgainWindows = 6;

// More than sockets and queues hold on the way; from then on, this long.
constexpr double kTurnoverBytes = 16e6;
constexpr double kTrialSeconds = 0.4;

double changed_by(double before, double after) {
    return before <= 0 || after <= 0 ? 1 : std::max(before / after, after / before);
}

}  // namespace

void LevelControl::Patience::lose(std::uint64_t now) {
    until_ = now + next_;
    next_ = std::min(next_ * 2, longest_);
}

void LevelControl::Patience::reset() {
    until_ = 0;
    next_ = first_;
}

LevelControl::LevelControl(CodecChoice choice, unsigned workers)
    : workers_(std::max(workers, 1u)), model_(choice, workers_) {}

void LevelControl::expect_link(std::uint64_t bytes_per_second) {
    if (bytes_per_second == 0) return;
    link_.suppose(static_cast<double>(bytes_per_second));
    change_to(decide());
}

int LevelControl::step(const Window& window) {
    if (window.length <= Duration::zero()) return level_;
    ++now_;
    link_.add(static_cast<double>(window.wire_bytes), seconds(window.length),
              seconds(window.link_busy));
    model_.learn(window.level, static_cast<double>(window.compressed_in),
                 static_cast<double>(window.compressed_out), seconds(window.codec_cpu));
    judge_supply(window);
    suppose_faster_link();
    change_to(futile(window) ? kLevelNone : decide());
    return level_;
}

// Whatever the run waited for hides how much the source could have given.
void LevelControl::judge_supply(const Window& window) {
    cpu_bound_ = seconds(window.codec_cpu) > kSaturated * workers_ * seconds(window.length);
    const double rate = static_cast<double>(window.raw_bytes) / seconds(window.length);
    if (link_.held() || cpu_bound_ || rate <= 0) {
        supply_ = 0;
    } else {
        supply_ = supply_ > 0 ? (supply_ + rate) / 2 : rate;
    }
}

// A run that waits for its workers does not see a link that has become faster. It supposes so and
// compresses less; the link then holds sends back, and what was measured before holds again, or it
// does not.
void LevelControl::suppose_faster_link() {
    if (link_.judged() && supposed_from_ > 0) {
        const bool faster = link_.bytes_per_second() > kLinkChanged * supposed_from_;
        faster ? suppose_patience_.reset() : suppose_patience_.lose(now_);
        supposed_from_ = 0;
    }
    const bool settled = level_ != kLevelNone && now_ - changed_at_ >= 2;
    if (link_.held() || !cpu_bound_ || !settled || !suppose_patience_.over(now_)) return;
    if (supposed_from_ <= 0) supposed_from_ = link_.bytes_per_second();
    link_.suppose(link_.bytes_per_second() * 2);
}

// The sends were held back, but not by the link: compressing has made the run no faster. Judged
// only when the buffers on the way have turned over, since what is compressed fills them with more
// of the volume than raw blocks did, and that looks like speed.
bool LevelControl::futile(const Window& window) {
    if (!on_trial_ || level_ == kLevelNone) return false;
    trial_wire_bytes_ += static_cast<double>(window.wire_bytes);
    const bool waits = link_.held() || cpu_bound_;  // and not for the source
    if (trial_wire_bytes_ < kTurnoverBytes || !waits) return false;
    trial_raw_bytes_ += static_cast<double>(window.raw_bytes);
    trial_seconds_ += seconds(window.length);
    if (trial_seconds_ < kTrialSeconds) return false;
    on_trial_ = trial_raw_bytes_ / trial_seconds_ <= kWorthKeeping * raw_rate_before_;
    if (!on_trial_) trial_patience_.reset();
    return on_trial_;
}

// On a link of another speed compressing is another question. Asked when the link is judged by raw
// blocks again, as it was before the trial.
void LevelControl::forgive_trial() {
    if (!link_.judged() || now_ - changed_at_ < kRawAgainWindows) return;
    const bool changed = changed_by(raw_rate_before_, link_.bytes_per_second()) > kLinkChanged;
    if (changed) trial_patience_.reset();
}

double LevelControl::rate(const CodecModel& model, int level) const {
    // To become denser takes some room to spare, or noise would drive the level up and down.
    const double room = level > level_ && level_ != kLevelNone ? kRoomForDenser : 1;
    const double link = link_.bytes_per_second() * model.ratio(level);
    const double moved = std::min(link, model.capacity(level) * room);
    return supply_ > 0 ? std::min(moved, supply_) : moved;
}

int LevelControl::densest_of_fastest(const CodecModel& model) const {
    int best = 1;
    double fastest = 0;
    for (int level = 1; level <= ceiling_; ++level) {
        fastest = std::max(fastest, rate(model, level));
    }
    for (int level = 1; level <= ceiling_; ++level) {
        const bool denser = model.ratio(level) > model.ratio(best);
        if (rate(model, level) >= kAsGood * fastest && (denser || level == 1)) best = level;
    }
    return best;
}

int LevelControl::wanted(const CodecModel& model) const {
    const int best = densest_of_fastest(model);
    const double worth = level_ == kLevelNone ? kWorthStarting : kWorthKeeping;
    return rate(model, best) >= worth * rate(model, kLevelNone) ? best : kLevelNone;
}

int LevelControl::decide() {
    if (!link_.known()) return kLevelNone;
    const bool link_changed = changed_by(ceiling_link_, link_.bytes_per_second()) > kLinkChanged;
    if (link_changed || ceiling_patience_.over(now_)) ceiling_ = kLevelMax;
    if (link_changed) ceiling_patience_.reset();

    const int best = wanted(model_);
    if (level_ == kLevelNone) {
        forgive_trial();
        const bool clear = rate(model_, best) >= kClearlyWorth * rate(model_, kLevelNone);
        const bool too_early = now_ < kShortRunWindows && !clear;
        if (!trial_patience_.over(now_) || too_early) return kLevelNone;
        const bool probe = best == kLevelNone && link_.held() && now_ >= probe_at_ &&
                           wanted(model_.with_ordinary_data()) != kLevelNone;
        if (probe) probe_at_ = now_ + kProbeWindows;
        return probe ? 1 : best;
    }
    const bool settling = now_ - changed_at_ < kSettleWindows;
    return settling && best > level_ ? level_ : best;
}

void LevelControl::change_to(int level) {
    if (level == level_) return;
    if (level_ == kLevelNone) {
        on_trial_ = true;
        raw_rate_before_ =
            supply_ > 0 ? std::min(supply_, link_.bytes_per_second()) : link_.bytes_per_second();
        trial_wire_bytes_ = trial_raw_bytes_ = trial_seconds_ = 0;
    } else if (level == kLevelNone) {
        // Given up before it was proved, and not for the data: the cores or the target are slow.
        const bool failed = on_trial_ && model_.ratio(level_) > kWorthStarting;
        if (failed) trial_patience_.lose(now_);
        on_trial_ = false;
        probe_at_ = now_ + kProbeWindows;
    } else if (level < level_ && cpu_bound_ && supposed_from_ <= 0) {
        ceiling_ = level_ - 1;
        ceiling_link_ = link_.bytes_per_second();
        ceiling_patience_.lose(now_);
    }
    level_ = level;
    changed_at_ = now_;
}

}  // namespace towline
