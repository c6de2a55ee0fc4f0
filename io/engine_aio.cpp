// SPDX-License-Identifier: Apache-2.0
// The engine over libaio: still to come.

#include "io/engine_backends.hpp"

namespace towline {

Result<std::unique_ptr<IoEngine>> make_aio_engine(std::string why) {
    return fail(Code::kUnsupported, "the libaio engine is not built in; " + why);
}

}  // namespace towline
