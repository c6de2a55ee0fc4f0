// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a vault stands on: immutable objects by name. A local folder is one such store, S3 can be
// another; nothing above this line knows which. Every call may be made from any thread, and blocks.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/bytes.hpp"
#include "io/result.hpp"

namespace towline {

struct ObjectInfo {
    std::string name;
    std::uint64_t bytes = 0;
    bool operator==(const ObjectInfo&) const = default;
};

// An object on its way: invisible until commit(), gone without it.
class ObjectUpload {
  public:
    virtual ~ObjectUpload() = default;
    // From the front to the end, without gaps; lengths are multiples of 4096, but the last.
    virtual Status write(std::uint64_t offset_bytes, ByteSpan bytes) = 0;
    // Everything up to `length_bytes` was written: durable and visible under its name when this
    // returns true; false when the name is taken.
    virtual Result<bool> commit(std::uint64_t length_bytes) = 0;
};

// A name that is held, until the object goes away or its process ends.
class ObjectHold {
  public:
    virtual ~ObjectHold() = default;
    // False where nothing can be written, not even a lock: enough for who reads what cannot change,
    // and for nobody else.
    virtual bool keeps_others_out() const { return true; }
};

enum class HoldKind { kShared, kExclusive };

class ObjectStore {
  public:
    virtual ~ObjectStore() = default;

    virtual Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string& name) = 0;
    // Bytes that were there: fewer than asked for at the object's end. ENOENT in system_errno when
    // there is no such object.
    virtual Result<std::size_t> get_range(const std::string& name, std::uint64_t offset_bytes,
                                          MutableByteSpan into) = 0;
    // Nothing when there is none.
    virtual Result<std::optional<std::uint64_t>> size(const std::string& name) = 0;
    // These will be read soon: a store that is far away fetches them at once, as far as they are
    // small.
    virtual void expect(std::span<const std::string> /*names*/) {}
    // The next read of it is to come from where it is stored, not from a cache on the way, as far
    // as this store can help it.
    virtual void forget(const std::string& /*name*/) {}
    // Of one folder ("log/data/"), in the order of their names.
    virtual Result<std::vector<ObjectInfo>> list(const std::string& folder) = 0;
    // The folders in it, by their last part.
    virtual Result<std::vector<std::string>> list_folders(const std::string& folder) = 0;
    // All removals are durable when it returns; what is not there counts as removed.
    virtual Status remove(std::span<const std::string> names) = 0;
    // kBusy when it is held otherwise. Names without an object can be held too.
    virtual Result<std::unique_ptr<ObjectHold>> hold(const std::string& name, HoldKind kind) = 0;
    // Uploads that were never committed, and what else a crash left of this store's own: bytes
    // given back.
    virtual Result<std::uint64_t> sweep() = 0;

    // A small object in one call. False when the name is taken.
    Result<bool> put_if_absent(const std::string& name, ByteSpan bytes) {
        const auto upload = TRY(begin_put(name));
        TRY_STATUS(upload->write(0, bytes));
        return upload->commit(bytes.size());
    }
};

}  // namespace towline
