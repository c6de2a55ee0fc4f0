// SPDX-License-Identifier: Apache-2.0
// Words come before the environment, and that before what systemd hands over: what was said for
// this one command counts for it alone.

#include "tools/towline/key_words.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>

#include "tools/towline/passphrase_prompt.hpp"

namespace towline {

namespace {

namespace fs = std::filesystem;

std::optional<fs::path> named_by(const char* variable) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nothing here changes the environment
    const char* text = std::getenv(variable);
    if (text == nullptr || *text == '\0') return std::nullopt;
    return fs::path(text);
}

std::optional<fs::path> credential(const char* name) {
    const auto folder = named_by("CREDENTIALS_DIRECTORY");
    std::error_code error;
    if (!folder || !fs::exists(*folder / name, error)) return std::nullopt;
    return *folder / name;
}

void add(std::vector<fs::path>& paths, std::optional<fs::path> path) {
    // Read again, maybe, when the process has gone elsewhere.
    if (path) paths.push_back(fs::absolute(*path));
}

// A command that opens a vault twice asks once.
class Asked {
  public:
    explicit Asked(PassphrasePrompt prompt) : prompt_(std::move(prompt)) {}

    Result<Secret> answer(const std::string& question) {
        auto known = answers_.find(question);
        if (known == answers_.end())
            known = answers_.emplace(question, TRY(prompt_.ask(question))).first;
        return Secret::copy_of(known->second.bytes());
    }

  private:
    PassphrasePrompt prompt_;
    std::map<std::string, Secret> answers_;
};

}  // namespace

void add_key_options(CLI::App& command, KeyWords& words) {
    command
        .add_option("--key-file", words.key_files,
                    "what opens the encrypted vault: a file of 32 random bytes or more that its "
                    "owner alone may read; may be given several times (also: TOWLINE_KEY_FILE)")
        ->type_name("FILE");
    command
        .add_option(
            "--passphrase-file", words.passphrase_files,
            "a file whose first line is the vault's passphrase (also: TOWLINE_PASSPHRASE_FILE)")
        ->type_name("FILE");
}

KeySource key_source(const KeyWords& words) {
    KeySource source;
    for (const std::string& each : words.key_files)
        add(source.key_files, each);
    for (const std::string& each : words.passphrase_files)
        add(source.passphrase_files, each);
    source.demanded = !source.empty();
    if (source.demanded) return source;
    add(source.key_files, named_by("TOWLINE_KEY_FILE"));
    add(source.passphrase_files, named_by("TOWLINE_PASSPHRASE_FILE"));
    if (source.empty()) {
        add(source.key_files, credential("towline.vault-key"));
        add(source.passphrase_files, credential("towline.vault-passphrase"));
    }
    if (!source.empty()) return source;
    if (auto prompt = PassphrasePrompt::open())
        source.ask = [asked = std::make_shared<Asked>(std::move(*prompt))](
                         const std::string& text) { return asked->answer(text); };
    return source;
}

namespace {

Result<Secret> ask_new_passphrase(const std::string& prompt) {
    const auto terminal = PassphrasePrompt::open();
    if (!terminal) {
        return fail(Code::kInvalid,
                    "there is no terminal to ask for a passphrase on; name a file: --key-file or "
                    "--passphrase-file");
    }
    Secret first = TRY(terminal->ask(prompt));
    const Secret second = TRY(terminal->ask("the same again: "));
    if (!std::ranges::equal(first.bytes(), second.bytes()))
        return fail(Code::kRefused, "the two passphrases differ; nothing was changed");
    return first;
}

}  // namespace

Result<NewKey> new_key(const KeySource& source, const std::string& prompt) {
    const std::size_t named = source.key_files.size() + source.passphrase_files.size();
    if (named > 1)
        return fail(Code::kInvalid, "name one key file or one passphrase file, not several");
    if (!source.key_files.empty())
        return NewKey{KeyKind::kKeyFile, TRY(read_key_file(source.key_files.front()))};
    if (!source.passphrase_files.empty())
        return NewKey{KeyKind::kPassphrase,
                      TRY(read_passphrase_file(source.passphrase_files.front()))};
    return NewKey{KeyKind::kPassphrase, TRY(ask_new_passphrase(prompt))};
}

}  // namespace towline
