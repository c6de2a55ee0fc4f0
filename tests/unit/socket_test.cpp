// SPDX-License-Identifier: Apache-2.0
// What a restart of the daemon depends on: its port at once, its stale socket file replaced, that
// of a living one and other people's files left alone.

#include "transport/socket.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <thread>

#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

using testing::error_of;
using testing::make_file;
using testing::TemporaryFolder;

Address local_port(std::uint16_t port = 0) {
    return {.kind = Address::Kind::kTcp, .host = "127.0.0.1", .port = port, .path = ""};
}

Address unix_path(std::string path) {
    return {.kind = Address::Kind::kUnix, .host = "", .port = 0, .path = std::move(path)};
}

void expect_talk(int from, int to) {
    char letter = 0;
    EXPECT_EQ(::write(from, "x", 1), 1);
    EXPECT_EQ(::read(to, &letter, 1), 1);
    EXPECT_EQ(letter, 'x');
}

void expect_connects(Listener& listener) {
    auto client = connect_to(listener.address(), 5s);
    ASSERT_TRUE(client) << client.error().text();
    auto server = listener.accept();
    ASSERT_TRUE(server) << server.error().text();
    expect_talk(client->get(), server->get());
    expect_talk(server->get(), client->get());
}

TEST(Socket, BothKindsConnect) {
    const TemporaryFolder folder;
    auto tcp = Listener::open(local_port());
    ASSERT_TRUE(tcp) << tcp.error().text();
    EXPECT_NE(tcp->address().port, 0);
    expect_connects(*tcp);
    auto local = Listener::open(unix_path(folder / "sock"));
    ASSERT_TRUE(local) << local.error().text();
    expect_connects(*local);
    const auto pair = connected_pair().value();
    expect_talk(pair.first.get(), pair.second.get());
}

TEST(Socket, APortIsFreeAtOnceAfterARestart) {
    std::uint16_t port = 0;
    for (int i = 0; i < 3; ++i) {
        auto listener = Listener::open(local_port(port));
        ASSERT_TRUE(listener) << listener.error().text();
        port = listener->address().port;
        auto client = connect_to(listener->address(), 5s);
        auto server = listener->accept();
        ASSERT_TRUE(client && server);
        // The server closes first: its end of the connection stays in TIME_WAIT on the port.
        server->reset();
    }
}

TEST(Socket, AServedPortIsBusyForOthers) {
    const auto first = Listener::open(local_port()).value().address();
    auto listener = Listener::open(first);
    ASSERT_TRUE(listener);
    EXPECT_EQ(error_of(Listener::open(first)).system_errno, EADDRINUSE);
}

TEST(Socket, AStaleSocketFileIsReplacedAServedOneIsNot) {
    const TemporaryFolder folder;
    const std::string path = folder / "sock";
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path.copy(name.sun_path, sizeof name.sun_path - 1);
    {
        const Fd stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        ASSERT_EQ(::bind(stale.get(), reinterpret_cast<sockaddr*>(&name), sizeof name), 0);
    }
    ASSERT_TRUE(std::filesystem::exists(path));
    {
        auto listener = Listener::open(unix_path(path));
        ASSERT_TRUE(listener) << listener.error().text();
        EXPECT_EQ(error_of(Listener::open(unix_path(path))).code, Code::kBusy);
        // The probe of the second one waits in the queue; ours works all the same.
        static_cast<void>(listener->accept());
        expect_connects(*listener);
    }
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Socket, OtherFilesAreLeftAlone) {
    const TemporaryFolder folder;
    const std::string path = make_file(folder / "precious", 4096);
    EXPECT_EQ(error_of(Listener::open(unix_path(path))).code, Code::kRefused);
    EXPECT_EQ(std::filesystem::file_size(path), 4096U);
    std::filesystem::create_symlink(path, folder / "link");
    EXPECT_EQ(error_of(Listener::open(unix_path(folder / "link"))).code, Code::kRefused);
}

TEST(Socket, NobodyThereIsDisconnectedAndSaysWhatToLookFor) {
    const TemporaryFolder folder;
    const auto gone = Listener::open(local_port()).value().address();
    const Error error = error_of(connect_to(gone, 2s));
    EXPECT_EQ(error.code, Code::kDisconnected);
    EXPECT_NE(error.context.find("towline serve"), std::string::npos);
    EXPECT_EQ(error_of(connect_to(unix_path(folder / "none"), 2s)).code, Code::kDisconnected);
}

TEST(Socket, AcceptEndsWhenTheListenerIsShutDown) {
    auto listener = Listener::open(local_port());
    ASSERT_TRUE(listener);
    std::thread waiting([&] { EXPECT_EQ(error_of(listener->accept()).code, Code::kCancelled); });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ::shutdown(listener->fd(), SHUT_RDWR);
    waiting.join();
}

}  // namespace
}  // namespace towline
