// SPDX-License-Identifier: Apache-2.0
// Encoding by one list of fields a message, walked by a writer and by a reader alike: the two
// cannot disagree about the order.

#include "transport/messages.hpp"

#include "io/bytes.hpp"

namespace towline {

namespace {

class FieldWriter {
  public:
    template <std::unsigned_integral T>
    void field(const T& value) {
        if constexpr (std::same_as<T, bool>) {
            writer_.put(static_cast<std::uint8_t>(value));
        } else {
            writer_.put(value);
        }
    }
    template <typename E>
    requires std::is_enum_v<E>
    void enumeration(const E& value, E, E) { writer_.put(static_cast<std::uint16_t>(value)); }
    void field(const Uuid& value) { writer_.put_bytes(value.bytes); }
    void field(const BlockHasher::Seed& value) { writer_.put_bytes(value); }
    void text(const std::string& value, std::size_t bytes_max) {
        writer_.put_string(std::string_view(value).substr(0, bytes_max));
    }
    template <typename T, typename Each>
    void list(const std::vector<T>& values, std::size_t, Each each) {
        writer_.put(static_cast<std::uint32_t>(values.size()));
        for (const T& value : values)
            each(*this, value);
    }
    std::vector<std::byte> take() { return writer_.take(); }

  private:
    ByteWriter writer_;
};

class FieldReader {
  public:
    explicit FieldReader(ByteSpan bytes) : reader_(bytes) {}

    template <std::unsigned_integral T>
    void field(T& value) {
        if constexpr (std::same_as<T, bool>) {
            const auto raw = reader_.get<std::uint8_t>();
            if (raw > 1) bad_ = true;
            value = raw == 1;
        } else {
            value = reader_.get<T>();
        }
    }
    template <typename E>
    requires std::is_enum_v<E>
    void enumeration(E& value, E first, E last) {
        const auto raw = reader_.get<std::uint16_t>();
        if (raw < static_cast<std::uint16_t>(first) || raw > static_cast<std::uint16_t>(last)) {
            bad_ = true;
        } else {
            value = static_cast<E>(raw);
        }
    }
    void field(Uuid& value) { copy(value.bytes); }
    void field(BlockHasher::Seed& value) { copy(value); }
    void text(std::string& value, std::size_t bytes_max) { value = reader_.get_string(bytes_max); }
    template <typename T, typename Each>
    void list(std::vector<T>& values, std::size_t count_max, Each each) {
        const auto count = reader_.get<std::uint32_t>();
        if (count > count_max || count > reader_.rest_bytes()) {
            bad_ = true;
            return;
        }
        values.resize(count);
        for (T& value : values)
            each(*this, value);
    }
    bool good() const { return !bad_ && reader_.finished(); }

  private:
    template <std::size_t N>
    void copy(std::array<std::byte, N>& into) {
        const ByteSpan raw = reader_.get_bytes(N);
        if (raw.size() == N) std::memcpy(into.data(), raw.data(), N);
    }

