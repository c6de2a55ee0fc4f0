// SPDX-License-Identifier: Apache-2.0
// Files first, in the order in which they were named, then a person. Each is tried against each
// wrap of its kind: which one it is stands nowhere.

#include "userspace/vault/key_source.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/fd.hpp"

namespace towline {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kFileBytesMax = std::size_t{64} << 10;

// A credential of systemd is read by its group at the most.
Status check_owner(const struct stat& status, const fs::path& path) {
    if (!S_ISREG(status.st_mode) || (status.st_mode & 0027) == 0) return {};
    return fail(Code::kRefused, "others than its owner may read or write " + path.string() +
                                    "; chmod 600 it, and draw a new key if somebody did");
}

Result<Secret> read_secret(const fs::path& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0)
        return fail_errno("cannot read the key in " + path.string());
    TRY_STATUS(check_owner(status, path));
    Secret secret(kFileBytesMax + 1);
    std::size_t got = 0;
    while (got < secret.bytes().size()) {
        const auto rest = secret.bytes().subspan(got);
        const ssize_t some = ::read(file.get(), rest.data(), rest.size());
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) return fail_errno("cannot read the key in " + path.string());
        if (some == 0) break;
        got += static_cast<std::size_t>(some);
    }
    if (got > kFileBytesMax) {
        return fail(Code::kRefused, path.string() + " is no key: it has more than " +
                                        std::to_string(kFileBytesMax) + " bytes");
    }
    secret.shorten(got);
    return secret;
}

Result<std::optional<UnlockedKey>> try_wraps(const VaultEncryption& encryption, const Uuid& vault,
                                             KeyKind kind, const Secret& by) {
    for (const KeyWrap& each : encryption.wraps) {
        if (each.kind != kind) continue;
        auto key = TRY(each.unwrap(by.bytes(), vault));
        if (key) return std::optional(UnlockedKey{std::move(*key), each.id});
    }
    return std::optional<UnlockedKey>();
}

bool has(const VaultEncryption& encryption, KeyKind kind) {
    return std::ranges::any_of(encryption.wraps,
                               [&](const KeyWrap& each) { return each.kind == kind; });
}

}  // namespace

Result<Secret> read_key_file(const fs::path& path) {
    Secret key = TRY(read_secret(path));
    if (key.bytes().size() < kKeyBytes) {
        return fail(Code::kRefused, path.string() + " has less than " + std::to_string(kKeyBytes) +
                                        " bytes; make a key file with: head -c 32 /dev/urandom");
    }
    return key;
}

Result<Secret> read_passphrase_file(const fs::path& path) {
    Secret text = TRY(read_secret(path));
    const auto end = std::ranges::find(text.bytes(), std::byte{'\n'});
    text.shorten(static_cast<std::size_t>(end - text.bytes().begin()));
    if (text.empty()) return fail(Code::kRefused, path.string() + " has no passphrase");
    return text;
}

Result<UnlockedKey> unlock(const VaultEncryption& encryption, const Uuid& vault,
                           const KeySource& source, const std::string& what) {
    if (source.empty()) {
        return fail(Code::kRefused, what +
                                        " is encrypted; name what opens it: --key-file or "
                                        "--passphrase-file");
    }
    for (const fs::path& each : source.key_files) {
        const Secret by = TRY(read_key_file(each));
        auto key = TRY(try_wraps(encryption, vault, KeyKind::kKeyFile, by));
        if (key) return std::move(*key);
    }
    for (const fs::path& each : source.passphrase_files) {
        const Secret by = TRY(read_passphrase_file(each));
        auto key = TRY(try_wraps(encryption, vault, KeyKind::kPassphrase, by));
        if (key) return std::move(*key);
    }
    if (source.ask && has(encryption, KeyKind::kPassphrase)) {
        const Secret text = TRY(source.ask("passphrase of " + what + ": "));
        auto key = TRY(try_wraps(encryption, vault, KeyKind::kPassphrase, text));
        if (key) return std::move(*key);
        return fail(Code::kRefused, "this is no passphrase of " + what);
    }
    return fail(Code::kRefused, "no key or passphrase that was given opens " + what +
                                    "; see: towline vault key list");
}

}  // namespace towline
