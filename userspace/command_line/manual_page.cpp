// SPDX-License-Identifier: Apache-2.0
// Manual pages say of commands and options what --help says of them, because it is made from the
// same description; what else a page has is prose in docs/man. The same program writes the same
// bytes each time: nothing is ordered by where it lies in memory.

#include "userspace/command_line/manual_page.hpp"

#include <algorithm>
#include <cstdio>
#include <vector>

#include <CLI/CLI.hpp>

namespace towline {

namespace {

using Items = std::vector<std::string>;

void replace_all(std::string& text, const std::string& what, const std::string& with) {
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
        text.replace(at, what.size(), with);
}

std::string joined(const Items& items, const std::string& between) {
    std::string text;
    for (const std::string& each : items)
        text += (text.empty() ? "" : between) + each;
    return text;
}

// As roff reads it back: a sentence a line, and nothing of it is a request.
std::string prose(std::string text) {
    replace_all(text, "\\", "\\e");
    replace_all(text, "…", "...");
    replace_all(text, "`", "\\(ga");
    replace_all(text, "--", "\\-\\-");
    for (std::size_t at = 0; (at = text.find(". ", at)) != std::string::npos; ++at)
        if (at + 2 < text.size() && std::isupper(static_cast<unsigned char>(text[at + 2])) != 0)
            text[at + 1] = '\n';
    if (text.starts_with('.') || text.starts_with('\'')) text.insert(0, "\\&");
    return text + (text.ends_with('.') ? "\n" : ".\n");
}

// "SIZE" of "SIZE:INT in [1 - 16]": what CLI11 says of checks comes behind it.
std::string placeholder(const CLI::Option& option) {
    const std::string type = option.get_type_name();
    return type.substr(0, type.find(':'));
}

std::string tag_of(const CLI::Option& option) {
    const std::string many = option.get_expected_max() > 1 ? " ..." : "";
    if (option.get_positional()) {
        const std::string& words = option.get_option_text();
        return ".It Ar " + option.get_name(true) + (words.empty() ? many : " " + words) + "\n";
    }
    Items names;
    for (const std::string& each : option.get_snames())
        names.push_back("Fl " + each);
    for (const std::string& each : option.get_lnames())
        names.push_back("Fl -" + each);
    const bool takes = option.get_items_expected_max() > 0;
    return ".It " + joined(names, " , ") + (takes ? " Ar " + placeholder(option) + many : "") +
           "\n";
}

// "one of kmod, bpf", "1 to 16"
void note_checks(const CLI::Option& option, Items& notes) {
    const std::string type = option.get_type_name();
    const auto between = [&](const char* from, const char* to) {
        const std::size_t begin = type.find(from);
        if (begin == std::string::npos) return std::string();
        const std::size_t at = begin + std::char_traits<char>::length(from);
        return type.substr(at, type.find(to, at) - at);
    };
    std::string choices = between(":{", "}"), range = between(" in [", "]");
    replace_all(choices, ",", ", ");
    replace_all(range, " - ", " to ");
    if (!choices.empty()) notes.push_back("one of " + choices);
    if (!range.empty()) notes.push_back(range);
}

void note_others(const char* relation, const std::set<CLI::Option*>& others, Items& notes) {
    Items names;
    for (const CLI::Option* each : others)
        names.push_back(each->get_name());
    std::ranges::sort(names);
    if (!names.empty()) notes.push_back(relation + joined(names, ", "));
}

std::string item_of(const CLI::Option& option) {
    Items notes;
    note_checks(option, notes);
    if (option.get_required() && !option.get_positional()) notes.push_back("required");
    if (const std::string value = option.get_default_str(); !value.empty())
        notes.push_back("default " + value);
    if (!option.get_envname().empty()) notes.push_back("or the variable " + option.get_envname());
    note_others("with ", option.get_needs(), notes);
    note_others("not with ", option.get_excludes(), notes);
    const std::string& text = option.get_description();
    return tag_of(option) + prose(notes.empty() ? text : text + " (" + joined(notes, "; ") + ")");
}

// But --help of commands: the program tells of it.
Items items_of(const CLI::App& command) {
    Items items;
    const auto shown = [&](const CLI::Option* option) {
        const bool said = option == command.get_help_ptr() && command.get_parent() != nullptr;
        return !option->get_group().empty() && !said;
    };
    for (const bool positional : {true, false})
        for (const CLI::Option* option : command.get_options(shown))
            if (option->get_positional() == positional) items.push_back(item_of(*option));
    return items;
}

std::string list_of(const Items& items) {
    return items.empty() ? "" : ".Bl -tag -width Ds\n" + joined(items, "") + ".El\n";
}

std::string heading(const CLI::App& command, const std::string& path) {
    std::string line = ".Ss " + path;
    for (const CLI::Option* option : command.get_options())
        if (option->get_positional()) {
            const std::string tag = tag_of(*option);
            line += tag.substr(6, tag.size() - 7);
        }
    return line + "\n" + prose(command.get_description());
}

bool has(const Items& items, const std::string& item) {
    return std::ranges::find(items, item) != items.end();
}

// Of a group: what all of its commands have.
Items common_items(const CLI::App& command) {
    const auto inner = command.get_subcommands({});
    if (inner.empty()) return items_of(command);
    Items items = common_items(*inner.front());
    for (const CLI::App* each : inner)
        std::erase_if(items, [others = common_items(*each)](const std::string& item) {
            return !has(others, item);
        });
    return items;
}

// What a group has said its commands do not say again.
void add_commands(const CLI::App& parent, const std::string& path, const Items& said,
                  std::string& page) {
    for (const CLI::App* command : parent.get_subcommands({})) {
        const std::string name = path + " " + command->get_name();
        const std::size_t inner = command->get_subcommands({}).size();
        Items items = inner == 1 ? Items() : common_items(*command);
        std::erase_if(items, [&](const std::string& item) { return has(said, item); });
        page += heading(*command, name);
        if (inner > 1 && !items.empty()) page += "All of its commands take\n";
        page += list_of(items);
        items.insert(items.end(), said.begin(), said.end());
        if (inner > 0) add_commands(*command, name, items, page);
    }
}

}  // namespace

std::string manual_commands(const CLI::App& app) {
    std::string page = list_of(items_of(app));
    add_commands(app, app.get_name(), {}, page);
    return page;
}

void add_manual_flag(CLI::App& app) {
    const auto print = [&app] {
        std::printf("%s", manual_commands(app).c_str());
        throw CLI::Success();
    };
    app.add_flag_callback("--manual", print)->group("");
}

}  // namespace towline
