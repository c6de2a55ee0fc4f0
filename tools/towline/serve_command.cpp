// SPDX-License-Identifier: Apache-2.0
// `towline serve`: a target daemon in the foreground. SIGTERM and SIGINT end it in order: sessions
// are told, their runs stay resumable.

#include <atomic>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <pthread.h>
#include <sys/socket.h>
#include <thread>

#include "io/durable_file.hpp"
#include "tools/towline/commands.hpp"
#include "tools/towline/exit_codes.hpp"
#include "tools/towline/key_words.hpp"
#include "userspace/engine/target_finish.hpp"
#include "userspace/engine/target_place.hpp"
#include "userspace/engine/target_safety.hpp"
#include "userspace/engine/target_server.hpp"
#include "userspace/vault/object_session.hpp"
#include "userspace/vault/served_store.hpp"

namespace towline {

namespace {

struct ServeOptions {
    std::vector<std::string> listen;
    std::string root;
    std::string vault;
    KeyWords keys;
    std::string state_dir;
    std::string journal;
    std::string engine = "auto";
    double timeout_seconds = 30;
    bool quiet = false;
};

const std::map<std::string, EngineKind> kEngines{
    {"auto", EngineKind::kAuto}, {"uring", EngineKind::kUring}, {"aio", EngineKind::kAio}};

void say(const std::string& line) {
    static std::mutex mutex;
    const std::lock_guard lock(mutex);
    std::fprintf(stderr, "%s\n", line.c_str());
}

sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

// What sources may name; either may be missing.
struct Offer {
    std::unique_ptr<TargetPlace> place;
    std::shared_ptr<Vault> vault;
    // Of a vault that is encrypted: for hosts that have its key themselves.
    std::shared_ptr<ObjectStore> objects;
};

// An encrypted vault is served without its key too: then to hosts that have it, and to no other.
Status offer_vault(const ServeOptions& options, Offer& offer) {
    const KeySource keys = key_source(options.keys);
    VaultOutside outside = TRY(VaultOutside::look(options.vault));
    const bool encrypted = outside.config.encryption.has_value();
    if (encrypted) offer.objects = outside.stored;
    if (encrypted && keys.empty()) return {};
    offer.vault = TRY(Vault::open(std::move(outside), keys));
    return {};
}

// A replica is used without its source: what was staged whole is applied though nobody comes again.
// One that cannot be is said, and keeps no other from being served.
void finish_replicas(const ServeOptions& options, const TargetPlace& place) {
    const auto names = FileTargetStore::unapplied(options.state_dir);
    if (!names) return say("towline serve: " + names.error().text());
    for (const std::string& name : *names) {
        FileTargetStore store(options.state_dir, place, {}, options.journal);
        const auto done = finish_target(store, name, kEngines.at(options.engine));
        say(done ? name + ": the run that was staged is applied"
                 : name + ": " + done.error().text());
    }
}

Status serve_until_signal(const ServeOptions& options, const Offer& offer) {
    std::vector<Listener> listeners;
    for (const std::string& text : options.listen) {
        const Address address = TRY(Address::parse(text));
        listeners.push_back(TRY(Listener::open(address)));
    }
    TargetServer::Config config;
    config.open_store = [&](const TargetServer::Claim& claim) {
        std::unique_ptr<TargetStore> volumes;
        if (offer.place)
            volumes = std::make_unique<FileTargetStore>(options.state_dir, *offer.place, claim,
                                                        options.journal);
        return std::make_unique<ServedStore>(
            std::move(volumes), offer.vault, options.vault, claim,
            [&options](const Uuid& source, const Standing& standing) {
                return refuse_if_stored_on(source, standing, options.vault);
            });
    };
    if (offer.objects) {
        config.serve_objects = [&](Fd socket) {
            return ObjectSession(offer.objects, std::move(socket)).run();
        };
    }
    config.engine = kEngines.at(options.engine);
    config.pipeline.silence_max = std::chrono::duration_cast<Duration>(
        std::chrono::duration<double>(options.timeout_seconds));
    if (!options.quiet) config.log = say;
    TargetServer server(config);
    std::vector<std::thread> acceptors;
    for (Listener& listener : listeners) {
        // What a program that started us waits for; the port stands in it when 0 was asked for.
        say("listening on " + listener.address().text());
        acceptors.emplace_back([&] {
            const Status served = server.serve(listener);
            if (!served) say("towline serve: " + served.error().text());
        });
    }
    const sigset_t set = ending_signals();
    int received = 0;
    sigwait(&set, &received);
    for (Listener& listener : listeners)
        ::shutdown(listener.fd(), SHUT_RDWR);
    for (std::thread& acceptor : acceptors)
        acceptor.join();
    return {};
}

Status serve(ServeOptions options) {
    const sigset_t set = ending_signals();
    pthread_sigmask(SIG_BLOCK, &set,
                    nullptr);  // before any thread: all inherit it, one waits for it
    Offer offer;
    if (!options.root.empty()) {
        RootFolder root = TRY(RootFolder::open(options.root));
        if (options.state_dir.empty()) options.state_dir = (root.path() / ".towline").string();
        TRY_STATUS(make_folder(options.state_dir));
        offer.place = place_beneath(std::move(root));
    }
    if (offer.place) finish_replicas(options, *offer.place);
    if (!options.vault.empty()) TRY_STATUS(offer_vault(options, offer));
    if (!offer.place && !offer.vault && !offer.objects)
        return fail(Code::kInvalid, "nothing to receive into: say --root DIR, --vault DIR or both");
    return serve_until_signal(options, offer);
}

}  // namespace

void add_serve_command(CLI::App& app, std::function<int()>& run) {
    auto options = std::make_shared<ServeOptions>();
    CLI::App* command = app.add_subcommand(
        "serve", "Receives replicas into a folder of images and device nodes, or a vault.");
    command
        ->add_option("--listen", options->listen,
                     "tcp://HOST:PORT or unix:PATH; may be given several times")
        ->type_name("ADDRESS")
        ->required();
    command
        ->add_option("--root", options->root,
                     "the folder beneath which targets lie; no name leads out of it")
        ->type_name("DIR");
    command
        ->add_option("--vault", options->vault,
                     "the vault that has the targets vault:NAME (towline vault init); at least one "
                     "of --root and this")
        ->type_name("DIR");
    add_key_options(*command, options->keys);
    command
        ->add_option("--state-dir", options->state_dir,
                     "where records are kept (default: ROOT/.towline)")
        ->type_name("DIR");
    command
        ->add_option("--journal", options->journal,
                     "the folder where runs are staged (default: that of --state-dir)")
        ->type_name("DIR");
    command
        ->add_option("--engine", options->engine,
                     "how disks are asked; auto: io_uring where it works")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "uring", "aio"}))
        ->capture_default_str();
    command
        ->add_option("--timeout", options->timeout_seconds, "seconds that a source may stay silent")
        ->type_name("SECONDS")
        ->check(CLI::Range(2.0, 3600.0))
        ->capture_default_str();
    command->add_flag("--quiet", options->quiet, "do not report sessions");
    command->callback([options, &run] {
        run = [options] {
            const Status served = serve(*options);
            if (served) return 0;
            std::fprintf(stderr, "towline serve: %s\n", served.error().text().c_str());
            return exit_code(served.error().code);
        };
    });
}

}  // namespace towline
