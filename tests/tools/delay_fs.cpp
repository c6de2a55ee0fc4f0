// SPDX-License-Identifier: Apache-2.0
// A slow disk for tests: a mount with one file, `volume`, passed through to another file, whose
// writes take effect only after a while. A loop device on top of it has many writes in flight, and
// each lands long after it was submitted.
//
//     delay_fs FILE MOUNTPOINT DELAY_MS
//
// Stays in the foreground until it is unmounted.

#define FUSE_USE_VERSION 314

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

constexpr fuse_ino_t kVolume = 2;
constexpr double kForever = 3600;
constexpr unsigned kThreads = 128;

struct Backing {
    int fd = -1;
    std::chrono::milliseconds delay{};
};

Backing& backing(fuse_req_t request) {
    return *static_cast<Backing*>(fuse_req_userdata(request));
}

bool attributes(const Backing& backing, fuse_ino_t inode, struct stat& status) {
    status = {};
    status.st_ino = inode;
    if (inode == FUSE_ROOT_ID) {
        status.st_mode = S_IFDIR | 0700;
        status.st_nlink = 2;
        return true;
    }
    struct stat under {};
    if (inode != kVolume || ::fstat(backing.fd, &under) != 0) return false;
    status.st_mode = S_IFREG | 0600;
    status.st_nlink = 1;
    status.st_size = under.st_size;
    status.st_blocks = under.st_blocks;
    return true;
}

// FUSE holds back what comes above this many requests; by default 12.
void allow_many(void*, fuse_conn_info* connection) {
    connection->max_background = 8 * kThreads;
    connection->congestion_threshold = 8 * kThreads;
}

void look_up(fuse_req_t request, fuse_ino_t, const char* name) {
    fuse_entry_param entry{};
    entry.ino = kVolume;
    entry.attr_timeout = entry.entry_timeout = kForever;
    if (std::strcmp(name, "volume") != 0 || !attributes(backing(request), kVolume, entry.attr))
        fuse_reply_err(request, ENOENT);
    else
        fuse_reply_entry(request, &entry);
}

void get_attributes(fuse_req_t request, fuse_ino_t inode, fuse_file_info*) {
    struct stat status {};
    if (attributes(backing(request), inode, status))
        fuse_reply_attr(request, &status, kForever);
    else
        fuse_reply_err(request, ENOENT);
}

void open_volume(fuse_req_t request, fuse_ino_t, fuse_file_info* file) {
    file->direct_io = 1;
    fuse_reply_open(request, file);
}

void read_volume(fuse_req_t request, fuse_ino_t, std::size_t bytes, off_t at, fuse_file_info*) {
    std::vector<char> data(bytes);
    const ssize_t got = ::pread(backing(request).fd, data.data(), bytes, at);
    if (got < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_buf(request, data.data(), static_cast<std::size_t>(got));
}

void write_volume(fuse_req_t request, fuse_ino_t, const char* data, std::size_t bytes, off_t at,
                  fuse_file_info*) {
    std::this_thread::sleep_for(backing(request).delay);
    const ssize_t put = ::pwrite(backing(request).fd, data, bytes, at);
    if (put < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_write(request, static_cast<std::size_t>(put));
}

void sync_volume(fuse_req_t request, fuse_ino_t, int, fuse_file_info*) {
    fuse_reply_err(request, ::fdatasync(backing(request).fd) == 0 ? 0 : errno);
}

// What a discard of the loop device becomes.
void allocate(fuse_req_t request, fuse_ino_t, int mode, off_t at, off_t bytes, fuse_file_info*) {
    std::this_thread::sleep_for(backing(request).delay);
    fuse_reply_err(request, ::fallocate(backing(request).fd, mode, at, bytes) == 0 ? 0 : errno);
}

int serve(Backing& backing, const char* mount_point) {
    fuse_lowlevel_ops operations{};
    operations.init = allow_many;
    operations.lookup = look_up;
    operations.getattr = get_attributes;
    operations.open = open_volume;
    operations.read = read_volume;
    operations.write = write_volume;
    operations.fsync = sync_volume;
    operations.fallocate = allocate;
    std::array<char, 16> name{"delay_fs"};
    std::array<char*, 1> words{name.data()};
    fuse_args arguments{1, words.data(), 0};
    fuse_session* session = fuse_session_new(&arguments, &operations, sizeof operations, &backing);
    if (session == nullptr || fuse_session_mount(session, mount_point) != 0) return 1;
    fuse_loop_config* config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_max_threads(config, kThreads);
    fuse_loop_cfg_set_idle_threads(config, kThreads);
    const int failed = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
    if (count != 4) {
        std::fprintf(stderr, "usage: delay_fs FILE MOUNTPOINT DELAY_MS\n");
        return 2;
    }
    Backing backing;
    backing.fd = ::open(words[1], O_RDWR | O_CLOEXEC);
    if (backing.fd < 0) {
        std::perror(words[1]);
        return 1;
    }
    backing.delay = std::chrono::milliseconds(std::strtol(words[3], nullptr, 10));
    return serve(backing, words[2]);
}
