// SPDX-License-Identifier: Apache-2.0
// Entries are begun in order, many at a time; one that overlaps what is still under way waits, so
// that the later one is the one that stays. The last step is a flush: what calls itself applied is
// durable.

#include "userspace/engine/staged_apply.hpp"

#include <algorithm>

#include "io/check.hpp"
#include "userspace/engine/staged_format.hpp"

namespace towline {

struct StagedApply::Item {
    std::shared_ptr<const StagedBatch> batch;
    std::uint64_t behind = 0;  // where in the index the batch after it is
    StagedEntry entry;
    Buffer* buffer = nullptr;  // null: zeros
    WholeRead reading;
    Completion completion;
    bool busy = false;
};

StagedApply::StagedApply(IoEngine& engine, const TargetVolume& volume, StagedRun run,
                         const Uuid& source, Done done)
    : engine_(engine),
      run_(std::move(run)),
      check_(source),
      done_(std::move(done)),
      writer_(engine, volume),
      pool_(kItemsMax, staged_format::kStretchBytesMax) {
    for (std::size_t i = 0; i < kItemsMax; ++i) {
        items_.push_back(std::make_unique<Item>());
        Item& item = *items_.back();
        item.completion.on_done([this, &item](std::int64_t result) { on_read(item, result); });
    }
}

StagedApply::~StagedApply() {
    CHECK(idle());
}

void StagedApply::start() {
    // A run is committed behind its end, also one that brought nothing.
    if (!run_.index->finished()) {
        fail_with(End::kLost,
                  {Code::kCorrupt, 0, "the journal of the staged run has lost its end"});
    }
    pump();
}

void StagedApply::stop() {
    writer_.stop();
    if (end_ == End::kDone) end_ = End::kStopped;
    exhausted_ = true;
    entry_.reset();
    pump();
}

void StagedApply::fail_with(End end, Error error) {
    if (end_ != End::kDone) return;
    end_ = end;
    error_ = std::move(error);
    exhausted_ = true;
    entry_.reset();
}

// False: there is none, or not now.
bool StagedApply::next_entry() {
    while (!entry_ && !exhausted_) {
        if (batch_ && next_ < batch_->entries.size()) {
            entry_ = batch_->entries[next_++];
            break;
        }
        auto batch = run_.index->read(cursor_);
        if (!batch) {
            fail_with(batch.error().code == Code::kCorrupt ? End::kLost : End::kFailed,
                      batch.error());
            return false;
        }
        exhausted_ = !*batch;
        if (*batch) batch_ = std::make_shared<const StagedBatch>(std::move(**batch));
        next_ = 0;
    }
    return entry_ && active_ < kItemsMax && !overlaps(entry_->extent);
}

bool StagedApply::overlaps(const Extent& extent) const {
    return std::ranges::any_of(items_, [&](const auto& item) {
        return item->busy && item->entry.extent.offset_bytes < extent.end_bytes() &&
               extent.offset_bytes < item->entry.extent.end_bytes();
    });
}

void StagedApply::pump() {
    if (pumping_) return;
    pumping_ = true;
    while (next_entry()) {
        StagedEntry entry = *entry_;
        entry_.reset();
        // Zeros are cut so that no single call takes long.
        if (entry.zeros() && entry.extent.length_bytes > kZeroBytesMax) {
            entry_ = entry;
            entry_->extent = {entry.extent.offset_bytes + kZeroBytesMax,
                              entry.extent.length_bytes - kZeroBytesMax};
            entry.extent.length_bytes = kZeroBytesMax;
        }
        begin(entry);
    }
    pumping_ = false;
    if (exhausted_ && !entry_ && active_ == 0) finish();
}

void StagedApply::begin(const StagedEntry& entry) {
    const auto free = std::ranges::find_if(items_, [](const auto& item) { return !item->busy; });
    CHECK(free != items_.end());
    Item& item = **free;
    item.busy = true;
    item.batch = batch_;
    item.behind = cursor_;
    item.entry = entry;
    ++active_;
    if (entry.zeros()) {
        return writer_.zero(entry.extent,
                            [this, &item](Status status) { on_written(item, std::move(status)); });
    }
    item.buffer = pool_.take();
    CHECK(item.buffer != nullptr);
    item.reading.start(engine_, run_.blocks.view, item.buffer->bytes(), entry.place_bytes,
                       entry.extent.length_bytes, item.completion);
}

void StagedApply::on_read(Item& item, std::int64_t result) {
    switch (item.reading.take(result)) {
        case WholeRead::Step::kAgain:
            return;
        case WholeRead::Step::kFailed: {
            // Cut off is lost; a disk that cannot be read now may be read later.
            const int why = item.reading.system_errno();
            Error error = system_error(why, "cannot read a staged block in " + run_.shown);
            fail_with(why == ENODATA ? End::kLost : End::kFailed, std::move(error));
            break;
        }
        case WholeRead::Step::kWhole:
            const Status checked = check(item);
            if (!checked) fail_with(End::kLost, checked.error());
            break;
    }
    if (end_ != End::kDone) {
        release(item);
        return pump();
    }
    writer_.write({.extent = item.entry.extent, .plain = item.buffer->data()},
                  [this, &item](Status status) { on_written(item, std::move(status)); });
}

Status StagedApply::check(const Item& item) {
    const StagedBatch& batch = *item.batch;
    ByteSpan rest = item.buffer->bytes().first(item.entry.extent.length_bytes);
    std::uint64_t offset = item.entry.extent.offset_bytes;
    for (std::size_t at = item.entry.first_crc; !rest.empty(); ++at) {
        const auto block = rest.first(std::min<std::size_t>(rest.size(), batch.block_bytes));
        const bool good = check_block(check_, hasher_, block, offset).crc == batch.crcs[at];
        if (!good && !TRY(comes_again(item, {offset, block.size()}))) {
            return fail(Code::kCorrupt, "a staged block is damaged (CRC mismatch): byte " +
                                            std::to_string(offset) + " of the target, in " +
                                            run_.shown);
        }
        rest = rest.subspan(block.size());
        offset += block.size();
    }
    return {};
}

// What a resumed session found damaged was sent anew, and is written over this: a session brings a
// block once, and its entries are in batches behind.
Result<bool> StagedApply::comes_again(const Item& item, Extent block) {
    if (later_from_ != item.behind) {
        later_.clear();
        for (std::uint64_t cursor = item.behind;;) {
            const auto batch = TRY(run_.index->read(cursor));
            if (!batch) break;
            for (const StagedEntry& entry : batch->entries)
                later_.push_back(entry.extent);
        }
        later_ = normalized(std::move(later_));
        later_from_ = item.behind;
    }
    return std::ranges::any_of(later_, [&](const Extent& each) {
        return each.offset_bytes <= block.offset_bytes && each.end_bytes() >= block.end_bytes();
    });
}

void StagedApply::on_written(Item& item, Status status) {
    if (!status) fail_with(End::kFailed, status.error());
    release(item);
    pump();
}

void StagedApply::release(Item& item) {
    if (item.buffer != nullptr) pool_.give(std::exchange(item.buffer, nullptr));
    item.batch.reset();
    item.busy = false;
    --active_;
}

void StagedApply::finish() {
    if (ended_ || flushing_) return;
    if (end_ == End::kDone) {
        flushing_ = true;
        return writer_.flush([this](Status status) {
            flushing_ = false;
            ended_ = true;
            if (!status) fail_with(End::kFailed, status.error());
            done_(end_, std::move(error_));
        });
    }
    ended_ = true;
    done_(end_, std::move(error_));
}

}  // namespace towline
