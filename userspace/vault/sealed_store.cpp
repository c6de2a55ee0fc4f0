// SPDX-License-Identifier: Apache-2.0
// Every name is turned into the one that is stored, every range into the chunks that cover it. An
// object never changes under its name, so what is known of one that was opened stays true until it
// is forgotten; that it is gone is said by the store below, at the read itself.

#include "userspace/vault/sealed_store.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "io/buffer_pool.hpp"
#include "io/check.hpp"
#include "userspace/vault/object_frame.hpp"

namespace towline {

namespace format = sealed_format;

namespace {

constexpr std::uint64_t kChunksAtOnce = 64;

// What has a series' name behind its first slash. All else (config/) is stored as it is.
bool has_series(std::string_view name) {
    return name.starts_with("log/") || name.starts_with("index/") || name.starts_with("segment/") ||
           name.starts_with("collect/");
}

class SealedUpload final : public ObjectUpload {
  public:
    SealedUpload(std::unique_ptr<ObjectUpload> stored, SealedChunks chunks)
        : stored_(std::move(stored)),
          chunks_(std::move(chunks)),
          buffer_(static_cast<std::byte*>(
              std::aligned_alloc(BufferPool::kAlignmentBytes, kBufferBytes))) {
        CHECK(buffer_ != nullptr);
        plain_.reserve(format::kChunkBytes);
    }

    Status write(std::uint64_t offset_bytes, ByteSpan bytes) override {
        CHECK(offset_bytes == written_bytes_);
        written_bytes_ += bytes.size();
        if (!head_is_put_) TRY_STATUS(put_head());
        while (!bytes.empty()) {
            // A chunk is sealed when it is known whether another one follows.
            if (plain_.size() == format::kChunkBytes) TRY_STATUS(seal(false));
            const auto some =
                bytes.first(std::min(bytes.size(), format::kChunkBytes - plain_.size()));
            plain_.insert(plain_.end(), some.begin(), some.end());
            bytes = bytes.subspan(some.size());
        }
        return {};
    }

    Result<bool> commit(std::uint64_t length_bytes) override {
        CHECK(length_bytes == written_bytes_ && !plain_.empty());
        TRY_STATUS(seal(true));
        if (buffered_bytes_ > 0) TRY_STATUS(put_buffer());
        return stored_->commit(put_bytes_);
    }

  private:
    struct FreeMemory {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    static constexpr std::size_t kBufferBytes = std::size_t{4} << 20;

    Status put_head() {
        head_is_put_ = true;
        return put(chunks_.head());
    }
    Status seal(bool last) {
        stored_chunk_.resize(plain_.size() + format::kChunkEndBytes);
        chunks_.seal(next_chunk_++, last, plain_, stored_chunk_);
        plain_.clear();
        return put(stored_chunk_);
    }
    Status put(ByteSpan bytes) {
        while (!bytes.empty()) {
            const std::size_t some = std::min(bytes.size(), kBufferBytes - buffered_bytes_);
            std::memcpy(buffer_.get() + buffered_bytes_, bytes.data(), some);
            buffered_bytes_ += some;
            bytes = bytes.subspan(some);
            if (buffered_bytes_ == kBufferBytes) TRY_STATUS(put_buffer());
        }
        return {};
    }
    Status put_buffer() {
        TRY_STATUS(stored_->write(put_bytes_, {buffer_.get(), buffered_bytes_}));
        put_bytes_ += buffered_bytes_;
        buffered_bytes_ = 0;
        return {};
    }

