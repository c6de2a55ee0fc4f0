// SPDX-License-Identifier: Apache-2.0
// Brings a replica after its origin by epochs: freeze, copy the marked blocks from the live origin,
// commit. One epoch in eight is given back instead, or frozen over: what it held must come again.
// With writers at work a block may be read in mid-change; its writer then marks the next epoch too.
//
//   replicate ORIGIN REPLICA UUID rounds=N [seed=N] [drain=0|1|2: now and then] [pause_us=N]
//             [unsettled=8] [snapshot=STORE [chunk=64K] [verify=N]] [seal=DISK,SECTOR]...
//
// With `snapshot` the blocks come from an image of the moment, so that the replica is that moment:
// each Nth round it is compared with the image as a whole, while the writers go on.
//
// `seal`: a sector that is given the number of an epoch when the replica has it, before the commit.
#include <algorithm>
#include <utility>

#include "store.hpp"

namespace {

struct Options {
    std::string origin, replica;
    towline_uuid uuid{};
    uint64_t rounds = 1, seed = 1, drain = 0, pause_us = 0, unsettled = 8;
    std::string snapshot;
    uint64_t chunk = 0, verify = 0;
    std::vector<std::pair<std::string, uint64_t>> seals;
};

struct Totals {
    uint64_t switches = 0, blocks = 0, given_back = 0, frozen_over = 0, verified = 0,
             held_us_max = 0, sequence = 0;
};

Options parse(int count, char** arguments) {
    errno = EINVAL;
    if (count < 4) die("replicate ORIGIN REPLICA UUID key=value...");
    Options options;
    options.origin = arguments[1];
    options.replica = arguments[2];
    options.uuid = parse_uuid(arguments[3]);
    for (int at = 4; at < count; ++at) {
        const std::string word = arguments[at], key = word.substr(0, word.find('='));
        const std::string text = word.substr(word.find('=') + 1);
        if (key == "snapshot") {
            options.snapshot = text;
            continue;
        }
        if (key == "seal") {
            const size_t comma = word.find(',');
            options.seals.emplace_back(word.substr(5, comma - 5), number(word.substr(comma + 1)));
            continue;
        }
        const uint64_t value = number(text);
        if (key == "rounds")
            options.rounds = value;
        else if (key == "seed")
            options.seed = value;
        else if (key == "drain")
            options.drain = value;
        else if (key == "pause_us")
            options.pause_us = value;
        else if (key == "chunk")
            options.chunk = value;
        else if (key == "verify")
            options.verify = value;
        else if (key == "unsettled")
            options.unsettled = value;
        else
            errno = EINVAL, die("unknown option %s", key.c_str());
    }
    return options;
}

class Replicator {
  public:
    explicit Replicator(const Options& options)
        : options_(options),
          random_(options.seed),
          origin_(open_or_die(options.origin, O_RDONLY | O_DIRECT)),
          replica_(open_or_die(options.replica, O_WRONLY | O_DIRECT)),
          memory_(aligned_memory(TOWLINE_BLOCK_SIZE_MAX)),
          store_(options.snapshot.empty() ? "0" : options.snapshot) {}

    // One switch; `last` ones are committed.
    void round(bool last) {
        const bool drain = options_.drain == 1 || (options_.drain == 2 && random_.below(2) == 0);
        uint32_t held_us = 0;
        std::vector<towline_snapshot> snapshots(1);
        store_.ask(snapshots[0]);
        snapshots[0].chunk_size = static_cast<uint32_t>(options_.chunk);
        const towline_epoch epoch = module_
                                        .freeze({options_.uuid}, drain, 20000, &held_us,
                                                options_.snapshot.empty() ? nullptr : &snapshots)
                                        .at(0);
        check(epoch);
        totals_.held_us_max = std::max<uint64_t>(totals_.held_us_max, held_us);
        ++totals_.switches;
        if (!options_.snapshot.empty()) {
            image_ = open_or_die("/dev/towline/" + std::to_string(snapshots[0].index),
                                 O_RDONLY | O_DIRECT);
        }
        settle(epoch, last);
        if (!options_.snapshot.empty()) {
            close(image_);
            module_.delete_snapshot(options_.uuid);
            if (options_.snapshot[0] == '/') store_.format(0);
        }
    }

    const Totals& totals() const { return totals_; }

  private:
    void settle(const towline_epoch& epoch, bool last) {
        const bool unsettled =
            !last && options_.unsettled != 0 && random_.below(options_.unsettled) == 0;
        if (!unsettled) {
            copy(epoch);
            if (options_.verify != 0 && totals_.switches % options_.verify == 0) verify(epoch);
            seal(epoch.sequence);
            module_.settle(TOWLINE_IOC_COMMIT, options_.uuid, epoch.sequence);
        } else if (random_.below(2) == 0) {
            ++totals_.given_back;
            module_.settle(TOWLINE_IOC_GIVE_BACK, options_.uuid, epoch.sequence);
        } else {
            ++totals_.frozen_over;
        }
    }

