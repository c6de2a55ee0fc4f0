// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "transport/socket.hpp"
#include "userspace/engine/name_claims.hpp"
#include "userspace/engine/target_session.hpp"

namespace towline {

// What `towline serve` is: sources connect, each session runs on a thread of its own, connections
// that join find theirs by token, and a new session of a source ends the old one of the same source
// and target.
class TargetServer {
  public:
    // Ends an earlier session of the same source, or says kBusy.
    using Claim = std::function<Status(const std::string& name, const Uuid& source, bool dry_run)>;

    struct Config {
        // The store of a session.
        std::function<std::unique_ptr<TargetStore>(Claim)> open_store;
        // Serves a connection that asks for objects of a vault, until its other side goes or it is
        // shut down; null: none are kept here.
        std::function<Status(Fd)> serve_objects;
        EngineKind engine = EngineKind::kAuto;
        TargetPipeline::Config pipeline;
        std::size_t sessions_max = 64;
        std::function<void(const std::string&)> log = [](const std::string&) {};
    };

    explicit TargetServer(Config config);
    // Ends all sessions and waits for them.
    ~TargetServer();

    // Accepts until the listener is shut down.
    Status serve(Listener& listener);

  private:
    struct Session;

    void serve_connection(Session& session, Fd socket);
    void greet(Session& session, Fd socket);
    void run_session(Session& session, Fd socket);
    void run_objects(Session& session, Fd socket);
    bool hand_over(const Uuid& token, Fd& socket);
    Status claim(Session& session, const std::string& name, const Uuid& source, bool dry_run);
    void end_session(NameClaims::Session number);
    void reap();

    Config config_;
    ArenaShelf shelf_;
    std::mutex mutex_;
    std::condition_variable claims_changed_;
    NameClaims claims_;                             // under mutex_
    std::list<std::unique_ptr<Session>> sessions_;  // under mutex_
    bool closing_ = false;                          // under mutex_
};

}  // namespace towline
