// SPDX-License-Identifier: Apache-2.0
#pragma once

// Little-endian fields of every format of ours, wire and disk. A reader never goes past its end: it
// turns bad instead, gives zeros from then on, and is asked once, after the last field.

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace towline {

using ByteSpan = std::span<const std::byte>;
using MutableByteSpan = std::span<std::byte>;

static_assert(std::endian::native == std::endian::little,
              "formats are written as the host stores them");

template <std::unsigned_integral T>
void store_le(std::byte* at, T value) {
    std::memcpy(at, &value, sizeof value);
}

template <std::unsigned_integral T>
T load_le(const std::byte* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

class ByteWriter {
  public:
    template <std::unsigned_integral T>
    ByteWriter& put(T value) {
        const std::size_t at = bytes_.size();
        bytes_.resize(at + sizeof value);
        store_le(bytes_.data() + at, value);
        return *this;
    }
    ByteWriter& put_bytes(ByteSpan bytes) {
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    // A length of 16 bits, then the bytes.
    ByteWriter& put_string(std::string_view text) {
        put(static_cast<std::uint16_t>(text.size()));
        return put_bytes(std::as_bytes(std::span(text)));
    }
    std::vector<std::byte> take() { return std::move(bytes_); }
    const std::vector<std::byte>& bytes() const { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

class ByteReader {
  public:
    explicit ByteReader(ByteSpan bytes) : rest_(bytes) {}

    template <std::unsigned_integral T>
    T get() {
        T value{};
        const ByteSpan raw = get_bytes(sizeof value);
        if (raw.size() == sizeof value) std::memcpy(&value, raw.data(), sizeof value);
        return value;
    }
    ByteSpan get_bytes(std::size_t count) {
        if (bad_ || count > rest_.size()) {
            bad_ = true;
            return {};
        }
        const ByteSpan taken = rest_.first(count);
        rest_ = rest_.subspan(count);
        return taken;
    }
    std::string get_string(std::size_t length_max) {
        const auto length = get<std::uint16_t>();
        if (length > length_max) bad_ = true;
        const ByteSpan raw = get_bytes(length);
        return {reinterpret_cast<const char*>(raw.data()), raw.size()};
    }
    std::size_t rest_bytes() const { return rest_.size(); }
    bool bad() const { return bad_; }
    // True when every field was there and nothing is left over.
    bool finished() const { return !bad_ && rest_.empty(); }

  private:
    ByteSpan rest_;
    bool bad_ = false;
};

}  // namespace towline
