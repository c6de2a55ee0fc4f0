// SPDX-License-Identifier: Apache-2.0
// Puts a run together: the source volume and its memory, the connection (or the target's thread),
// the engine and the pipeline. No decision about the data is made here.

#include "userspace/engine/sync.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <thread>

#include "io/check.hpp"
#include "io/durable_file.hpp"
#include "io/worker_pool.hpp"
#include "transport/socket.hpp"
#include "userspace/engine/file_source_store.hpp"
#include "userspace/engine/file_target_store.hpp"
#include "userspace/engine/process_use.hpp"
#include "userspace/engine/rounds.hpp"
#include "userspace/engine/source_pipeline.hpp"
#include "userspace/engine/sync_source.hpp"
#include "userspace/engine/target_session.hpp"
#include "userspace/vault/vault_target_store.hpp"

namespace towline {

namespace {

constexpr Duration kConnectTime = 15s;
constexpr std::string_view kServedVault = "vault:";  // a name of a server's vault
constexpr Duration kLockTime = 60s;                  // another run's hooks may be on

// The absolute name of a local target, whether it is there or not: records are kept under it.
Result<std::string> local_name(const std::string& target) {
    std::error_code error;
    // Of what is not there yet, weakly_canonical alone leaves a relative path as it is.
    const auto path =
        std::filesystem::weakly_canonical(std::filesystem::absolute(target, error), error);
    if (error) return fail_errno(error.value(), "cannot resolve the target " + target);
    return path.string();
}

// Where a run goes: to a daemon, into a vault of this host, or onto a volume of this host.
struct WantedTarget {
    std::optional<RemoteTarget> remote;
    std::shared_ptr<Vault> vault;
    std::filesystem::path vault_folder;  // empty: another host keeps it
    std::string point;                   // to compare with; empty: a new one is made
    std::string name;                    // as the target's side is asked for it
    std::string lock_name;               // one run at a time goes there

    bool is_vault() const { return vault != nullptr || name.starts_with(kServedVault); }
};

// A vault that another host keeps, and that is sealed here before anything leaves this one.
// One that was put back from a copy is written to: the run compares.
Result<std::shared_ptr<Vault>> open_kept(const RemoteTarget& target, const KeySource& keys) {
    VaultName name;
    name.server = target.address;
    auto vault = TRY(name.open(keys));
    if (vault->config().dedup) {
        return fail(Code::kRefused,
                    "the vault at " + target.address.text() +
                        " keeps equal blocks once, and a host that only adds to it cannot be told "
                        "which ones stay; let its daemon have the key (towline serve --key-file)");
    }
    return vault;
}

Result<WantedTarget> find_target(const SyncOptions& options) {
    const std::string& text = options.target;
    const bool compare_only = options.compare_only;
    const KeySource& keys = options.keys;
    WantedTarget target;
    // A server's name is one to be written to, unless it is compared with.
    auto name = TRY(compare_only ? VaultName::parse_any(text) : VaultName::parse(text));
    if (name) {
        name->records = options.state_folder;
        if (name->name.empty() || name->point.empty() == compare_only)
            return fail(Code::kInvalid,
                        text + ": write vault:DIR/NAME" + (compare_only ? "@ID" : ""));
        target.vault = TRY(name->open(keys));
        target.vault_folder = name->folder;
        target.point = name->point;
        target.name = name->name;
        target.lock_name =
            name->server ? text : "vault:" + name->folder.string() + "/" + name->name;
        return target;
    }
    target.remote = TRY(RemoteTarget::parse(text));
    target.name = target.remote ? target.remote->name : TRY(local_name(text));
    target.lock_name = target.remote ? text : target.name;
    const bool keyed = keys.demanded || (keys.for_any && !keys.empty());
    if (!target.remote || !keyed || !target.name.starts_with(kServedVault)) return target;
    auto kept = open_kept(*target.remote, keys);
    if (!kept && !keys.demanded && kept.error().code == Code::kRefused) return target;
    target.vault = TRY(std::move(kept));
    target.name = target.name.substr(kServedVault.size());
    target.remote.reset();
    return target;
}

// Whoever names a key believes that it is used.
Status refuse_idle_key(const SyncOptions& options, const WantedTarget& target) {
    const bool used = target.vault ||
                      TRY(VaultName::parse_any(options.sources.front().path.string())).has_value();
    if (!options.keys.demanded || used) return {};
    return fail(
        Code::kRefused,
        "a key was named, and neither side is a vault, so nothing would be encrypted by it");
}

// A server stages where its own `--journal` says, and a vault has no replica to keep whole.
Status refuse_idle_journal(const SyncOptions& options, const WantedTarget& target) {
    if (options.journal_folder.empty() || !(target.vault || target.remote)) return {};
    return fail(Code::kRefused,
                "--journal is for a replica on this host: a server stages in the folder of its own "
                "--journal, and a vault needs none");
}

// The other side of a run within this host: a target session on a thread, over a socket pair.
class LocalTarget {
  public:
    LocalTarget(const SyncOptions& options, const SyncSource& source)
        : place_(
              local_place([&source](const Volume& target) { return source.refuse_same(target); })),
          store_(std::make_unique<FileTargetStore>(options.state_folder / "targets", *place_,
                                                   FileTargetStore::Claim{},
                                                   options.journal_folder)),
          session_(options.engine, {.silence_max = options.silence_max}) {}
    LocalTarget(const SyncOptions& options, const WantedTarget& target)
        : store_(std::make_unique<VaultTargetStore>(
              target.vault, nullptr,
              VaultTargetStore::Compared{.point = target.point, .volume = options.compare_volume})),
          session_(options.engine, {.silence_max = options.silence_max}) {}
    ~LocalTarget() {
        if (thread_.joinable()) thread_.join();
    }

