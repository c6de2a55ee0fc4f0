// SPDX-License-Identifier: Apache-2.0
// The terminal is read key by key while it echoes nothing, and is as it was before on every way
// out; Ctrl-C is a key like any other meanwhile, so that no signal can leave it silent.

#include "tools/towline/passphrase_prompt.hpp"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

namespace towline {

namespace {

constexpr std::size_t kLineBytesMax = 1024;

class SilentTerminal {
  public:
    explicit SilentTerminal(int fd) : fd_(fd) {
        silent_ = ::tcgetattr(fd_, &before_) == 0;
        if (!silent_) return;
        termios wanted = before_;
        wanted.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | ISIG);
        wanted.c_cc[VMIN] = 1;
        wanted.c_cc[VTIME] = 0;
        silent_ = ::tcsetattr(fd_, TCSAFLUSH, &wanted) == 0;
    }
    ~SilentTerminal() {
        if (silent_) ::tcsetattr(fd_, TCSAFLUSH, &before_);
    }
    SilentTerminal(const SilentTerminal&) = delete;
    SilentTerminal& operator=(const SilentTerminal&) = delete;
    bool silent() const { return silent_; }

  private:
    int fd_;
    termios before_{};
    bool silent_ = false;
};

enum class Key { kText, kEnd, kErase, kEraseAll, kCancel };

Key key_of(unsigned char byte) {
    switch (byte) {
        case '\n':
        case '\r':
        case 4:
            return Key::kEnd;
        case 8:
        case 127:
            return Key::kErase;
        case 21:
            return Key::kEraseAll;
        case 3:
            return Key::kCancel;
        default:
            return Key::kText;
    }
}

}  // namespace

std::optional<PassphrasePrompt> PassphrasePrompt::open() {
    if (::isatty(STDIN_FILENO) == 0) return std::nullopt;
    Fd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
    if (!terminal) return std::nullopt;
    return PassphrasePrompt(std::move(terminal));
}

Result<Secret> PassphrasePrompt::ask(const std::string& prompt) const {
    const SilentTerminal terminal(terminal_.get());
    if (!terminal.silent())
        return fail_errno("the terminal cannot be kept from showing a passphrase");
    (void)!::write(terminal_.get(), prompt.data(), prompt.size());
    Secret line(kLineBytesMax);
    std::size_t length = 0;
    for (;;) {
        unsigned char byte = 0;
        const ssize_t got = ::read(terminal_.get(), &byte, 1);
        if (got < 0 && errno == EINTR) continue;
        const Key key = got == 1 ? key_of(byte) : Key::kCancel;
        if (key == Key::kEnd || key == Key::kCancel) {
            (void)!::write(terminal_.get(), "\n", 1);
            if (key == Key::kCancel) return fail(Code::kCancelled, "no passphrase was given");
            break;
        }
        if (key == Key::kText && length < kLineBytesMax)
            line.bytes()[length++] = static_cast<std::byte>(byte);
        if (key == Key::kErase && length > 0) --length;
        if (key == Key::kEraseAll) length = 0;
    }
    line.shorten(length);
    if (line.empty()) return fail(Code::kRefused, "an empty passphrase opens nothing");
    return line;
}

}  // namespace towline
