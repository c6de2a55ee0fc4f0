// SPDX-License-Identifier: Apache-2.0
// A header and a block table as a peer sends them. Both once as they are and once with the header's
// CRC made right, so that the fuzzer gets past it: refused, or within all bounds and encoded to the
// same bytes again.

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "io/check.hpp"
#include "io/checksum.hpp"
#include "transport/frame.hpp"

namespace {

using namespace towline;

void decode_header(const std::vector<std::byte>& raw) {
    const auto header = FrameHeader::decode(raw);
    if (!header) {
        CHECK(header.error().code == Code::kProtocol || header.error().code == Code::kCorrupt);
        return;
    }
    CHECK(header->head_bytes <= wire::kHeadBytesMax);
    CHECK(header->payload_bytes <= wire::kPayloadBytesMax);
    CHECK(header->payload_bytes == 0 || header->type == wire::FrameType::kData);
    std::vector<std::byte> again(wire::kHeaderBytes);
    header->encode(again);
    CHECK(again == raw);
}

void decode_table(ByteSpan head, std::uint32_t payload_bytes) {
    static DataHead table;
    const Status status = DataHead::decode(head, payload_bytes, table);
    if (!status) {
        CHECK(status.error().code == Code::kProtocol);
        return;
    }
    CHECK(table.block_count > 0 && table.payload_bytes() == payload_bytes && payload_bytes > 0);
    CHECK(std::uint64_t{table.block_count} * table.block_bytes <= wire::kPayloadBytesMax);
    std::uint64_t end_bytes = 0;
    std::size_t block_count = 0;
    for (const DataExtent& extent : std::span(table.extents).first(table.extent_count)) {
        CHECK(extent.count > 0 && extent.offset_bytes >= end_bytes);
        end_bytes = extent.offset_bytes + std::uint64_t{extent.count} * table.block_bytes;
        CHECK(end_bytes > extent.offset_bytes);
        block_count += extent.count;
    }
    CHECK(block_count == table.block_count);
    for (std::size_t i = 0; i < table.block_count; ++i)
        CHECK(table.blocks[i].stored_bytes <= table.block_bytes);
    std::vector<std::byte> again(table.encoded_bytes());
    table.encode(again);
    CHECK(std::ranges::equal(again, head));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteSpan input(reinterpret_cast<const std::byte*>(data), size);
    if (size >= wire::kHeaderBytes) {
        std::vector<std::byte> raw(input.begin(), input.begin() + wire::kHeaderBytes);
        decode_header(raw);
        store_le(&raw[36], crc32c(ByteSpan(raw).first(36)));
        decode_header(raw);
    }
    if (size < 4) return 0;
    const auto payload_bytes = load_le<std::uint32_t>(input.data());
    decode_table(input.subspan(4), payload_bytes);
    return 0;
}
