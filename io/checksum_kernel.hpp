// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace towline {

// Private to io/: the hash, built once for each width of vectors; checksum.cpp picks one when the
// program starts. Only plain types here, and nothing inline: a function that the linker shares
// between files must not come from one that was built for a newer processor.
struct HashKernel {
    struct Words {
        std::uint64_t low;
        std::uint64_t high;
    };
    Words (*hash)(const void* block, std::size_t size, const void* secret, std::size_t secret_size);
    // The same and the CRC-32C that continues from `crc`, in one pass through memory.
    Words (*hash_and_crc)(const void* block, std::size_t size, const void* secret,
                          std::size_t secret_size, std::uint32_t* crc);
};

extern const HashKernel kHashKernelBaseline;
extern const HashKernel kHashKernelAvx2;
extern const HashKernel kHashKernelAvx512;

}  // namespace towline