    ByteReader reader_;
    bool bad_ = false;
};

template <typename W, typename M>
concept Of = std::same_as<std::remove_const_t<W>, M>;

void walk(auto& to, Of<Base> auto& base) {
    to.field(base.source);
    to.field(base.tracker);
    to.field(base.sequence);
    to.field(base.point);
}

void walk(auto& to, Of<RunDigest> auto& digest) {
    to.field(digest.low);
    to.field(digest.high);
    to.field(digest.records);
}

void walk(auto& to, Of<HelloMessage> auto& m) {
    to.field(m.version_min);
    to.field(m.version_max);
    to.field(m.capabilities);
    to.field(m.join_token);
}

void walk(auto& to, Of<Standing> auto& standing) {
    to.field(standing.host.low);
    to.field(standing.host.high);
    to.field(standing.complete);
    to.list(standing.elements, wire::kStandingMax, [](auto& each, auto& element) {
        each.field(element.name.low);
        each.field(element.name.high);
        each.field(element.start_bytes);
        each.field(element.end_bytes);
        each.field(element.above);
        each.field(element.dealt_out);
    });
}

void walk(auto& to, Of<VolumesMessage> auto& m) {
    to.list(m.volumes, wire::kVolumesMax, [](auto& each, auto& volume) {
        each.text(volume.name, wire::kVolumeNameBytesMax);
        each.field(volume.source);
        each.field(volume.bytes);
    });
}

void walk(auto& to, Of<OpenMessage> auto& m) {
    to.text(m.name, wire::kNameBytesMax);
    to.field(m.source);
    to.field(m.source_bytes);
    to.field(m.dry_run);
    walk(to, m.standing);
}

void walk(auto& to, Of<OpenedMessage> auto& m) {
    to.field(m.exists);
    to.field(m.is_device);
    to.field(m.empty);
    to.field(m.has_data);
    to.field(m.changed);
    to.field(m.target);
    to.field(m.size_bytes);
    to.enumeration(m.state, TargetState::kUnclaimed, TargetState::kApplying);
    walk(to, m.base);
    to.field(m.run);
    to.enumeration(m.run_mode, RunMode{}, RunMode::kScan);
    to.field(m.plan_digest);
    walk(to, m.run_base);
    to.field(m.staging);
    to.field(m.flush_failed_run);
    to.field(m.owner);
    to.field(m.join_token);
    to.text(m.engine, 64);
}

void walk(auto& to, Of<BeginMessage> auto& m) {
    to.field(m.run);
    to.enumeration(m.mode, RunMode::kFull, RunMode::kScan);
    to.field(m.resume);
    to.field(m.overwrite);
    to.field(m.verify);
    to.field(m.dry_run);
    to.field(m.compare_listed);
    to.field(m.direct);
    to.field(m.block_bytes);
    to.field(m.plan_bytes);
    to.field(m.plan_digest);
    to.enumeration(m.expected_state, TargetState::kUnclaimed, TargetState::kApplying);
    walk(to, m.expected_base);
    walk(to, m.next_base);
    to.field(m.hash_seed);
}

void walk(auto& to, Of<BegunMessage> auto& m) {
    to.field(m.zeroed);
    to.field(m.staged);
}

void walk(auto& to, Of<RangesMessage> auto& m) {
    to.list(m.ranges, wire::kRangesPerFrameMax, [](auto& each, auto& range) {
        each.field(range.offset_bytes);
        each.field(range.length_bytes);
    });
    to.field(m.last);
}

void walk(auto& to, Of<DigestsMessage> auto& m) {
    to.field(m.first_block);
    to.field(m.zero_count);
    to.list(m.hashes, wire::kHashesPerFrameMax, [](auto& each, auto& hash) {
        each.field(hash.low);
        each.field(hash.high);
    });
    to.field(m.last);
}

void walk(auto& to, Of<ZeroMessage> auto& m) {
    to.field(m.offset_bytes);
    to.field(m.length_bytes);
}

void walk(auto& to, Of<AckMessage> auto& m) {
    to.field(m.durable_bytes);
}

void walk(auto& to, Of<MomentMessage> auto& m) {
    to.enumeration(m.label, Label::kFuzzy, Label::kApplication);
    to.field(m.group);
    to.field(m.frozen_us);
}

void walk(auto& to, Of<VerifyMessage> auto& m) {
    to.field(m.verify);
}

void walk(auto& to, Of<ProbeMessage> auto& m) {
    to.list(m.filler, wire::kProbeWordsMax, [](auto& each, auto& word) { each.field(word); });
}

void walk(auto& to, Of<ProbedMessage> auto& m) {
    to.field(m.bytes);
    to.field(m.clock_us);
}

void walk(auto& to, Of<ProbeDiskMessage> auto& m) {
    to.text(m.name, wire::kNameBytesMax);
}

void walk(auto& to, Of<DiskProbedMessage> auto& m) {
    to.field(m.written_bytes);
    to.field(m.written_us);
    to.field(m.read_bytes);
    to.field(m.read_us);
    to.text(m.why_not, wire::kTextBytesMax);
}

void walk(auto& to, Of<EndMessage> auto& m) {
    walk(to, m.digest);
}

void walk(auto& to, Of<SealedMessage> auto& m) {
    walk(to, m.digest);
    to.field(m.reread);
    walk(to, m.base);
    to.field(m.cpu_microseconds);
    to.field(m.rss_max_bytes);
    to.field(m.written_bytes);
}

void walk(auto& to, Of<ErrorMessage> auto& m) {
    to.enumeration(m.code, Code::kIo, Code::kCancelled);
    to.field(m.system_errno);
    to.field(m.flush_failed);
    to.text(m.text, wire::kTextBytesMax);
}

void walk(auto&, Of<PingMessage> auto&) {}
void walk(auto&, Of<JoinedMessage> auto&) {}

template <std::size_t Index = 0>
Result<Message> decode_as(wire::FrameType type, ByteSpan head) {
    if constexpr (Index == std::variant_size_v<Message>) {
        return fail(Code::kProtocol, "the peer sent a frame that is no message");
    } else {
        using M = std::variant_alternative_t<Index, Message>;
        if (M::kType != type) return decode_as<Index + 1>(type, head);
        FieldReader reader(head);
        M message;
        walk(reader, message);
        if (!reader.good()) {
            return fail(Code::kProtocol, "the peer sent a message of a wrong form (type " +
                                             std::to_string(static_cast<unsigned>(type)) + ")");
        }
        return Message(std::move(message));
    }
}

}  // namespace

std::uint64_t run_number_of(const Uuid& run) {
    return load_le<std::uint64_t>(run.bytes.data());
}

wire::FrameType type_of(const Message& message) {
    return std::visit([](const auto& m) { return std::decay_t<decltype(m)>::kType; }, message);
}

std::vector<std::byte> encode_message(const Message& message) {
    FieldWriter writer;
    std::visit([&writer](const auto& m) { walk(writer, m); }, message);
    return writer.take();
}

Result<Message> decode_message(wire::FrameType type, ByteSpan head) {
    return decode_as(type, head);
}

Result<std::uint16_t> agree_version(const HelloMessage& ours, const HelloMessage& theirs) {
    if (theirs.version_max < ours.version_min) {
        return fail(Code::kUnsupported,
                    "the peer's Towline is too old for this one; upgrade the peer");
    }
    if (theirs.version_min > ours.version_max) {
        return fail(Code::kUnsupported,
                    "the peer's Towline is too new for this one; upgrade this side");
    }
    return std::min(ours.version_max, theirs.version_max);
}

}  // namespace towline
