// SPDX-License-Identifier: Apache-2.0
// A slot file after every crash that a disk allows holds the old state or the new one; after rot it
// holds nothing that is believed.

#include "io/slot_file.hpp"

#include <fstream>
#include <random>

#include "io/slot_format.hpp"
#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;
using slot_format::kSectorBytes;
using testing::TemporaryFolder;

constexpr std::size_t kBytesMax = 1 << 20;

class SlotFile : public ::testing::Test {
  protected:
    using Raw = std::vector<char>;

    Status write(std::string_view text, SlotSync sync = SlotSync::kNow) {
        return write_slots(path_, std::as_bytes(std::span(text)), sync);
    }
    Result<std::string> read() {
        const auto contents = TRY(read_slots(path_, kBytesMax));
        if (!contents) return std::string("(none)");
        return std::string(reinterpret_cast<const char*>(contents->data()), contents->size());
    }
    Raw raw() {
        std::ifstream file(path_, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    void put_raw(const Raw& bytes) {
        // Not truncated first: ext4 would take the new contents to the disk at once.
        std::ofstream(path_, std::ios::binary | std::ios::app).close();
        std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
        file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        file.close();
        fs::resize_file(path_, bytes.size());
    }
    // What a crash leaves of a write from `old` to `now` when the disk has got to these sectors.
    template <typename Reached>
    static Raw crashed(const Raw& old, const Raw& now, Reached reached) {
        Raw left = old;
        for (std::size_t i = 0; i < old.size() / kSectorBytes; ++i) {
            const auto at = static_cast<std::ptrdiff_t>(i * kSectorBytes);
            if (reached(i)) std::copy_n(now.begin() + at, kSectorBytes, left.begin() + at);
        }
        return left;
    }
    static std::string text_of(std::size_t length, char first) {
        std::string text(length, ' ');
        for (std::size_t i = 0; i < length; ++i)
            text[i] = static_cast<char>(first + i % 23);
        return text;
    }

    const TemporaryFolder folder_;
    const fs::path path_ = fs::path(folder_ / "state");
};

TEST_F(SlotFile, ComesBackAsItWas) {
    EXPECT_EQ(read().value(), "(none)");
    for (const std::size_t length : {0, 1, 479, 480, 481, 976, 3000, 5, 4096, 70'000, 12, 0}) {
        const std::string text = text_of(length, 'a');
        ASSERT_TRUE(write(text));
        ASSERT_EQ(read().value(), text) << length;
        ASSERT_EQ(read().value(), text) << "a second time";
    }
    EXPECT_EQ(std::distance(fs::directory_iterator(path_.parent_path()), {}), 1);
}

TEST_F(SlotFile, AWriteThatFitsChangesNothingButTheOtherSlot) {
    ASSERT_TRUE(write("zero"));
    ASSERT_TRUE(write("one"));
    const Raw before = raw();
    struct stat made {};
    ASSERT_EQ(::stat(path_.c_str(), &made), 0);
    ASSERT_TRUE(write("two"));
    const Raw after = raw();
    ASSERT_EQ(before.size(), after.size());
    EXPECT_TRUE(std::equal(before.begin(), before.begin() + 4096, after.begin()));
    EXPECT_FALSE(std::equal(before.begin() + 4096, before.end(), after.begin() + 4096));
    struct stat now {};
    ASSERT_EQ(::stat(path_.c_str(), &now), 0);
    EXPECT_EQ(made.st_ino, now.st_ino);
    EXPECT_EQ(now.st_mode & 0777, 0600U);
}

TEST_F(SlotFile, ACrashInAWriteLeavesTheOldStateOrTheNew) {
    std::mt19937 random(7);
    ASSERT_TRUE(write(text_of(2900, 'a')));
    std::string old_text = text_of(2900, 'a');
    for (unsigned round = 0; round < 40; ++round) {
        const std::string new_text = text_of(random() % 3500, static_cast<char>('b' + round % 3));
        const Raw old = raw();
        ASSERT_TRUE(write(new_text));
        const Raw now = raw();
        ASSERT_EQ(old.size(), now.size());
        const auto check = [&](const Raw& left, const std::string& how) {
            put_raw(left);
            const auto found = read();
            ASSERT_TRUE(found) << how << ": " << found.error().text();
            ASSERT_TRUE(*found == old_text || *found == new_text) << how;
        };
        const std::size_t sectors = old.size() / kSectorBytes;
        for (std::size_t cut = 0; cut <= sectors; ++cut) {
            check(crashed(old, now, [&](std::size_t i) { return i < cut; }), "up to a sector");
            check(crashed(old, now, [&](std::size_t i) { return i >= cut; }), "from a sector on");
        }
        for (unsigned each = 0; each < 50; ++each) {
            const auto mask = random();
            check(crashed(old, now, [&](std::size_t i) { return (mask >> (i % 32) & 1) != 0; }),
                  "a choice of sectors");
        }
        // Half of the time life goes on from a crash.
        if (round % 2 == 0) {
            put_raw(crashed(old, now, [&](std::size_t) { return random() % 2 == 0; }));
            ASSERT_TRUE(write(new_text));
        } else {
            put_raw(now);
        }
        ASSERT_EQ(read().value(), new_text);
        old_text = new_text;
    }
}

// The next boot's write is torn as well: sectors of both are no state.
TEST_F(SlotFile, TwoCrashesInARowLeaveTheOldStateOrTheNew) {
    const auto half = [](std::size_t i) { return i % 2 == 0; };
    const auto other_half = [](std::size_t i) { return i % 2 == 1; };
    ASSERT_TRUE(write(text_of(1900, 'a')));
    ASSERT_TRUE(write(text_of(1900, 'b')));
    const Raw old = raw();
    ASSERT_TRUE(write(text_of(1900, 'c')));
    put_raw(crashed(old, raw(), half));
    ASSERT_EQ(read().value(), text_of(1900, 'b'));
    const Raw torn = raw();
    const auto made = [this] {
        struct stat status {};
        EXPECT_EQ(::stat(path_.c_str(), &status), 0);
        return status.st_ino;
    };
    const auto file = made();
    ASSERT_TRUE(write(text_of(1900, 'd')));
    // A file that took the place of the other cannot be torn.
    if (made() == file) put_raw(crashed(torn, raw(), other_half));
    const auto found = read();
    ASSERT_TRUE(found) << found.error().text();
    EXPECT_TRUE(*found == text_of(1900, 'b') || *found == text_of(1900, 'd'));
}

TEST_F(SlotFile, EveryBitOfEitherSlotsStateIsGuarded) {
    ASSERT_TRUE(write(text_of(1200, 'a')));
    ASSERT_TRUE(write(text_of(900, 'b')));
    const Raw good = raw();
    const auto damaged_at = [&](std::size_t at, unsigned bit) {
        Raw bad = good;
        bad[at] = static_cast<char>(bad[at] ^ (1U << bit));
        put_raw(bad);
        const auto found = read();
        return !found && found.error().code == Code::kCorrupt;
    };
    // The second state lies in the first slot, which is two sectors long then.
    for (std::size_t at = 0; at < 3 * kSectorBytes; ++at) {
        const auto bit = static_cast<unsigned>(at % 8);
        ASSERT_TRUE(damaged_at(4096 + at, bit)) << 4096 + at << "." << bit;
        const bool used = at < 2 * kSectorBytes;
        ASSERT_TRUE(!used || damaged_at(at, bit)) << at << "." << bit;
    }
}

TEST_F(SlotFile, AZeroedSectorIsNotTakenForAWriteThatDidNotEnd) {
    for (const std::size_t length : {20, 1200, 20}) {
        ASSERT_TRUE(write(text_of(length, 'a')));
        const Raw good = raw();
        for (const std::size_t slot : {std::size_t{0}, good.size() / 2}) {
            Raw bytes = good;
            std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(slot), kSectorBytes, '\0');
            put_raw(bytes);
            const auto found = read();
            ASSERT_FALSE(found);
            EXPECT_EQ(found.error().code, Code::kCorrupt);
        }
        put_raw(good);
    }
}

TEST_F(SlotFile, IsRefusedAtEveryOtherLength) {
    ASSERT_TRUE(write("state"));
    const Raw good = raw();
    for (std::size_t length = 0; length < good.size(); length += 256) {
        put_raw({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)});
        const auto found = read();
        // A page less is a file of another slot size.
        ASSERT_FALSE(found) << length;
        ASSERT_EQ(found.error().code, Code::kCorrupt) << length;
    }
}

TEST_F(SlotFile, WhatCannotBeReadGivesWayToTheNextState) {
    put_raw(Raw(100, 'x'));
    EXPECT_EQ(read().error().code, Code::kCorrupt);
    ASSERT_TRUE(write("new"));
    EXPECT_EQ(read().value(), "new");
}

TEST_F(SlotFile, ALaterSyncOfTheSameStateWritesNothing) {
    ASSERT_TRUE(write("state"));
    ASSERT_TRUE(write("", SlotSync::kLater));
    const Raw before = raw();
    ASSERT_TRUE(write("", SlotSync::kLater));
    EXPECT_EQ(raw(), before);
    EXPECT_EQ(read().value(), "");
}

TEST_F(SlotFile, ALargerStateThanAskedForIsRefused) {
    ASSERT_TRUE(write(text_of(100'000, 'a')));
    EXPECT_EQ(read_slots(path_, 50'000).error().code, Code::kInvalid);
}

TEST_F(SlotFile, IsNotWrittenThroughALink) {
    ASSERT_TRUE(write("state"));
    fs::rename(path_, folder_ / "victim");
    fs::create_symlink(folder_ / "victim", path_);
    EXPECT_FALSE(write("other"));
    fs::remove(path_);
    fs::rename(folder_ / "victim", path_);
    EXPECT_EQ(read().value(), "state");
}

}  // namespace
}  // namespace towline
