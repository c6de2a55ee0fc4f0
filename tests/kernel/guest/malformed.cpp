// SPDX-License-Identifier: Apache-2.0
// Asks the module for what it must refuse, and checks how: wrong sizes, pointers, flags and
// numbers, then random requests. It attaches only to the device it is given; it may not crash, hand
// out a descriptor that it does not count, or forget what is attached.
//
//   malformed DEVICE [SEED [COUNT]]
#include <algorithm>
#include <cstddef>
#include <sys/sysmacros.h>

#include "module.hpp"

namespace {

int failures = 0;

void expect(const char* what, int result, int error_wanted, int error) {
    if (error_wanted == 0 ? result >= 0 : result < 0 && error == error_wanted) return;
    printf("%s: %d, %s; wanted %s\n", what, result, strerror(error), strerror(error_wanted));
    ++failures;
}

int call(int fd, unsigned long code, void* request) {
    errno = 0;
    return ioctl(fd, code, request);
}

struct Verb {
    const char* name;
    unsigned long code;
    size_t size;
    size_t flags_at;  // of a field of which no bit may be set that the module does not know
};

constexpr size_t kNoFlags = SIZE_MAX;
constexpr Verb kVerbs[] = {
    {"version", TOWLINE_IOC_VERSION, sizeof(towline_version), kNoFlags},
    {"attach", TOWLINE_IOC_ATTACH, sizeof(towline_attach), offsetof(towline_attach, flags)},
    {"detach", TOWLINE_IOC_DETACH, sizeof(towline_detach), offsetof(towline_detach, flags)},
    {"list", TOWLINE_IOC_LIST, sizeof(towline_list), offsetof(towline_list, flags)},
    {"status", TOWLINE_IOC_STATUS, sizeof(towline_status), kNoFlags},
    {"freeze", TOWLINE_IOC_FREEZE, sizeof(towline_freeze), offsetof(towline_freeze, flags)},
    {"map", TOWLINE_IOC_MAP, sizeof(towline_map), offsetof(towline_map, flags)},
    {"commit", TOWLINE_IOC_COMMIT, sizeof(towline_settle), offsetof(towline_settle, flags)},
    {"give_back", TOWLINE_IOC_GIVE_BACK, sizeof(towline_settle), offsetof(towline_settle, flags)},
    {"snapshot_status", TOWLINE_IOC_SNAPSHOT_STATUS, sizeof(towline_snapshot_status), kNoFlags},
    {"snapshot_delete", TOWLINE_IOC_SNAPSHOT_DELETE, sizeof(towline_snapshot_delete),
     offsetof(towline_snapshot_delete, flags)},
    {"snapshot_grow", TOWLINE_IOC_SNAPSHOT_GROW, sizeof(towline_snapshot_grow), kNoFlags},
    {"extents", TOWLINE_IOC_EXTENTS, sizeof(towline_extents), offsetof(towline_extents, flags)},
    {"log_status", TOWLINE_IOC_LOG_STATUS, sizeof(towline_log_status),
     offsetof(towline_log_status, flags)},
};

// A page with nothing readable behind it.
char* guarded_page() {
    auto* pages = static_cast<char*>(
        mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages == MAP_FAILED || munmap(pages + 4096, 4096) != 0) die("mmap");
    return pages;
}

void pointers_and_sizes(int fd) {
    char* page = guarded_page();
    for (const Verb& verb : kVerbs) {
        const auto refused = [&](const char* how, void* request, int error_wanted) {
            const int result = call(fd, verb.code, request);
            expect((std::string(verb.name) + ", " + how).c_str(), result, error_wanted, errno);
        };
        refused("no address", nullptr, EFAULT);
        refused("an address of the kernel", reinterpret_cast<void*>(0xffffffff81000000UL), EFAULT);
        refused("the end of a page", page + 4094, EFAULT);
        memset(page, 0, 4096);
        refused("size 0", page, EINVAL);
        for (const uint32_t size : {1U, 3U}) {
            memcpy(page, &size, sizeof(size));
            refused("a size that does not hold itself", page, EINVAL);
        }
        // A struct of a later day, in which something is asked for that this module does not know.
        auto size = static_cast<uint32_t>(verb.size + 64);
        memset(page, 0, 4096);
        memcpy(page, &size, sizeof(size));
        page[verb.size + 63] = 1;
        refused("something unknown behind its end", page, E2BIG);
        size = UINT32_MAX;
        memcpy(page, &size, sizeof(size));
        const int result = call(fd, verb.code, page);
        if (result == 0)
            expect((std::string(verb.name) + ", a size of 4 GiB").c_str(), 0, E2BIG, 0);
        // The struct ends beyond what can be read.
        size = static_cast<uint32_t>(verb.size);
        char* last = page + 4096 - 8;
        memcpy(last, &size, sizeof(size));
        refused("a struct that runs out of its page", last, EFAULT);
        memset(page, 0, 4096);
        if (verb.flags_at == kNoFlags) continue;
        memcpy(page, &size, sizeof(size));
        memset(page + verb.flags_at + 3, 0x80, 1);
        refused("an unknown flag", page, EINVAL);
    }
    int result = call(fd, _IO(TOWLINE_IOC_TYPE, 200), page);
    expect("an unknown verb", result, ENOTTY, errno);
    result = call(fd, BLKGETSIZE64, page);
    expect("another's verb", result, ENOTTY, errno);
}

void freezes(int fd, const towline_uuid& uuid) {
    towline_epoch epochs[TOWLINE_GROUP_MAX + 1] = {};
    for (towline_epoch& epoch : epochs)
        epoch.uuid = uuid;
    const auto freeze = [&](const char* what, uint32_t count, uint64_t at, uint32_t size,
                            int wanted) {
        towline_freeze request{};
        request.size = sizeof(request);
        request.count = count;
        request.epochs = at;
        request.epoch_size = size;
        const int result = call(fd, TOWLINE_IOC_FREEZE, &request);
        expect(what, result, wanted, errno);
    };
    const auto here = reinterpret_cast<uintptr_t>(epochs);
    freeze("freeze of none", 0, here, sizeof(towline_epoch), EINVAL);
    freeze("freeze of too many", TOWLINE_GROUP_MAX + 1, here, sizeof(towline_epoch), EINVAL);
    freeze("freeze of 4 billion", UINT32_MAX, here, sizeof(towline_epoch), EINVAL);
    freeze("freeze of nowhere", 1, 0, sizeof(towline_epoch), EFAULT);
    freeze("freeze of the kernel", 1, 0xffff888000000000UL, sizeof(towline_epoch), EFAULT);
    freeze("freeze, epochs of no size", 1, here, 0, EINVAL);
    freeze("freeze of one twice", 2, here, sizeof(towline_epoch), EINVAL);
}

// Snapshots that are refused, and one that is not: of the interface's first version.
void snapshots(int fd, const towline_uuid& uuid) {
    towline_epoch epoch{};
    epoch.uuid = uuid;
    const auto freeze = [&](const char* what, const towline_snapshot* snapshot, uint32_t size,
                            int wanted) {
        towline_freeze request{};
        request.size = sizeof(request);
        request.flags = TOWLINE_FREEZE_SNAPSHOT;
        request.count = 1;
        request.epochs = reinterpret_cast<uintptr_t>(&epoch);
        request.epoch_size = sizeof(epoch);
        request.snapshots = reinterpret_cast<uintptr_t>(snapshot);
        request.snapshot_size = size;
        const int result = call(fd, TOWLINE_IOC_FREEZE, &request);
        expect(what, result, wanted, errno);
    };
    const auto with = [&](const char* what, int wanted, auto change) {
        towline_snapshot snapshot{};
        snapshot.store_bytes = kMiB;
        change(snapshot);
        freeze(what, &snapshot, sizeof(snapshot), wanted);
    };
    constexpr uint32_t kFirstVersion = 32;
    towline_snapshot plain{};
    plain.store_bytes = kMiB;
    freeze("snapshots of no size", &plain, 0, EINVAL);
    freeze("snapshots too small", &plain, kFirstVersion - 1, EINVAL);
    freeze("snapshots too large", &plain, UINT32_MAX, EINVAL);
    freeze("snapshots nowhere", nullptr, sizeof(plain), EFAULT);
    with("chunks of an odd size", EINVAL, [](auto& each) { each.chunk_size = 5000; });
    with("chunks of 2 GiB", EINVAL, [](auto& each) { each.chunk_size = 1U << 31; });
    with("an unknown store", EINVAL, [](auto& each) { each.store_flags = 2; });
    with("more than all of it", EINVAL, [](auto& each) { each.notify_percent = 101; });
    with("no memory at all", EINVAL, [](auto& each) { each.store_bytes = 0; });
    with("all memory there is", ENOMEM, [](auto& each) { each.store_bytes = UINT64_MAX; });
    const auto in_file = [&](const char* what, int store, int wanted) {
        with(what, wanted, [&](auto& each) {
            each.store_flags = TOWLINE_STORE_FILE;
            each.store_fd = store;
        });
    };
    in_file("a store without a file", -1, EBADF);
    in_file("a store in the control device", fd, EOPNOTSUPP);
    in_file("a store that can't be written", open_or_die("/init", O_RDONLY), EBADF);
    in_file("a store in memory files", open_or_die("/tmp/store", O_RDWR | O_CREAT), EOPNOTSUPP);

    towline_snapshot_grow grow{};
    grow.size = sizeof(grow);
    grow.uuid = uuid;
    grow.store_bytes = kMiB;
    int result = call(fd, TOWLINE_IOC_SNAPSHOT_GROW, &grow);
    expect("growth of no snapshot", result, ENOENT, errno);
    freeze("a snapshot of the first version", &plain, kFirstVersion, 0);
    for (int part = 1; part < 16; ++part) {
        result = call(fd, TOWLINE_IOC_SNAPSHOT_GROW, &grow);
        expect("growth", result, 0, errno);
    }
    result = call(fd, TOWLINE_IOC_SNAPSHOT_GROW, &grow);
    expect("growth beyond all bounds", result, ENOSPC, errno);
    grow.store_flags = 4;
    result = call(fd, TOWLINE_IOC_SNAPSHOT_GROW, &grow);
    expect("growth by something unknown", result, EINVAL, errno);
    char event[sizeof(towline_event)];
    result = static_cast<int>(read(fd, event, sizeof(event) - 1));
    expect("a read of less than an event", result, EINVAL, errno);
}

void random_requests(int fd, uint64_t seed, uint64_t count, const towline_uuid& uuid) {
    Random random(seed);
    alignas(8) char request[1024];
    char* page = guarded_page();
    for (uint64_t at = 0; at < count; ++at) {
        const Verb& verb = kVerbs[random.below(std::size(kVerbs))];
        if (verb.code == TOWLINE_IOC_ATTACH || verb.code == TOWLINE_IOC_DETACH) continue;
        for (char& byte : request)
            byte = static_cast<char>(random.below(4) == 0 ? random.next() : 0);
        uint32_t size =
            static_cast<uint32_t>(random.below(3) != 0 ? verb.size : random.below(1100));
        size = std::min<uint32_t>(size, sizeof(request));
        memcpy(request, &size, sizeof(size));
        if (random.below(2) == 0) memcpy(request + 8, &uuid, sizeof(uuid));
        if (verb.code == TOWLINE_IOC_FREEZE || verb.code == TOWLINE_IOC_LIST) {
            // Lists lie where they may be written, or reach over the page's end.
            const uint64_t list = reinterpret_cast<uintptr_t>(page) + random.below(4096);
            memcpy(request + 8, &list, sizeof(list));
            const auto entries = static_cast<uint32_t>(random.below(70));
            memcpy(request + 16, &entries, sizeof(entries));
            const uint32_t timeout = 10;
            if (verb.code == TOWLINE_IOC_FREEZE) memcpy(request + 24, &timeout, sizeof(timeout));
            // Sometimes of one device, with a snapshot in whatever words follow.
            if (verb.code == TOWLINE_IOC_FREEZE && random.below(4) == 0) {
                const uint32_t flags = TOWLINE_FREEZE_SNAPSHOT, one = 1;
                const uint32_t snapshot_size = static_cast<uint32_t>(random.below(2) * 24) + 32;
                memcpy(request + 4, &flags, sizeof(flags));
                memcpy(request + 16, &one, sizeof(one));
                memcpy(request + 32, &list, sizeof(list));
                memcpy(request + 40, &snapshot_size, sizeof(snapshot_size));
            }
        }
        char* place = random.below(4) == 0 ? page + 4096 - random.below(verb.size + 8) : request;
        if (call(fd, verb.code, place) == 0 && verb.code == TOWLINE_IOC_MAP && place == request) {
            towline_map told{};
            memcpy(&told, request, std::min<size_t>(size, sizeof(told)));
            if (size >= offsetof(towline_map, fd) + sizeof(told.fd)) close(told.fd);
        }
    }
}

towline_uuid attach(const Module& module, const char* device) {
    struct stat status {};
    if (stat(device, &status) != 0) die("stat %s", device);
    towline_attach request{};
    request.major = major(status.st_rdev);
    request.minor = minor(status.st_rdev);
    module.call("attach", TOWLINE_IOC_ATTACH, request);
    return request.uuid;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) errno = EINVAL, die("malformed DEVICE [SEED [COUNT]]");
    const Module module;
    const towline_uuid uuid = attach(module, arguments[1]);
    const int fd = open_or_die(TOWLINE_CONTROL_PATH, O_RDWR | O_NONBLOCK);
    pointers_and_sizes(fd);
    freezes(fd, uuid);
    snapshots(fd, uuid);
    random_requests(fd, count > 2 ? number(arguments[2]) : 1,
                    count > 3 ? number(arguments[3]) : 1000, uuid);
    towline_snapshot_delete snapshot_delete{};
    snapshot_delete.uuid = uuid;
    snapshot_delete.size = sizeof(snapshot_delete);
    if (module.try_call(TOWLINE_IOC_SNAPSHOT_DELETE, snapshot_delete) != 0 && errno != ENOENT)
        die("delete of the snapshot");
    // After all that, it goes on as if nothing had been.
    towline_status status{};
    status.uuid = uuid;
    module.call("status", TOWLINE_IOC_STATUS, status);
    towline_detach detach{};
    detach.uuid = uuid;
    module.call("detach", TOWLINE_IOC_DETACH, detach);
    printf("malformed: %d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
