// SPDX-License-Identifier: Apache-2.0
// Where the system forbids something, a run goes on with less and a person is told. Each case runs
// in a child process, since what it gives up cannot be had back.

#include <algorithm>
#include <cstddef>
#include <functional>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine_fixture.hpp"

namespace towline {
namespace {

constexpr std::size_t kPoolBytes = 4 << 20;

// Runs `body` in a child; the text that it returns, or how it died.
std::string in_child(const std::function<std::string()>& body) {
    int ends[2];
    CHECK(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd reading(ends[0]);
    Fd writing(ends[1]);
    const pid_t child = ::fork();
    CHECK(child >= 0);
    if (child == 0) {
        const std::string text = body();
        const bool wrote = ::write(writing.get(), text.data(), text.size()) >= 0;
        ::_exit(wrote ? 0 : 1);
    }
    writing.reset();
    std::string text(4096, '\0');
    text.resize(static_cast<std::size_t>(
        std::max<ssize_t>(0, ::read(reading.get(), text.data(), text.size()))));
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
    return status == 0 ? text : "died with status " + std::to_string(status);
}

void forbid(long system_call, int error) {
    const auto number = static_cast<std::uint32_t>(system_call);
    const auto refusal = SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error);
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, refusal),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{4, filter};
    CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

void drop_capabilities() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    const __user_cap_data_struct none[2] = {};
    CHECK(::syscall(SYS_capset, &header, none) == 0);
}

// Writes a block and reads it back.
std::string works(IoEngine& engine, BufferPool& pool) {
    const EngineFolder folder;
    const Fd fd(::open((folder.path() / "file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    const auto file = engine.attach(fd.get());
    if (!file) return file.error().text();
    Buffer* out = pool.take();
    Buffer* in = pool.take();
    fill_noise(out->bytes(), 1);
    Outcome moved;
    engine.write(*file, out->bytes(), 0, moved.done);
    while (engine.in_flight() > 0 && engine.run_once()) {
    }
    engine.read(*file, in->bytes(), 0, moved.done);
    while (engine.in_flight() > 0 && engine.run_once()) {
    }
    const bool same = std::ranges::equal(out->bytes(), in->bytes());
    pool.give(in);
    pool.give(out);
    return same ? "works" : "does not work";
}

std::string describe(EngineKind kind) {
    auto engine = make_engine(kind);
    if (!engine) return engine.error().text();
    BufferPool pool(2, kPoolBytes / 2);
    (*engine)->register_buffers(pool);
    // Memory is registered when it is used: the notes come after.
    const std::string worked = works(**engine, pool);
    return std::string((*engine)->name()) + ": " + worked + ": " + (*engine)->notes();
}

TEST(EngineFallbackTest, TakesIoUringWhereItIsAllowed) {
    EXPECT_EQ(in_child([] { return describe(EngineKind::kAuto); }), "io_uring: works: ");
}

TEST(EngineFallbackTest, TakesLibaioWhereIoUringIsForbidden) {
    const std::string told = in_child([] {
        forbid(SYS_io_uring_setup, EPERM);
        return describe(EngineKind::kAuto);
    });
    EXPECT_TRUE(told.starts_with("aio: works: io_uring cannot be used")) << told;
    EXPECT_NE(told.find("kernel.io_uring_disabled"), std::string::npos) << told;
}

TEST(EngineFallbackTest, TakesLibaioWhereTheKernelHasNoIoUring) {
    const std::string told = in_child([] {
        forbid(SYS_io_uring_setup, ENOSYS);
        return describe(EngineKind::kAuto);
    });
    EXPECT_TRUE(told.starts_with("aio: works: io_uring cannot be used")) << told;
}

TEST(EngineFallbackTest, SaysSoWhenIoUringWasAskedForByName) {
    const std::string told = in_child([] {
        forbid(SYS_io_uring_setup, EPERM);
        return describe(EngineKind::kUring);
    });
    EXPECT_TRUE(told.starts_with("io_uring cannot be used")) << told;
}

TEST(EngineFallbackTest, TakesLibaioWhereNothingCanBeRegistered) {
    const std::string told = in_child([] {
        forbid(SYS_io_uring_register, EPERM);
        return describe(EngineKind::kAuto);
    });
    EXPECT_TRUE(told.starts_with("aio: works: io_uring cannot be used")) << told;
}

std::string describe_with_memlock(EngineKind kind, rlim_t bytes) {
    const rlimit limit{bytes, bytes};
    CHECK(::setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    drop_capabilities();
    return describe(kind);
}

TEST(EngineFallbackTest, WorksWithoutRegisteredBuffersAndSaysSo) {
    const std::string told =
        in_child([] { return describe_with_memlock(EngineKind::kUring, kPoolBytes / 2); });
    EXPECT_TRUE(told.starts_with("io_uring: works: registered buffers refused")) << told;
    EXPECT_NE(told.find("memlock"), std::string::npos) << told;
}

// Newer kernels count the ring itself.
TEST(EngineFallbackTest, WorksWithoutAnyLockedMemory) {
    const std::string told = in_child([] { return describe_with_memlock(EngineKind::kAuto, 0); });
    EXPECT_NE(told.find(": works: "), std::string::npos) << told;
    EXPECT_NE(told.find("memlock"), std::string::npos) << told;
}

}  // namespace
}  // namespace towline
