// SPDX-License-Identifier: Apache-2.0
#include "userspace/engine/footing.hpp"

#include <sys/sysmacros.h>

#include <gtest/gtest.h>

namespace towline {
namespace {

// Stacks that a test machine cannot build (LVM, md, dm), as sysfs would show them.
class Stack {
  public:
    explicit Stack(const std::string& name) { add(name, {}); }
    // Puts `name` below the last one.
    Stack& on(const std::string& name, std::uint64_t start = 0,
              std::uint64_t end = std::numeric_limits<std::uint64_t>::max()) {
        Footing::Place place;
        place.start_bytes = start;
        place.end_bytes = end;
        place.above = footing_.elements.size() - 1;
        return add(name, place);
    }
    Stack& dealt_out_of(const std::string& name) {
        on(name);
        footing_.places.back().dealt_out = true;
        return *this;
    }
    // NOLINTNEXTLINE(google-explicit-constructor): a stack is written where a footing is wanted.
    operator const Footing&() const { return footing_; }

  private:
    Stack& add(const std::string& name, const Footing::Place& place) {
        footing_.elements.push_back(name);
        footing_.places.push_back(place);
        return *this;
    }
    Footing footing_;
};

bool apart(const Footing& one, const Footing& other) {
    EXPECT_EQ(overlap(one, other).empty(), overlap(other, one).empty()) << "order must not matter";
    return overlap(one, other).empty();
}

TEST(Footing, VolumesWithoutCommonElementAreApart) {
    EXPECT_TRUE(apart(Stack("sda1").on("sda", 10, 20), Stack("sdb1").on("sdb", 10, 20)));
    EXPECT_FALSE(apart(Stack("sda"), Stack("sda")));
}

TEST(Footing, PartitionsAreApartByTheirRanges) {
    const Stack disk("sda");
    const Stack one = Stack("sda1").on("sda", 10, 20);
    const Stack two = Stack("sda2").on("sda", 20, 30);
    const Stack across = Stack("loop0").on("sda", 19, 21);
    EXPECT_TRUE(apart(one, two));
    EXPECT_FALSE(apart(one, disk));
    EXPECT_FALSE(apart(one, across));
    EXPECT_FALSE(apart(two, across));
}

TEST(Footing, LogicalVolumesAreApartButNotFromWhatTheyAreDealtOutOf) {
    const Stack root = Stack("root").dealt_out_of("sda2").on("sda", 20, 30);
    const Stack home = Stack("home").dealt_out_of("sda2").on("sda", 20, 30);
    EXPECT_TRUE(apart(root, home));
    EXPECT_FALSE(apart(root, root));
    EXPECT_FALSE(apart(root, Stack("sda2").on("sda", 20, 30)));
    EXPECT_FALSE(apart(root, Stack("sda")));
    EXPECT_TRUE(apart(root, Stack("sda1").on("sda", 10, 20)));
    EXPECT_FALSE(apart(Stack("crypt").on("root").dealt_out_of("sda2").on("sda", 20, 30), root));
    EXPECT_TRUE(apart(Stack("crypt").on("root").dealt_out_of("sda2").on("sda", 20, 30), home));
}

// Nobody says which bytes an unknown mapping takes.
TEST(Footing, OtherMappingsOverOneDeviceAreNotTrustedToBeApart) {
    EXPECT_FALSE(apart(Stack("crypt1").on("sda"), Stack("crypt2").on("sda")));
    EXPECT_FALSE(apart(Stack("crypt1").on("sda"), Stack("root").dealt_out_of("sda")));
}

TEST(Footing, WhatIsApartOnAnArrayIsApartOnItsDisks) {
    const Stack one = Stack("md0p1").on("md0", 10, 20).on("sda");
    const Stack two = Stack("md0p2").on("md0", 20, 30).on("sda");
    EXPECT_TRUE(apart(one, two));
    EXPECT_FALSE(apart(one, Stack("sda")));
    EXPECT_FALSE(apart(one, Stack("md0").on("sda")));
}

TEST(Footing, ElementsNameDevicesAndFiles) {
    const dev_t number = makedev(259, 300);
    EXPECT_EQ(element_device(device_element(number)), number);
    EXPECT_FALSE(element_device(file_element(number, 7)));
    EXPECT_EQ(file_element(number, 7), "file:259:300:7");
}

}  // namespace
}  // namespace towline
