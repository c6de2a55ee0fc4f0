// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "io/engine.hpp"
#include "io/result.hpp"

namespace towline {

// Private to io/: what make_engine() chooses from.
Result<std::unique_ptr<IoEngine>> make_uring_engine();
// `why` tells a person why this engine and not the other one; it goes into notes().
Result<std::unique_ptr<IoEngine>> make_aio_engine(const std::string& why);

}  // namespace towline
