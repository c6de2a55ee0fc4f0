// SPDX-License-Identifier: Apache-2.0
// The choice of an engine. io_uring can be missing (old kernels), switched off (the sysctl
// io_uring_disabled) or forbidden (seccomp in containers); none of that may keep a run from
// working, but a person is told, since libaio costs more CPU.

#include "io/engine_backends.hpp"

namespace towline {

Result<std::unique_ptr<IoEngine>> make_engine(EngineKind kind) {
    if (kind == EngineKind::kAio) return make_aio_engine({});
    auto uring = make_uring_engine();
    if (uring || kind == EngineKind::kUring) return uring;
    return make_aio_engine(uring.error().text() + "; using libaio instead");
}

}  // namespace towline
