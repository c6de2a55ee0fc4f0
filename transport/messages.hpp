// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the two sides say to each other, as structs. Each knows its frame type and its encoding; a
// decoder refuses whatever is not exactly of the form. Block contents travel apart (DataHead,
// channel).

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "io/checksum.hpp"
#include "io/result.hpp"
#include "io/uuid.hpp"
#include "transport/wire_format.hpp"

namespace towline {

// Which state of which source a target holds. An incremental run is only that when both sides agree
// on it.
struct Base {
    Uuid source;
    Uuid tracker;  // nil while no tracker vouches for the changes
    std::uint64_t sequence = 0;
    Uuid point;
    bool operator==(const Base&) const = default;
};

enum class RunMode : std::uint8_t { kFull = 1, kExtents = 2, kScan = 3 };

// What the target's record says of the contents.
enum class TargetState : std::uint8_t {
    kUnclaimed =
        0,  // no record: never a replica, or the image was replaced or changed behind our back
    kBuilding = 1,  // a first copy that was not finished: no moment at all
    kSealed = 2,    // exactly the base
    kApplying = 3,  // the base, partly overwritten by an unfinished run
};

// What a replica can be trusted to be. Told of what was really done, never of what was asked for.
enum class Label : std::uint8_t {
    kFuzzy = 1,        // read while it was written to: blocks of several moments
    kCrash = 2,        // one moment, as after a power cut
    kFilesystem = 3,   // its filesystems were frozen at the moment
    kApplication = 4,  // and the programs that write to it had been told (hooks)
};

// Sum over records: the order in which blocks pass does not matter, so connections may overtake
// each other.
struct RunDigest {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    std::uint64_t records = 0;
    bool operator==(const RunDigest&) const = default;
};

struct HelloMessage {
    static constexpr auto kType = wire::FrameType::kHello;
    std::uint16_t version_min = wire::kVersionMin;
    std::uint16_t version_max = wire::kVersionMax;
    // What the one who says it can decode, and hears.
    std::uint64_t capabilities = wire::kCapDeflate | wire::kCapZstd | wire::kCapVolumes |
                                 wire::kCapVerify | wire::kCapProbe | wire::kCapProbeDisk |
                                 wire::kCapRereadsAll;
    // Not nil: this connection joins the session that was given the token, and carries blocks.
    Uuid join_token;
    bool operator==(const HelloMessage&) const = default;
};

// What a source stands on (files, devices, the devices below them), to be recognised by a target on
// the same host alone: the names are hidden (userspace/engine/standing.hpp).
struct Standing {
    struct Element {
        Hash128 name;
        // The bytes of it that the source can reach.
        std::uint64_t start_bytes = 0;
        std::uint64_t end_bytes = 0;
        std::uint32_t above = 0;  // which element stands on this one; the first one's is itself
        bool dealt_out = false;   // by LVM or kpartx: not a byte is another's
        bool operator==(const Element&) const = default;
    };
    Hash128 host;  // zeros: not told
    bool complete = false;
    std::vector<Element> elements;
    bool operator==(const Standing&) const = default;
};

// The volumes of the run, in order, where they are several or have names; before Open.
struct VolumesMessage {
    static constexpr auto kType = wire::FrameType::kVolumes;
    struct Volume {
        std::string name;
        Uuid source;
        std::uint64_t bytes = 0;
        bool operator==(const Volume&) const = default;
    };
    std::vector<Volume> volumes;
    bool operator==(const VolumesMessage&) const = default;
};

// Asks for a target by name; nothing is changed by it.
struct OpenMessage {
    static constexpr auto kType = wire::FrameType::kOpen;
    std::string name;
    Uuid source;
    std::uint64_t source_bytes = 0;
    bool dry_run = false;  // takes the target from nobody
    Standing standing;
    bool operator==(const OpenMessage&) const = default;
};

struct OpenedMessage {
    static constexpr auto kType = wire::FrameType::kOpened;
    bool exists = false;
    bool is_device = false;
    bool empty = false;     // reads as zeros all over, for certain
    bool has_data = false;  // of whatever origin
    bool changed = false;   // a record was there, but the volume was replaced or written to since
    Uuid target;            // this replica's own name, drawn with its record
    std::uint64_t size_bytes = 0;
    TargetState state = TargetState::kUnclaimed;
    Base base;           // kSealed, kApplying
    Uuid run;            // the last run that was sealed, or the unfinished one
    RunMode run_mode{};  // of the unfinished one
    std::uint64_t plan_digest = 0;
    Base run_base;         // what the unfinished run was to become
    bool staging = false;  // the unfinished run is kept beside the volume, which is still `base`
    // At this run a flush failed, and no full run has been sealed since: reads may show what no
    // medium holds.
    Uuid flush_failed_run;
    Uuid owner;       // the source whose replica it is
    Uuid join_token;  // lets further connections join the session
    std::string engine;
    bool operator==(const OpenedMessage&) const = default;
};

struct BeginMessage {
    static constexpr auto kType = wire::FrameType::kBegin;
    Uuid run;
    RunMode mode{};
    bool resume = false;     // go on with this run where the target durably is
    bool overwrite = false;  // the user said that data of other origin may go
    bool verify = false;     // attest by rereading
    bool dry_run = false;    // compare only; nothing may change
    // A run of listed changes: Ranges follow Begun, the other way than a resumed run's, and the
    // target answers with the digests of what they cover.
    bool compare_listed = false;
    bool direct = false;  // onto the target at once, without staging
    std::uint32_t block_bytes = 0;
    std::uint64_t plan_bytes = 0;  // the most that the run brings, as far as it is known; 0: not
    std::uint64_t plan_digest = 0;
    TargetState expected_state{};  // what the source decided upon; the target refuses when it moved
                                   // on since
    Base expected_base;
    Base next_base;
    BlockHasher::Seed hash_seed{};
    bool operator==(const BeginMessage&) const = default;
};

struct BegunMessage {
    static constexpr auto kType = wire::FrameType::kBegun;
    bool zeroed =
        false;  // what the run does not write already reads as zeros: zero ranges may be left out
    bool staged = false;  // the target stays as it is until the run is attested
    bool operator==(const BegunMessage&) const = default;
};

// The acknowledged set of a resumed run, in pieces; `last` ends it.
struct RangesMessage {
    static constexpr auto kType = wire::FrameType::kRanges;
    struct Range {
        std::uint64_t offset_bytes = 0;
        std::uint64_t length_bytes = 0;
        bool operator==(const Range&) const = default;
    };
    std::vector<Range> ranges;
    bool last = false;
    bool operator==(const RangesMessage&) const = default;
};

// Digests of what the target holds, in the order of its blocks: runs of zeros, or hashes. `last`
// ends the pass.
struct DigestsMessage {
    static constexpr auto kType = wire::FrameType::kDigests;
    std::uint64_t first_block = 0;
    std::uint64_t zero_count = 0;  // then `hashes` is empty
    std::vector<Hash128> hashes;
    bool last = false;
    bool operator==(const DigestsMessage&) const = default;
};

// A range that reads as zeros, of whatever length.
struct ZeroMessage {
    static constexpr auto kType = wire::FrameType::kZero;
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;
    bool operator==(const ZeroMessage&) const = default;
};

struct AckMessage {
    static constexpr auto kType = wire::FrameType::kAck;
    std::uint64_t durable_bytes = 0;  // of the run's contents: flushed, and noted in the journal
    bool operator==(const AckMessage&) const = default;
};

// What moment was read; before End, when that is known for certain.
struct MomentMessage {
    static constexpr auto kType = wire::FrameType::kMoment;
    Label label = Label::kFuzzy;
    bool group = false;           // several volumes, and all of them at this one moment
    std::uint64_t frozen_us = 0;  // how long filesystems were frozen for it
    bool operator==(const MomentMessage&) const = default;
};

// Another wish than Begin's, for whether to attest by rereading; before End.
struct VerifyMessage {
    static constexpr auto kType = wire::FrameType::kVerify;
    bool verify = false;
    bool operator==(const VerifyMessage&) const = default;
};

struct EndMessage {
    static constexpr auto kType = wire::FrameType::kEnd;
    RunDigest digest;
    bool operator==(const EndMessage&) const = default;
};

struct SealedMessage {
    static constexpr auto kType = wire::FrameType::kSealed;
    RunDigest digest;
    bool reread = false;  // attested from a second reading, else from what was checked and written
    Base base;
    std::uint64_t cpu_microseconds = 0;
    std::uint64_t rss_max_bytes = 0;
    std::uint64_t written_bytes = 0;
    bool operator==(const SealedMessage&) const = default;
};

struct ErrorMessage {
    static constexpr auto kType = wire::FrameType::kError;
    Code code{};
    std::uint32_t system_errno = 0;
    bool flush_failed = false;  // of the target's volume: only a full run makes it whole
    std::string text;
    bool operator==(const ErrorMessage&) const = default;
};

struct PingMessage {
    static constexpr auto kType = wire::FrameType::kPing;
    bool operator==(const PingMessage&) const = default;
};

// Answers the hello of a connection that joins.
struct JoinedMessage {
    static constexpr auto kType = wire::FrameType::kJoined;
    bool operator==(const JoinedMessage&) const = default;
};

// Before Open: how fast is the link? Each is answered as soon as it was read.
struct ProbeMessage {
    static constexpr auto kType = wire::FrameType::kProbe;
    std::vector<std::uint64_t> filler;
    bool operator==(const ProbeMessage&) const = default;
};

struct ProbedMessage {
    static constexpr auto kType = wire::FrameType::kProbed;
    std::uint64_t bytes = 0;     // of fillers that have come over this connection
    std::uint64_t clock_us = 0;  // of the target, since the epoch
    bool operator==(const ProbedMessage&) const = default;
};

// Before Open too, once: how fast is the disk that a target of this name is, or would be, on?
struct ProbeDiskMessage {
    static constexpr auto kType = wire::FrameType::kProbeDisk;
    std::string name;
    bool operator==(const ProbeDiskMessage&) const = default;
};

struct DiskProbedMessage {
    static constexpr auto kType = wire::FrameType::kDiskProbed;
    std::uint64_t written_bytes = 0;  // 0: nothing was written, as to a device
    std::uint64_t written_us = 0;
    std::uint64_t read_bytes = 0;
    std::uint64_t read_us = 0;
    std::string why_not;  // nothing was measured; empty: it was
    bool operator==(const DiskProbedMessage&) const = default;
};

using Message =
    std::variant<HelloMessage, OpenMessage, OpenedMessage, BeginMessage, BegunMessage,
                 RangesMessage, DigestsMessage, ZeroMessage, AckMessage, EndMessage, SealedMessage,
                 ErrorMessage, PingMessage, JoinedMessage, VolumesMessage, MomentMessage,
                 VerifyMessage, ProbeMessage, ProbedMessage, ProbeDiskMessage, DiskProbedMessage>;

// The run as every frame of it carries it.
std::uint64_t run_number_of(const Uuid& run);

wire::FrameType type_of(const Message& message);
std::vector<std::byte> encode_message(const Message& message);
Result<Message> decode_message(wire::FrameType type, ByteSpan head);

// The version both sides speak, or a refusal that says which side is to be upgraded.
Result<std::uint16_t> agree_version(const HelloMessage& ours, const HelloMessage& theirs);

}  // namespace towline
