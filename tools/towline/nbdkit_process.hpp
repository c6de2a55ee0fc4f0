// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include "tools/towline/service.hpp"
#include "transport/socket.hpp"
#include "userspace/vault/secret.hpp"

namespace towline {

// The server of the field, and a plugin of ours that it loads.
struct NbdkitPrograms {
    std::string server;
    std::string plugin;

    // kUnsupported with the remedy when one of them is missing.
    static Result<NbdkitPrograms> find();
};

struct NbdkitWords {
    std::vector<std::string> plugin_words;  // KEY=VALUE
    bool read_only = true;
    // What a person was asked for, if anybody was. It is given through a pipe.
    Secret passphrase;
};

// A running nbdkit that serves what comes to a listener. It ends when this object, or this process,
// does.
class NbdkitProcess {
  public:
    // Clients are served when it returns. Before threads are made.
    static Result<NbdkitProcess> start(const NbdkitPrograms& programs, const NbdkitWords& words,
                                       const Listener& listener);
    ~NbdkitProcess();
    NbdkitProcess(NbdkitProcess&& other) noexcept;
    NbdkitProcess& operator=(NbdkitProcess&&) = delete;

    pid_t pid() const { return pid_; }
    // Until it has ended. The first signal of `signals` asks it to; the second one ends it, as does
    // a moment's patience with clients that stay.
    Status run(int signals);

  private:
    NbdkitProcess(pid_t pid, Fd ended) : pid_(pid), ended_(std::move(ended)) {}
    int wait();

    pid_t pid_ = -1;  // -1: it has ended
    Fd ended_;        // a pidfd
};

}  // namespace towline
