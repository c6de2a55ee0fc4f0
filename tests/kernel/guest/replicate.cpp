// SPDX-License-Identifier: Apache-2.0
// Brings a replica after its origin by epochs: freeze, copy the marked blocks from the live origin,
// commit. One epoch in eight is given back instead, or frozen over: what it held must come again.
// With writers at work a block may be read in mid-change; its writer then marks the next epoch too.
//
//   replicate ORIGIN REPLICA UUID rounds=N [seed=N] [drain=0|1|2: now and then] [pause_us=N]
#include <algorithm>

#include "module.hpp"

namespace {

struct Options {
    std::string origin, replica;
    towline_uuid uuid{};
    uint64_t rounds = 1, seed = 1, drain = 0, pause_us = 0, unsettled = 8;
};

struct Totals {
    uint64_t switches = 0, blocks = 0, given_back = 0, frozen_over = 0, held_us_max = 0,
             sequence = 0;
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
        const uint64_t value = number(word.substr(word.find('=') + 1));
        if (key == "rounds")
            options.rounds = value;
        else if (key == "seed")
            options.seed = value;
        else if (key == "drain")
            options.drain = value;
        else if (key == "pause_us")
            options.pause_us = value;
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
          memory_(aligned_memory(TOWLINE_BLOCK_SIZE_MAX)) {}

    // One switch; `last` ones are committed.
    void round(bool last) {
        const bool drain = options_.drain == 1 || (options_.drain == 2 && random_.below(2) == 0);
        uint32_t held_us = 0;
        const towline_epoch epoch = module_.freeze({options_.uuid}, drain, 20000, &held_us).at(0);
        check(epoch);
        totals_.held_us_max = std::max<uint64_t>(totals_.held_us_max, held_us);
        ++totals_.switches;
        const bool unsettled =
            !last && options_.unsettled != 0 && random_.below(options_.unsettled) == 0;
        if (!unsettled) {
            copy(epoch);
            module_.settle(TOWLINE_IOC_COMMIT, options_.uuid, epoch.sequence);
        } else if (random_.below(2) == 0) {
            ++totals_.given_back;
            module_.settle(TOWLINE_IOC_GIVE_BACK, options_.uuid, epoch.sequence);
        } else {
            ++totals_.frozen_over;
        }
    }

    const Totals& totals() const { return totals_; }

  private:
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
        if (pread(origin_, memory_, size, at) != static_cast<ssize_t>(size))
            die("read of the origin at %lu", offset);
        if (pwrite(replica_, memory_, size, at) != static_cast<ssize_t>(size))
            die("write of the replica at %lu", offset);
    }

    const Options& options_;
    Random random_;
    Module module_;
    int origin_, replica_;
    void* memory_;
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
    printf("switches=%lu blocks=%lu given_back=%lu frozen_over=%lu held_us_max=%lu\n",
           totals.switches, totals.blocks, totals.given_back, totals.frozen_over,
           totals.held_us_max);
    return 0;
}