    std::unique_ptr<ObjectUpload> stored_;
    SealedChunks chunks_;
    std::unique_ptr<std::byte, FreeMemory> buffer_;
    std::size_t buffered_bytes_ = 0;
    std::uint64_t put_bytes_ = 0;
    std::vector<std::byte> plain_;  // of the next chunk
    std::vector<std::byte> stored_chunk_;
    std::uint64_t next_chunk_ = 0;
    std::uint64_t written_bytes_ = 0;
    bool head_is_put_ = false;
};

}  // namespace

SealedStore::SealedStore(std::shared_ptr<ObjectStore> stored, const Uuid& vault, Secret key)
    : stored_(std::move(stored)), vault_(vault), key_(std::move(key)), names_(key_, vault) {}

Result<std::string> SealedStore::stored_name(const std::string& name) const {
    if (!has_series(name)) return name;
    const std::size_t from = name.find('/') + 1;
    const std::size_t to = std::min(name.find('/', from), name.size());
    const std::string hidden = TRY(names_.hide(name.substr(from, to - from)));
    return name.substr(0, from) + hidden + name.substr(to);
}

Result<std::unique_ptr<ObjectUpload>> SealedStore::begin_put(const std::string& name) {
    if (!has_series(name)) return stored_->begin_put(name);
    const std::string stored = TRY(stored_name(name));
    auto upload = TRY(stored_->begin_put(stored));
    return std::make_unique<SealedUpload>(std::move(upload),
                                          SealedChunks::draw(key_, vault_, stored));
}

Result<std::optional<std::uint64_t>> SealedStore::size(const std::string& name) {
    const std::string its_name = TRY(stored_name(name));
    const auto stored = TRY(stored_->size(its_name));
    if (!stored || !has_series(name)) return stored;
    const auto plain = plain_bytes_of(*stored);
    if (!plain) return object_damaged(name, "it has a length that no sealed object has");
    return plain;
}

void SealedStore::expect(std::span<const std::string> names) {
    std::vector<std::string> stored;
    for (const std::string& each : names)
        if (auto name = stored_name(each)) stored.push_back(std::move(*name));
    stored_->expect(stored);
}

void SealedStore::forget(const std::string& name) {
    const auto stored = stored_name(name);
    if (!stored) return;
    stored_->forget(*stored);
    const std::lock_guard lock(mutex_);
    opened_.erase(*stored);
    order_.remove(*stored);
}

Result<std::vector<ObjectInfo>> SealedStore::list(const std::string& folder) {
    const std::string stored = TRY(stored_name(folder));
    auto objects = TRY(stored_->list(stored));
    for (ObjectInfo& each : objects)
        each.name = folder + each.name.substr(stored.size());
    return objects;
}

Result<std::vector<std::string>> SealedStore::list_folders(const std::string& folder) {
    auto folders = TRY(stored_->list_folders(folder));
    if (!has_series(folder)) return folders;
    std::vector<std::string> names;
    for (const std::string& each : folders)
        if (auto name = names_.reveal(each)) names.push_back(std::move(*name));
    std::ranges::sort(names);
    return names;
}

Status SealedStore::remove(std::span<const std::string> names) {
    std::vector<std::string> stored;
    stored.reserve(names.size());
    for (const std::string& each : names)
        stored.push_back(TRY(stored_name(each)));
    return stored_->remove(stored);
}

Result<std::unique_ptr<ObjectHold>> SealedStore::hold(const std::string& name, HoldKind kind) {
    const std::string its_name = TRY(stored_name(name));
    return stored_->hold(its_name, kind);
}

// --- reading ------------------------------------------------------------------------------------

Result<std::shared_ptr<const SealedStore::Opened>> SealedStore::open(
    const std::string& stored_name) {
    // The log's entries are read once each, and their numbers may come to mean another one.
    const bool kept = !stored_name.starts_with("log/");
    if (kept) {
        const std::lock_guard lock(mutex_);
        const auto found = opened_.find(stored_name);
        if (found != opened_.end()) return found->second;
    }
    const auto size = TRY(stored_->size(stored_name));
    if (!size) return fail_errno(ENOENT, "the vault's object " + stored_name + " is not there");
    const auto plain = plain_bytes_of(*size);
    if (!plain) return object_damaged(stored_name, "it has a length that no sealed object has");
    std::array<std::byte, format::kHeadBytes> head{};
    TRY_STATUS(read_exactly(*stored_, stored_name, 0, head));
    auto opened = std::make_shared<const Opened>(
        Opened{TRY(SealedChunks::of_stored(key_, vault_, stored_name, head)), *plain});
    if (!kept) return opened;
    const std::lock_guard lock(mutex_);
    if (opened_.emplace(stored_name, opened).second) order_.push_back(stored_name);
    if (order_.size() > kOpenedMax) {
        opened_.erase(order_.front());
        order_.pop_front();
    }
    return opened;
}

Result<std::size_t> SealedStore::get_range(const std::string& name, std::uint64_t offset_bytes,
                                           MutableByteSpan into) {
    if (!has_series(name)) return stored_->get_range(name, offset_bytes, into);
    const std::string its_name = TRY(stored_name(name));
    const auto object = TRY(open(its_name));
    if (offset_bytes >= object->plain_bytes) return 0;
    into = into.first(std::min<std::uint64_t>(into.size(), object->plain_bytes - offset_bytes));
    constexpr std::uint64_t kAtOnce = kChunksAtOnce * format::kChunkBytes;
    for (std::size_t done = 0; done < into.size();) {
        // Pieces end between chunks.
        const std::uint64_t at = offset_bytes + done;
        const std::uint64_t end =
            std::min(offset_bytes + into.size(), (at / kAtOnce + 1) * kAtOnce);
        TRY_STATUS(read_chunks(*object, at, into.subspan(done, end - at)));
        done += end - at;
    }
    return into.size();
}

Status SealedStore::read_chunks(const Opened& object, std::uint64_t offset_bytes,
                                MutableByteSpan into) {
    const std::uint64_t first = offset_bytes / format::kChunkBytes;
    const std::uint64_t last = (offset_bytes + into.size() - 1) / format::kChunkBytes;
    const std::uint64_t chunk_count = (object.plain_bytes - 1) / format::kChunkBytes + 1;
    const auto plain_of = [&](std::uint64_t chunk) -> std::size_t {
        return std::min<std::uint64_t>(format::kChunkBytes,
                                       object.plain_bytes - chunk * format::kChunkBytes);
    };
    std::vector<std::byte> stored((last - first) * format::kStrideBytes + plain_of(last) +
                                  format::kChunkEndBytes);
    TRY_STATUS(read_exactly(*stored_, object.chunks.name(),
                            format::kHeadBytes + first * format::kStrideBytes, stored));
    std::vector<std::byte> aside;
    for (std::uint64_t chunk = first; chunk <= last; ++chunk) {
        const std::size_t length = plain_of(chunk);
        const auto its = ByteSpan(stored).subspan((chunk - first) * format::kStrideBytes,
                                                  length + format::kChunkEndBytes);
        const std::uint64_t begin = chunk * format::kChunkBytes;
        const std::uint64_t from = std::max(begin, offset_bytes);
        const std::uint64_t to = std::min(begin + length, offset_bytes + into.size());
        const auto wanted = into.subspan(from - offset_bytes, to - from);
        const bool is_last = chunk == chunk_count - 1;
        if (wanted.size() == length) {
            TRY_STATUS(object.chunks.open(chunk, is_last, its, wanted));
            continue;
        }
        aside.resize(length);
        TRY_STATUS(object.chunks.open(chunk, is_last, its, aside));
        std::ranges::copy(ByteSpan(aside).subspan(from - begin, to - from), wanted.begin());
    }
    return {};
}

}  // namespace towline
