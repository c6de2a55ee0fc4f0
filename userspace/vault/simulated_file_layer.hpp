// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "io/simulated_random.hpp"
#include "userspace/vault/file_layer.hpp"

namespace towline {

// A folder in memory, with a cache that a power loss empties as it likes: of a file what was not
// synced may be lost, sector by sector, and so may a name that was given or taken away without its
// folder being synced. It outlives the processes (SimulatedFileLayer) that use it.
class SimulatedFolder {
  public:
    explicit SimulatedFolder(std::uint64_t seed) : random_(seed) {}

    // What goes wrong, by the number of a call that changes something, counted from now on; 0:
    // nothing.
    struct Faults {
        std::uint64_t die_at = 0;       // it and all later ones fail, this one maybe with effect
        std::uint64_t no_space_at = 0;  // of the calls that write
        bool syncs_lie = false;         // what a test must find out
    };
    void arm(Faults faults);
    std::uint64_t calls() const { return calls_; }
    void power_loss();
    // Bytes of all files, and a way to rot one of them.
    std::uint64_t bytes() const;
    std::vector<std::string> names() const;
    std::vector<std::byte>& contents(const std::string& path);
    void lose(const std::string& path);

  private:
    friend class SimulatedFileLayer;
    friend class SimulatedFile;
    using Bytes = std::vector<std::byte>;
    static constexpr std::size_t kSectorBytes = 512;
    struct File {
        Bytes visible;
        Bytes durable;
    };
    using Names = std::map<std::string, std::shared_ptr<File>>;

    // Whether the call is to have its effect, and what it says.
    struct Fate {
        bool effect = true;
        std::optional<Error> error;
    };
    Fate fate(bool writes);
    Status change(bool writes, const std::function<void()>& effect);
    void sync_file(File& file) const;
    void lose_of(File& file);

    SimulatedRandom random_;
    Faults faults_;
    std::uint64_t calls_ = 0;
    std::uint64_t writes_ = 0;
    bool dead_ = false;
    Names names_;          // as programs see them
    Names durable_names_;  // as of each folder's last sync
    std::set<std::string> folders_;
};

// A process at the folder.
class SimulatedFileLayer final : public FileLayer {
  public:
    explicit SimulatedFileLayer(SimulatedFolder& folder) : folder_(folder) {}

    Result<std::unique_ptr<LayerFile>> create() override;
    Result<std::size_t> read(const std::string& path, std::uint64_t offset_bytes,
                             MutableByteSpan into) override;
    Result<std::optional<std::uint64_t>> size(const std::string& path) override;
    Result<std::vector<LayerEntry>> list(const std::string& folder) override;
    Status unlink(const std::string& path) override;
    Status make_folder(const std::string& folder) override;
    Status sync_folder(const std::string& folder) override;
    Result<std::uint64_t> sweep() override { return 0; }

  private:
    SimulatedFolder& folder_;
};

}  // namespace towline
