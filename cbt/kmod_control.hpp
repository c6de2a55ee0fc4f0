// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <string>

#include "io/fd.hpp"
#include "io/result.hpp"
#include "io/uuid.hpp"
#include "kmod/uapi/towline.h"

namespace towline {

// /dev/towline-control: the module's requests as Results. What the module says by an errno is told
// as what it means to whoever asked.
class KmodControl {
  public:
    // kUnsupported with the reason and the remedy where there is no module to talk to.
    static Result<KmodControl> open();

    bool has(std::uint64_t feature) const { return (features_ & feature) != 0; }

    // `what`: "attaching /dev/vda", for the text of an Error. Sets the request's size.
    template <typename Request>
    Status call(unsigned long code, Request& request, const std::string& what) const {
        request.size = sizeof request;
        return call_raw(code, &request, what);
    }

  private:
    KmodControl() = default;
    Status call_raw(unsigned long code, void* request, const std::string& what) const;

    Fd fd_;
    std::uint64_t features_ = 0;
};

inline towline_uuid to_kernel(const Uuid& uuid) {
    towline_uuid kernel{};
    static_assert(sizeof kernel.bytes == sizeof uuid.bytes);
    std::memcpy(kernel.bytes, uuid.bytes.data(), sizeof kernel.bytes);
    return kernel;
}

inline Uuid from_kernel(const towline_uuid& kernel) {
    Uuid uuid;
    std::memcpy(uuid.bytes.data(), kernel.bytes, sizeof kernel.bytes);
    return uuid;
}

}  // namespace towline