    Result<Fd> connect() {
        auto [ours, theirs] = TRY(connected_pair());
        if (!thread_.joinable()) {
            thread_ = std::thread([this, socket = std::move(theirs)]() mutable {
                // Why it failed is told to the source over the connection.
                static_cast<void>(session_.run(std::move(socket), *store_));
            });
        } else {
            session_.join(std::move(theirs));
        }
        return std::move(ours);
    }

  private:
    std::unique_ptr<TargetPlace> place_;  // of a volume
    std::unique_ptr<TargetStore> store_;
    TargetSession session_;
    std::thread thread_;
};

// What the source's side remembers, of each volume of the run.
class SourceStores {
  public:
    static Result<SourceStores> open(const SyncOptions& options, const SyncSource& source) {
        SourceStores stores;
        const bool read_only = options.dry_run && !options.compare_only;
        for (const VolumeIdentity& each : TRY(source.identities()))
            stores.stores_.push_back(
                TRY(FileSourceStore::open(options.state_folder, each, read_only)));
        return stores;
    }

    const std::vector<FileSourceStore>& all() const { return stores_; }
    FileSourceStore& of_volume(std::size_t place) { return stores_[place]; }
    // In one order, whatever the run's: two runs that share volumes do not wait for each other for
    // ever.
    Result<std::vector<Fd>> lock_tracking() const {
        std::vector<const FileSourceStore*> ordered;
        ordered.reserve(stores_.size());
        for (const FileSourceStore& each : stores_)
            ordered.push_back(&each);
        std::ranges::sort(ordered, {}, [](const auto* each) { return each->source().text(); });
        std::vector<Fd> locks;
        locks.reserve(ordered.size());
        for (const FileSourceStore* each : ordered)
            locks.push_back(TRY(each->lock_tracking(kLockTime)));
        return locks;
    }

  private:
    std::vector<FileSourceStore> stores_;
};

// Tells when the run's changes are durably pending. The plan, and with it the list, is in the first
// map that is saved.
class TellingStore final : public SourceStore {
  public:
    TellingStore(SourceStores& stores, std::function<void()> on_noted)
        : stores_(stores), store_(stores.of_volume(0)), on_noted_(std::move(on_noted)) {}

    Result<MemoryHold> hold(const Uuid& target) override { return store_.hold(target); }
    Result<std::optional<TargetMemory>> load(const Uuid& target) override {
        return store_.load(target);
    }
    Result<std::optional<ChangeMap>> pending(const Uuid& target) override {
        return store_.pending(target);
    }
    Status save(const TargetMemory& memory) override { return store_.save(memory); }
    Status save_begun(const TargetMemory& memory, const ChangeMap& pending) override {
        TRY_STATUS(store_.save_begun(memory, pending));
        on_noted_();
        return {};
    }
    Status save_sealed(const TargetMemory& memory) override { return store_.save_sealed(memory); }
    Result<std::vector<Harvest>> harvests() override { return store_.harvests(); }
    Status save_harvest(const Harvest& harvest) override { return store_.save_harvest(harvest); }
    SourceStore& of_volume(std::size_t place) override { return stores_.of_volume(place); }

