// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>

#include <CLI/CLI.hpp>

namespace towline {

// An option, and the field that it sets: of the body ("schedule/every": within another), or of the
// query.
using ApiField = std::pair<const char*, const char*>;

// Gives options the text that the API's description has for their fields, of an operation's
// request. A field without one is a bug.
void describe_by_api(CLI::App& command, std::string_view operation,
                     std::initializer_list<ApiField> fields);

}  // namespace towline
