// SPDX-License-Identifier: Apache-2.0
// A vault whose objects a daemon keeps without its key: all is as in a folder, and a host that
// means harm takes nothing away and reaches nothing else.

#include "userspace/vault/object_session.hpp"

#include <future>
#include <sys/socket.h>
#include <thread>

#include "transport/socket.hpp"
#include "userspace/vault/remote_store.hpp"
#include "userspace/vault/scrub.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {

namespace {

using object_wire::What;

struct ObjectSessionTest : ::testing::Test {
    ObjectSessionTest() { EXPECT_TRUE(Vault::init(folder.path(), encrypted_config())); }
    ~ObjectSessionTest() override {
        for (std::thread& each : threads)
            each.join();
    }
    std::shared_ptr<ObjectStore> stored() const {
        return std::shared_ptr(FolderStore::open(folder.path()).value());
    }
    Fd connect() {
        auto [ours, theirs] = connected_pair().value();
        threads.emplace_back(
            [session = std::make_shared<ObjectSession>(stored(), std::move(theirs))] {
                static_cast<void>(session->run());
            });
        return std::move(ours);
    }
    std::shared_ptr<ObjectStore> remote() {
        return std::shared_ptr(RemoteStore::over(connect()).value());
    }
    std::shared_ptr<Vault> vault() { return Vault::open(remote(), test_keys()).value(); }

    TemporaryFolder folder;
    std::vector<std::thread> threads;
};

}  // namespace

TEST_F(ObjectSessionTest, PointsAreMadeAndReadAsInAFolder) {
    VaultModel model(vault(), 40 * kBlock + 77);
    model.change_some(30);
    ASSERT_TRUE(model.full());
    for (int i = 0; i < 3; ++i)
        ASSERT_TRUE(model.run(RunMode::kExtents, model.change_some(4)));
    EXPECT_EQ(model.check_all(), 4U);
    const auto report = Scrub(model.vault(), {.threads = 2}).run();
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_TRUE(report->sound());
    // Cut off and resumed over another connection.
    const auto blocks = model.change_some(6);
    {
        const auto writer = model.begin(RunMode::kExtents).value();
        for (std::size_t i = 0; i < 3; ++i)
            ASSERT_TRUE(model.put(*writer, blocks[i]));
        ASSERT_TRUE(writer->flush());
    }
    model.reopen(vault());
    const auto writer = model.begin(RunMode::kExtents, true).value();
    for (std::size_t i = 3; i < 6; ++i)
        ASSERT_TRUE(model.put(*writer, blocks[i]));
    ASSERT_TRUE(model.seal(*writer));
    EXPECT_EQ(model.check_all(), 5U);
    // Where it is kept it is pruned, by who has the key.
    model.reopen(Vault::open(folder.path(), test_keys()).value());
    EXPECT_EQ(model.check_all(), 5U);
}

TEST_F(ObjectSessionTest, OneWriterATimeAndTheLockEndsWithTheConnection) {
    auto first = vault();
    const SeriesLog log(first, "disk0");
    auto held = log.hold().value();
    const auto second = SeriesLog(vault(), "disk0").hold();
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kBusy);
    held.reset();
    EXPECT_TRUE(SeriesLog(vault(), "disk0").hold());
}

TEST_F(ObjectSessionTest, AReaderIsConnectedAgainAndAWriterIsNot) {
    VaultModel model(vault(), 10 * kBlock);
    model.change_some(10);
    ASSERT_TRUE(model.full());
    const auto there = stored();
    const std::string series = there->list_folders("log/").value().front();
    const std::string entry = there->list("log/" + series + "/").value().back().name;
    int last = -1;
    const auto dial = [&]() -> Result<Fd> {
        Fd socket = connect();
        last = socket.get();
        return socket;
    };
    const auto named = [](const std::string& name) {
        ByteWriter head;
        object_wire::put_text(head, name);
        return head;
    };
    const auto reader = ObjectLink::open(dial).value();
    const auto held = reader->hold(entry, HoldKind::kShared);
    ASSERT_TRUE(held);
    ::shutdown(last, SHUT_RDWR);
    EXPECT_TRUE(reader->ask(What::kSize, named(entry)));
    const auto taken = there->hold(entry, HoldKind::kExclusive);
    EXPECT_FALSE(taken) << "what was held is not held again";
    // Several questions at once are made up for by who asks them one by one.
    ::shutdown(last, SHUT_RDWR);
    const std::vector<ByteWriter> heads{named(entry), named(entry)};
    EXPECT_FALSE(reader->ask_all(What::kSize, heads, [](auto, const auto&) {}));
    std::size_t answers = 0;
    EXPECT_TRUE(reader->ask_all(What::kSize, heads, [&](auto, const auto&) { ++answers; }));
    EXPECT_EQ(answers, 2U);
    // Deleted while nobody held it.
    ::shutdown(last, SHUT_RDWR);
    const std::vector<std::string> gone{entry};
    ASSERT_TRUE(there->remove(gone));
    for (int i = 0; i < 2; ++i) {
        const auto answer = reader->ask(What::kSize, named(series));
        ASSERT_FALSE(answer);
        EXPECT_EQ(answer.error().code, Code::kRefused) << answer.error().text();
    }
    const auto writer = ObjectLink::open(dial).value();
    const auto lock = writer->hold("log/" + series, HoldKind::kExclusive);
    ASSERT_TRUE(lock);
    ::shutdown(last, SHUT_RDWR);
    const int before = last;
    const auto answer = writer->ask(What::kListFolders, named("log/"));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kDisconnected);
    EXPECT_EQ(last, before) << "it was connected again";
}