  private:
    SourceStores& stores_;
    SourceStore& store_;  // of the first volume
    std::function<void()> on_noted_;
};

// What a volume is called in the point.
std::string name_of(const SourceName& source) {
    if (!source.name.empty()) return source.name;
    std::string name = source.path.filename().string();
    if (name.starts_with('.')) name.front() = '_';
    return name;
}

Result<VolumeLayout> layout_of(const SyncOptions& options, const SyncSource& source,
                               const SourceStores& stores) {
    const auto sizes = source.sizes();
    const bool named = sizes.size() > 1 || !options.sources.front().name.empty();
    if (!named) return VolumeLayout::of_one(stores.all().front().source(), sizes.front());
    std::vector<VolumesMessage::Volume> volumes;
    volumes.reserve(sizes.size());
    for (std::size_t place = 0; place < sizes.size(); ++place)
        volumes.push_back(
            {name_of(options.sources[place]), stores.all()[place].source(), sizes[place]});
    return VolumeLayout::of(volumes);
}

// Declared in the order in which it must be taken down, last first.
struct Run {
    std::unique_ptr<IoEngine> engine;
    std::vector<Fd> sockets;
    std::optional<LocalTarget> local;

    Status begin(const SyncOptions& options, const SyncSource& source, const WantedTarget& target);
    // One more connection to the target.
    Result<Handle> connect(const WantedTarget& target);
};

Status Run::begin(const SyncOptions& options, const SyncSource& source,
                  const WantedTarget& target) {
    engine = TRY(make_engine(options.engine));
    if (target.vault) {
        local.emplace(options, target);
    } else if (!target.remote) {
        TRY_STATUS(make_folder(options.state_folder / "targets"));
        local.emplace(options, source);
    }
    return {};
}

Result<Handle> Run::connect(const WantedTarget& target) {
    sockets.push_back(target.remote ? TRY(connect_to(target.remote->address, kConnectTime))
                                    : TRY(local->connect()));
    return engine->attach(sockets.back().get());
}

// What follows from the options alone.
SourcePipeline::Config make_config(const SyncOptions& options, unsigned workers) {
    SourcePipeline::Config config;
    config.compression = {.codec = options.codec,
                          .level = options.level,
                          .workers = workers,
                          .link_bytes_per_second = options.rate_bytes_per_second};
    config.rate_bytes_per_second = options.rate_bytes_per_second;
    config.rate_now = options.rate_now;
    config.level_now = options.level_now;
    config.verify_now = options.verify_now;
    config.silence_max = options.silence_max;
    config.further_lanes = options.connections - 1;
    config.cancelled = options.cancelled;
    config.on_progress = options.on_progress;
    config.on_alarm = options.on_alarm;
    return config;
}

Result<SourceRequest> make_request(const SyncOptions& options, const SyncSource& volume,
                                   const VolumeLayout& layout) {
    SourceRequest request;
    request.layout = layout;
    request.run = {.kind = options.kind,
                   .resume = options.resume,
                   .direct = options.direct,
                   .overwrite = options.overwrite,
                   .source = layout.parts().front().source,
                   .volume_bytes = layout.size_bytes(),
                   .volumes = layout.text()};
    request.block_bytes = volume.block_bytes().value_or(options.block_bytes);
    request.verify = options.verify;
    request.audit_blocks = options.audit_blocks;
    request.audit_period = options.audit_period;
    request.audit_part_max = options.audit_part_max;
    request.now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
    request.dry_run = options.dry_run;
    if (options.kind == RunRequest::Kind::kExtents) {
        if (layout.several())
            return fail(Code::kInvalid, "a list of changes is of one volume; this run has several");
        request.extents = normalized(TRY(parse_extents(options.extents_text, layout.size_bytes())));
    }
    return request;
}

LiveMomentOptions moment_options(const SyncOptions& options, const SourceStores& stores,
                                 const VolumeLayout& layout, const WantedTarget& target) {
    LiveMomentOptions wanted{.wish = options.moment,
                             .store = {.store_bytes = options.snapshot_store_bytes},
                             .freeze = options.freeze,
                             .freeze_max = options.freeze_max,
                             .used_only = options.used_only,
                             .hooks = Hooks(options.hooks_folder, options.hook_max),
                             .places = options.places,
                             // A comparison is of a moment too.
                             .dry_run = options.dry_run && !options.compare_only,
                             .sources = {},
                             .layout = layout,
                             .target = options.target,
                             .lock_tracking = [&stores] { return stores.lock_tracking(); }};
    wanted.sources.reserve(stores.all().size());
    for (std::size_t place = 0; place < stores.all().size(); ++place)
        wanted.sources.push_back({options.sources[place].path, stores.all()[place].folder()});
    // A list is the word of somebody else, who says what it stands on.
    if (options.kind == RunRequest::Kind::kExtents)
        wanted.wish.tracker = MomentWish::Tracker::kScan;
    if (target.is_vault())
        wanted.why_no_rounds = "in a vault each round would be a point, of no moment";
    return wanted;
}

void add_engine(RunReport& report, const IoEngine& engine) {
    report.engine_source = engine.name();
    report.engine_notes = engine.notes();
    report.rss_max_source_bytes = process_rss_max_bytes();
}

// Nothing: the source is only to be had in rounds.
Result<std::optional<RunReport>> run_once(const SyncOptions& options) {
    const Instant began = monotonic_now();
    const Duration cpu_began = process_cpu_time();
    const WantedTarget target = TRY(find_target(options));
    if (options.sources.size() > 1 && !target.is_vault()) {
        return fail(Code::kRefused, options.target +
                                        " is a device or image file, which is a replica of one "
                                        "volume; send several into a vault (vault:DIR/NAME), or "
                                        "each to a target of its own");
    }
    const auto source = TRY(open_source(options.sources, options.keys, options.state_folder));
    const auto sizes = source->sizes();
    for (std::size_t place = 0; place < sizes.size(); ++place) {
        if (sizes[place] > 0) continue;
        return fail(Code::kRefused, "the source " + options.sources[place].path.string() +
                                        " is empty (0 bytes); there is nothing to replicate");
    }
    TRY_STATUS(refuse_idle_key(options, target));
    TRY_STATUS(refuse_idle_journal(options, target));
    if (!target.vault_folder.empty()) TRY_STATUS(source->refuse_vault(target.vault_folder));
    auto stores = TRY(SourceStores::open(options, *source));
    const VolumeLayout layout = TRY(layout_of(options, *source, stores));
    Fd lock;
    if (!options.dry_run) lock = TRY(stores.of_volume(0).lock(target.lock_name));
    const unsigned workers_max = std::max(1U, std::thread::hardware_concurrency());
    SourcePipeline::Config config = make_config(options, workers_max);
    if (target.is_vault()) config.compression.least = kLevelKept;
    config.target_name = target.name;
    config.request = TRY(make_request(options, *source, layout));

    // Before the run, so that its image goes when nobody reads it any more.
    const auto moment = TRY(source->moment(moment_options(options, stores, layout, target)));
    if (moment && moment->in_rounds()) return std::optional<RunReport>();
    config.moment = moment.get();
    if (moment == nullptr) config.data = TRY(source->data());
    if (target.remote) config.standing = TRY(source->standing(layout.parts().front().source));

    Run run;
    TRY_STATUS(run.begin(options, *source, target));
    config.connect = [&] { return run.connect(target); };
    WorkerPool workers(*run.engine, workers_max);
    const OpenSource opened = TRY(source->open(*run.engine, workers));
    config.volume = opened.view;

    TellingStore telling(stores, options.on_noted);
    SourcePipeline pipeline(*opened.engine, workers, telling, std::move(config));
    pipeline.start(TRY(run.connect(target)));
    while (!pipeline.finished())
        TRY_STATUS(run.engine->run_once());
    if (moment) moment->conclude();
    const bool overran = moment && moment->facts().overran;
    if (pipeline.error() && !overran)
        return std::unexpected(source->failure().value_or(*pipeline.error()));
    RunReport report = pipeline.report();
    report.moment = moment ? moment->facts() : source->facts();
    for (std::size_t place = 0; place < report.volumes.size(); ++place)
        report.volumes[place].path = options.sources[place].path.string();
    add_engine(report, *run.engine);
    report.elapsed = monotonic_now() - began;
    report.cpu_source = process_cpu_time() - cpu_began;
    // Within one process the target's share is told apart by its thread.
    if (!target.remote) report.cpu_source -= std::min(report.cpu_source, report.cpu_target);
    return std::optional(std::move(report));
}

}  // namespace

Result<RunReport> run_sync(const SyncOptions& options) {
    auto report = TRY(run_once(options));
    if (report) return std::move(*report);
    return run_in_rounds(options, [](const SyncOptions& round) -> Result<RunReport> {
        auto done = TRY(run_once(round));
        CHECK(done.has_value());
        return std::move(*done);
    });
}

}  // namespace towline
