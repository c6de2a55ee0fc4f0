// SPDX-License-Identifier: Apache-2.0
#include "transport/address.hpp"

#include <gtest/gtest.h>

namespace towline {
namespace {

TEST(Address, ReadsAndWritesBothForms) {
    for (const char* text : {"tcp://127.0.0.1:9000", "tcp://host.example:0", "tcp://[::1]:65535",
                             "unix:/run/towline/sock", "unix:relative", "unix:/with:colon"}) {
        const auto address = Address::parse(text);
        ASSERT_TRUE(address) << address.error().text();
        EXPECT_EQ(address->text(), text);
        EXPECT_EQ(Address::parse(address->text()).value(), *address);
    }
    EXPECT_EQ(Address::parse("tcp://[::1]:5").value().host, "::1");
}

TEST(Address, RefusesEverythingElseAndSaysTheForm) {
    const std::string long_path(108, 'p');
    for (const std::string& text :
         {std::string(""), std::string("tcp://"), std::string("tcp://host"),
          std::string("tcp://host:"), std::string("tcp://:1"), std::string("tcp://[]:1"),
          std::string("tcp://::1:5"), std::string("tcp://host:65536"), std::string("tcp://host:-1"),
          std::string("tcp://host:+1"), std::string("tcp://host:1x"), std::string("tcp://host: 1"),
          std::string("unix:"), "unix:" + long_path, std::string("http://host:1"),
          std::string("host:1"), std::string("TCP://host:1")}) {
        const auto address = Address::parse(text);
        ASSERT_FALSE(address) << text;
        EXPECT_EQ(address.error().code, Code::kInvalid);
        EXPECT_NE(address.error().context.find("tcp://HOST:PORT or unix:PATH"), std::string::npos);
    }
    EXPECT_TRUE(Address::parse("unix:" + std::string(107, 'p')));
}

TEST(RemoteTarget, TellsDaemonsFromPaths) {
    for (const char* path : {"/dev/sda", "disk.img", "a:b", "unixfile", "tcp:/x"})
        EXPECT_FALSE(RemoteTarget::parse(path).value().has_value()) << path;
    const auto tcp = RemoteTarget::parse("tcp://[::1]:5/folder/disk").value().value();
    EXPECT_EQ(tcp.address.text(), "tcp://[::1]:5");
    EXPECT_EQ(tcp.name, "folder/disk");
    const auto local = RemoteTarget::parse("unix:/run/sock:/disk").value().value();
    EXPECT_EQ(local.address.path, "/run/sock");
    EXPECT_EQ(local.name, "disk");
}

TEST(RemoteTarget, RefusesWhatNamesNoVolume) {
    for (const char* text : {"tcp://host:1", "tcp://host:1/", "unix:/run/sock", "unix:/run/sock:/",
                             "http://host/x", "tcp://host/x", "tcp:///x"}) {
        const auto target = RemoteTarget::parse(text);
        ASSERT_FALSE(target) << text;
        EXPECT_EQ(target.error().code, Code::kInvalid);
    }
}

}  // namespace
}  // namespace towline
