// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "io/fd.hpp"
#include "io/result.hpp"
#include "userspace/vault/secret.hpp"

namespace towline {

// The terminal of whoever started this command.
class PassphrasePrompt {
  public:
    // Nothing when the command's input is no terminal: a program started it.
    static std::optional<PassphrasePrompt> open();

    // One line, that is not shown. kCancelled on Ctrl-C.
    Result<Secret> ask(const std::string& prompt) const;

  private:
    explicit PassphrasePrompt(Fd terminal) : terminal_(std::move(terminal)) {}

    Fd terminal_;
};

}  // namespace towline
