// SPDX-License-Identifier: Apache-2.0
// The typed fields of any message, its type in the first byte: refused as a breach of the protocol,
// or a message that encodes to the same bytes again.

#include <algorithm>
#include <cstdint>

#include "io/check.hpp"
#include "transport/messages.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace towline;
    if (size == 0) return 0;
    const auto type = static_cast<wire::FrameType>(data[0] % (wire::kFrameTypeMax + 2));
    const ByteSpan head(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
    const auto message = decode_message(type, head);
    if (!message) {
        CHECK(message.error().code == Code::kProtocol);
        return 0;
    }
    CHECK(type_of(*message) == type);
    CHECK(std::ranges::equal(encode_message(*message), head));
    return 0;
}
