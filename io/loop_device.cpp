// SPDX-License-Identifier: Apache-2.0
// The number that the kernel says is free may be somebody else's before we have it: then another
// one is asked for.

#include "io/loop_device.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace towline {

namespace {

constexpr int kTriesMax = 100;

std::unexpected<Error> cannot(const std::string& what) {
    Error error = system_error(errno, what);
    error.code = Code::kUnsupported;
    return std::unexpected(std::move(error));
}

}  // namespace

Result<LoopDevice> LoopDevice::attach(int backing, std::uint64_t offset_bytes,
                                      std::uint64_t bytes) {
    const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control) return cannot("no loop device can be had (/dev/loop-control; as root?)");
    loop_config config{};
    config.fd = static_cast<__u32>(backing);
    config.info.lo_offset = offset_bytes;
    config.info.lo_sizelimit = bytes;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    for (int tries = 0; tries < kTriesMax; ++tries) {
        const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) return cannot("no loop device can be had");
        std::filesystem::path path = "/dev/loop" + std::to_string(number);
        Fd device(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        if (!device) return cannot("opening " + path.string());
        if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0)
            return LoopDevice(std::move(device), std::move(path));
        if (errno != EBUSY) return cannot("setting up " + path.string());
    }
    return fail(Code::kBusy, "no loop device stays free long enough; try again");
}

Status LoopDevice::flush() const {
    if (::fsync(device_.get()) == 0) return {};
    return fail_errno("flushing " + path_.string());
}

}  // namespace towline