    void seal(uint64_t sequence) {
        if (options_.seals.empty()) return;
        if (fdatasync(replica_) != 0) die("flush of the replica");
        memset(memory_, 0, kSector);
        memcpy(memory_, &sequence, sizeof(sequence));
        for (const auto& [disk, sector] : options_.seals) {
            const int fd = open_or_die(disk, O_WRONLY | O_DIRECT);
            if (pwrite(fd, memory_, kSector, static_cast<off_t>(sector * kSector)) != kSector)
                die("seal on %s", disk.c_str());
            close(fd);
        }
    }

    // The replica is the moment of the snapshot: what was there before, and what was marked.
    void verify(const towline_epoch& epoch) {
        void* other = aligned_memory(kMiB);
        const int replica = open_or_die(options_.replica, O_RDONLY | O_DIRECT);
        for (uint64_t at = 0; at < epoch.device_bytes; at += kMiB) {
            const uint64_t size = std::min<uint64_t>(kMiB, epoch.device_bytes - at);
            read_exactly(image_, memory_, size, at);
            read_exactly(replica, other, size, at);
            errno = EPROTO;
            for (uint64_t block = 0; block < size; block += kSector)
                if (memcmp(static_cast<char*>(memory_) + block, static_cast<char*>(other) + block,
                           kSector) != 0)
                    die("round %lu: blocks of the replica differ from the image at %lu",
                        totals_.switches, at + block);
        }
        close(replica);
        free(other);
        ++totals_.verified;
    }

    static void read_exactly(int fd, void* memory, uint64_t size, uint64_t offset) {
        if (pread(fd, memory, size, static_cast<off_t>(offset)) != static_cast<ssize_t>(size))
            die("read at %lu", offset);
    }

    void check(const towline_epoch& epoch) {
        errno = EPROTO;
        if (epoch.trust != TOWLINE_TRUST_EXACT)
            die("epoch %lu: trust %u, reasons %#x", static_cast<unsigned long>(epoch.sequence),
                epoch.trust, epoch.reasons);
        if (epoch.sequence <= totals_.sequence)
            die("epoch %lu after %lu", static_cast<unsigned long>(epoch.sequence),
                static_cast<unsigned long>(totals_.sequence));
        totals_.sequence = epoch.sequence;
    }

    // Neighbours are copied together, as the product does.
    void copy(const towline_epoch& epoch) {
        const Map map = module_.map(options_.uuid, epoch.sequence);
        uint64_t marked = 0;
        for (uint64_t block = 0; block < epoch.blocks;) {
            if (!map.marked(block)) {
                ++block;
                continue;
            }
            uint64_t end = block + 1;
            while (end < epoch.blocks && map.marked(end) &&
                   (end - block) * epoch.block_size < TOWLINE_BLOCK_SIZE_MAX)
                ++end;
            copy_bytes(block * epoch.block_size,
                       std::min<uint64_t>(end * epoch.block_size, epoch.device_bytes));
            marked += end - block;
            block = end;
        }
        errno = EPROTO;
        if (marked != epoch.blocks_changed)
            die("%lu bits in the map, %llu told", marked,
                static_cast<unsigned long long>(epoch.blocks_changed));
        totals_.blocks += marked;
    }

    void copy_bytes(uint64_t offset, uint64_t end) {
        const uint64_t size = end - offset;
        const auto at = static_cast<off_t>(offset);
        read_exactly(options_.snapshot.empty() ? origin_ : image_, memory_, size, offset);
        if (pwrite(replica_, memory_, size, at) != static_cast<ssize_t>(size))
            die("write of the replica at %lu", offset);
    }

    const Options& options_;
    Random random_;
    Module module_;
    int origin_, replica_, image_ = -1;
    void* memory_;
    Store store_;
    Totals totals_;
};

}  // namespace

int main(int count, char** arguments) {
    const Options options = parse(count, arguments);
    Replicator replicator(options);
    for (uint64_t round = 1; round <= options.rounds; ++round) {
        replicator.round(round == options.rounds);
        if (options.pause_us != 0) usleep(static_cast<useconds_t>(options.pause_us));
    }
    const Totals& totals = replicator.totals();
    printf("switches=%lu verified=%lu blocks=%lu given_back=%lu frozen_over=%lu held_us_max=%lu\n",
           totals.switches, totals.verified, totals.blocks, totals.given_back, totals.frozen_over,
           totals.held_us_max);
    return 0;
}
