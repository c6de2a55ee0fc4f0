// SPDX-License-Identifier: Apache-2.0
// The names that the API and the store have for states: one table each, read both ways.

#include "userspace/jobs/job.hpp"

#include <array>
#include <utility>

#include "io/check.hpp"

namespace towline {

namespace {

template <typename T, std::size_t N>
using Names = std::array<std::pair<T, std::string_view>, N>;

constexpr Names<JobState, 9> kJobStates{{{JobState::kPending, "Pending"},
                                         {JobState::kActive, "Active"},
                                         {JobState::kFailing, "Failing"},
                                         {JobState::kFailed, "Failed"},
                                         {JobState::kPausedOnFailure, "PausedOnFailure"},
                                         {JobState::kPaused, "Paused"},
                                         {JobState::kCompleted, "Completed"},
                                         {JobState::kDeleting, "Deleting"},
                                         {JobState::kDeleted, "Deleted"}}};
constexpr Names<RunType, 5> kRunTypes{{{RunType::kScheduled, "Scheduled"},
                                       {RunType::kOnDemand, "OnDemand"},
                                       {RunType::kOneTime, "OneTime"},
                                       {RunType::kContinuous, "Continuous"},
                                       {RunType::kTest, "Test"}}};
constexpr Names<RunState, 6> kRunStates{{{RunState::kScheduled, "Scheduled"},
                                         {RunState::kActive, "Active"},
                                         {RunState::kCompleted, "Completed"},
                                         {RunState::kFailed, "Failed"},
                                         {RunState::kCancelled, "Cancelled"},
                                         {RunState::kMissed, "Missed"}}};
constexpr Names<RunStage, 6> kRunStages{{{RunStage::kNone, ""},
                                         {RunStage::kPreparing, "Preparing"},
                                         {RunStage::kSnapshot, "Snapshot"},
                                         {RunStage::kTransfer, "Transfer"},
                                         {RunStage::kVerify, "Verify"},
                                         {RunStage::kSeal, "Seal"}}};

template <typename T, std::size_t N>
std::string_view find_name(const Names<T, N>& names, T value) {
    for (const auto& [each, name] : names)
        if (each == value) return name;
    check_failed("a state without a name", __FILE__, __LINE__);
}

template <typename T, std::size_t N>
std::optional<T> find_value(const Names<T, N>& names, std::string_view wanted) {
    for (const auto& [each, name] : names)
        if (name == wanted) return each;
    return std::nullopt;
}

}  // namespace

std::string_view name_of(JobState state) {
    return find_name(kJobStates, state);
}
std::string_view name_of(RunType type) {
    return find_name(kRunTypes, type);
}
std::string_view name_of(RunState state) {
    return find_name(kRunStates, state);
}
std::string_view name_of(RunStage stage) {
    return find_name(kRunStages, stage);
}

std::optional<JobState> job_state_of(std::string_view name) {
    return find_value(kJobStates, name);
}
std::optional<RunType> run_type_of(std::string_view name) {
    return find_value(kRunTypes, name);
}
std::optional<RunState> run_state_of(std::string_view name) {
    return find_value(kRunStates, name);
}
std::optional<RunStage> run_stage_of(std::string_view name) {
    return find_value(kRunStages, name);
}

}  // namespace towline
