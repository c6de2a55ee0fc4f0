// SPDX-License-Identifier: Apache-2.0
// Cut off or damaged at each byte, the journal says what it said before the entry at hand: too
// little costs a comparison, one range too many costs data.

#include "userspace/engine/acknowledged_journal.hpp"

#include <fstream>

#include "io/durable_file.hpp"
#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

using testing::TemporaryFolder;
using Extents = std::vector<Extent>;

class AcknowledgedJournalTest : public ::testing::Test {
  protected:
    AcknowledgedJournal open() { return std::move(AcknowledgedJournal::open(path_).value()); }
    std::vector<std::byte> bytes() { return read_file(path_, 1 << 20).value().value(); }
    void put(const std::vector<std::byte>& contents) { ASSERT_TRUE(replace_file(path_, contents)); }
    const TemporaryFolder folder_;
    const std::string path_ = folder_ / "journal";
    const Extents first_{{0, 10}, {40, 10}};
    const Extents second_{{20, 5}};
    const Extents both_{{0, 10}, {20, 5}, {40, 10}};
};

TEST_F(AcknowledgedJournalTest, KeepsWhatWasAppendedOverReopening) {
    EXPECT_TRUE(open().append(first_));
    auto journal = open();
    EXPECT_TRUE(journal.append(second_));
    EXPECT_EQ(journal.load().value(), both_);
    EXPECT_EQ(open().load().value(), both_);
    EXPECT_TRUE(journal.append(Extents{{10, 10}}));
    EXPECT_EQ(open().load().value(), (Extents{{0, 25}, {40, 10}}));
    EXPECT_TRUE(journal.clear());
    EXPECT_EQ(open().load().value(), Extents{});
}

TEST_F(AcknowledgedJournalTest, TornAtEachByteKeepsTheEntriesBefore) {
    auto journal = open();
    EXPECT_TRUE(journal.append(first_));
    const std::size_t whole = bytes().size();
    EXPECT_TRUE(journal.append(second_));
    const std::vector<std::byte> all = bytes();
    EXPECT_EQ(whole, 12U + 32U);
    for (std::size_t length = 0; length < all.size(); ++length) {
        put({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(length)});
        EXPECT_EQ(open().load().value(), length < whole ? Extents{} : first_) << length;
        // What comes next overwrites the torn rest.
        auto again = open();
        EXPECT_TRUE(again.append(second_));
        EXPECT_EQ(open().load().value(), length < whole ? second_ : both_) << length;
    }
}

TEST_F(AcknowledgedJournalTest, AFlippedBitEndsItThere) {
    auto journal = open();
    EXPECT_TRUE(journal.append(first_));
    EXPECT_TRUE(journal.append(second_));
    const std::vector<std::byte> all = bytes();
    for (std::size_t bit = 0; bit < all.size() * 8; ++bit) {
        std::vector<std::byte> damaged = all;
        damaged[bit / 8] ^= std::byte{1} << (bit % 8);
        put(damaged);
        EXPECT_EQ(open().load().value(), bit < 44 * 8 ? Extents{} : first_) << bit;
    }
}

// A sector of the entry that never reached the disk reads as zeros.
TEST_F(AcknowledgedJournalTest, AnEntryOfZerosIsNone) {
    EXPECT_TRUE(open().append(first_));
    std::vector<std::byte> all = bytes();
    all.resize(all.size() + 4096);
    put(all);
    EXPECT_EQ(open().load().value(), first_);
}

}  // namespace
}  // namespace towline
