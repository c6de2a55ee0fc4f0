// SPDX-License-Identifier: Apache-2.0
// Open addressing: prints are drawn by a hash already, and one that is in the table stays in it, so
// a probe ends at the first empty slot.

#include "userspace/vault/print_table.hpp"

#include "io/check.hpp"

namespace towline {

namespace {

constexpr std::size_t kSlotsFirst = 1024;

}  // namespace

PrintTable::PrintTable(std::size_t slots_max)
    : slots_max_(slots_max), slots_(std::min(kSlotsFirst, slots_max)) {
    CHECK(slots_max >= 4 && (slots_max & (slots_max - 1)) == 0);
}

std::size_t PrintTable::slot_of(std::uint64_t print) const {
    std::size_t at = print & (slots_.size() - 1);
    while (slots_[at].print != 0 && slots_[at].print != print)
        at = (at + 1) & (slots_.size() - 1);
    return at;
}

void PrintTable::grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& each : old)
        if (each.print != 0) slots_[slot_of(each.print)] = each;
}

void PrintTable::add(std::uint64_t print, const Place& place) {
    CHECK(print != 0);
    if (used_ >= room(slots_.size()) && slots_.size() < slots_max_) grow();
    Slot& slot = slots_[slot_of(print)];
    if (slot.print == 0) {
        if (used_ >= room(slots_.size())) return;
        ++used_;
    }
    slot = {.print = print, .place = place};
}

std::optional<PrintTable::Place> PrintTable::find(std::uint64_t print) const {
    const Slot& slot = slots_[slot_of(print)];
    if (print == 0 || slot.print != print) return std::nullopt;
    return slot.place;
}

}  // namespace towline
