// SPDX-License-Identifier: Apache-2.0
// `towline completion SHELL`: a script made from the commands as they are, so that it can't be
// behind them. zsh takes the one of bash by its own bashcompinit.

#include <cstdio>

#include <CLI/CLI.hpp>

#include "tools/towline/commands.hpp"

namespace towline {

namespace {

constexpr const char* kZshBegin =
    "autoload -Uz compinit bashcompinit && compinit -u && bashcompinit\n";
// As far as words name a command beneath the one before, they are followed.
constexpr const char* kFunction = R"shell(_towline() {
    local current=${COMP_WORDS[COMP_CWORD]} at=towline word
    for word in "${COMP_WORDS[@]:1:$((COMP_CWORD - 1))}"; do
        [[ -n $(_towline_words "$at $word") ]] && at="$at $word"
    done
    COMPREPLY=($(compgen -W "$(_towline_words "$at")" -- "$current"))
}
complete -o default -F _towline towline
)shell";

std::string words_of(const CLI::App& command) {
    std::string words;
    for (const CLI::App* each : command.get_subcommands({}))
        words += each->get_name() + " ";
    for (const CLI::Option* option : command.get_options()) {
        if (option->get_group().empty()) continue;  // hidden
        for (const std::string& name : option->get_lnames())
            words += "--" + name + " ";
    }
    words.pop_back();  // --help is always there
    return words;
}

void add_table(const CLI::App& command, const std::string& path, std::string& table) {
    table += "        '" + path + "') echo '" + words_of(command) + "' ;;\n";
    for (const CLI::App* each : command.get_subcommands({}))
        add_table(*each, path + " " + each->get_name(), table);
}

}  // namespace

void add_completion_command(CLI::App& app, std::function<int()>& run) {
    auto shell = std::make_shared<std::string>();
    CLI::App* command =
        app.add_subcommand("completion", "A script that completes these commands in a shell.");
    command->add_option("SHELL", *shell, "bash or zsh")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh"}));
    command->callback([shell, &app, &run] {
        run = [shell, &app] {
            std::string table;
            add_table(app, "towline", table);
            std::printf("%s_towline_words() {\n    case $1 in\n%s    esac\n}\n%s",
                        *shell == "zsh" ? kZshBegin : "", table.c_str(), kFunction);
            return 0;
        };
    });
}

}  // namespace towline