TEST_F(ObjectSessionTest, NothingThatOthersPutIsTakenAway) {
    VaultModel model(vault(), 10 * kBlock);
    model.change_some(10);
    ASSERT_TRUE(model.full());
    const auto there = stored();
    std::vector<std::string> names;
    for (const std::string top : {"log/", "index/", "segment/"}) {
        const auto folders = there->list_folders(top).value();
        ASSERT_EQ(folders.size(), 1U);
        const auto objects = there->list(top + folders.front() + "/").value();
        for (const ObjectInfo& each : objects)
            names.push_back(each.name);
    }
    ASSERT_GE(names.size(), 3U);
    const auto hostile = remote();
    for (const std::string& each : names) {
        const std::vector<std::string> one{each};
        const Status removed = hostile->remove(one);
        ASSERT_FALSE(removed);
        EXPECT_EQ(removed.error().code, Code::kRefused);
        EXPECT_FALSE(hostile->put_if_absent(each, Bytes(100)).value()) << "written over";
        EXPECT_FALSE(hostile->hold(each, HoldKind::kExclusive)) << each;
    }
    EXPECT_EQ(model.check_all(), 1U);
}

TEST_F(ObjectSessionTest, NoOtherNameIsReached) {
    const auto hostile = remote();
    const std::string hidden(64, 'a');
    const std::string digits(16, '0');
    const std::vector<std::string> names{"config/0000000000000002",
                                         "log/" + hidden + "/../../x",
                                         "/etc/passwd",
                                         "../x",
                                         "locks/x",
                                         "log/disk_0/" + digits,
                                         "log/" + hidden + "/" + digits + "0",
                                         "log/" + hidden,
                                         "log//" + digits,
                                         "quarantine/x",
                                         "log/" + hidden + "/",
                                         "segment/" + hidden + "/" + digits,
                                         std::string(300, 'a'),
                                         ""};
    for (const std::string& name : names) {
        EXPECT_FALSE(hostile->begin_put(name)) << name;
        EXPECT_FALSE(hostile->hold(name + "/x", HoldKind::kExclusive)) << name;
        if (name != "log/" + hidden + "/") {
            EXPECT_FALSE(hostile->list(name)) << name;
        }
        EXPECT_FALSE(hostile->list_folders(name)) << name;
        if (!name.starts_with("config/")) {
            EXPECT_FALSE(hostile->size(name)) << name;
        }
    }
    EXPECT_TRUE(hostile->begin_put("log/" + hidden + "/" + digits));
}

// Whatever comes over the connection, it ends or is answered; the vault stays as it was.
TEST_F(ObjectSessionTest, NonsenseIsRefused) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 40; ++round) {
        const object_wire::Connection connection(connect());
        ASSERT_TRUE(connection.send(What::kHello, ByteWriter().put(object_wire::kVersion).bytes()));
        ASSERT_TRUE(connection.receive());
        for (int i = 0; i < 20; ++i) {
            Bytes head(random() % 40);
            for (std::byte& each : head)
                each = static_cast<std::byte>(random() % 3);
            const auto what = static_cast<What>(random() % 14);
            if (!connection.send(what, head, Bytes(random() % 5))) break;
            if (!connection.receive()) break;
        }
        Bytes raw(64);
        for (std::byte& each : raw)
            each = static_cast<std::byte>(random());
        (void)!::send(connection.fd(), raw.data(), raw.size(), MSG_NOSIGNAL);
    }
    // Before the hello nothing is answered.
    const object_wire::Connection silent(connect());
    ASSERT_TRUE(silent.send(What::kListFolders, ByteWriter().put_string("log/").bytes()));
    const auto answer = silent.receive();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->what, What::kFailed);
    EXPECT_TRUE(stored()->list_folders("log/")->empty());
}

}  // namespace towline::testing
