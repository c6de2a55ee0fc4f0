// SPDX-License-Identifier: Apache-2.0
// An index: its table as it comes, and pages of entries behind a table that fits them. What is read
// is in order, and a sweep over it ends.

#include <algorithm>
#include <cstdlib>

#include "io/checksum.hpp"
#include "userspace/vault/index_sweep.hpp"

namespace {

using namespace towline;
namespace format = vault_format;

// One object, whatever it is called.
class OneObject final : public ObjectStore {
  public:
    explicit OneObject(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
    Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string&) override {
        return fail(Code::kRefused, "read only");
    }
    Result<std::size_t> get_range(const std::string&, std::uint64_t offset,
                                  MutableByteSpan into) override {
        if (offset >= bytes_.size()) return 0;
        const std::size_t count = std::min<std::size_t>(into.size(), bytes_.size() - offset);
        std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), count, into.begin());
        return count;
    }
    Result<std::optional<std::uint64_t>> size(const std::string&) override {
        return std::optional<std::uint64_t>(bytes_.size());
    }
    Result<std::vector<ObjectInfo>> list(const std::string&) override {
        return std::vector<ObjectInfo>();
    }
    Result<std::vector<std::string>> list_folders(const std::string&) override {
        return std::vector<std::string>();
    }
    Status remove(std::span<const std::string>) override { return {}; }
    Result<std::unique_ptr<ObjectHold>> hold(const std::string&, HoldKind) override {
        return std::make_unique<ObjectHold>();
    }
    Result<std::uint64_t> sweep() override { return 0; }

  private:
    std::vector<std::byte> bytes_;
};

// A table that lets the entries be looked at.
std::vector<std::byte> table_for(ByteSpan entries) {
    const std::size_t count = entries.size() / format::kIndexEntryBytes;
    ByteWriter table;
    table.put(std::uint32_t{4096})
        .put(static_cast<std::uint32_t>(format::kPageEntriesMax))
        .put(std::uint64_t{1} << 40)
        .put(std::uint64_t{1})
        .put(static_cast<std::uint64_t>(count))
        .put(std::uint32_t{2})
        .put(std::uint32_t{count > 0});
    for (int i = 0; i < 2; ++i)
        table.put_bytes(Uuid{}.bytes).put(static_cast<std::uint64_t>(i)).put(std::uint64_t{7});
    if (count > 0)
        table.put(load_le<std::uint64_t>(entries.data()) & (format::kBlockCountMax - 1))
            .put(std::uint64_t{1} << 28)
            .put(crc32c(entries));
    return table.take();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 3) return 0;
    const ByteSpan raw = std::as_bytes(std::span(data, size)).subspan(3);
    ByteSpan contents = raw;
    std::vector<std::byte> table;
    if (data[0] % 2 == 0) {
        const std::size_t table_bytes = std::min<std::size_t>(raw.size(), data[1] | data[2] << 8);
        table.assign(raw.begin(), raw.begin() + static_cast<std::ptrdiff_t>(table_bytes));
        contents = raw.subspan(table_bytes);
    } else {
        contents = raw.first(raw.size() / format::kIndexEntryBytes * format::kIndexEntryBytes);
        table = table_for(contents);
    }
    const Uuid vault{};
    const ObjectId id{format::ObjectKind::kIndex, "name", Uuid{}, 0};
    std::vector<std::byte> object = ObjectFrame(vault, id).head();
    object.insert(object.end(), contents.begin(), contents.end());
    const auto end = ObjectFrame::end(contents.size(), table);
    object.insert(object.end(), end.begin(), end.end());
    const auto index =
        Index::open(std::make_shared<OneObject>(std::move(object)), vault, id, std::nullopt);
    if (!index) return 0;
    const Index* twice[] = {&*index, &*index};
    IndexSweep sweep(twice);
    std::uint64_t at = 0;
    for (;;) {
        const auto piece = sweep.next();
        if (!piece || !*piece) return 0;
        if ((*piece)->first < at || (*piece)->count == 0) std::abort();
        at = (*piece)->first + (*piece)->count;
        if (at > index->geometry().block_count()) std::abort();
    }
}
