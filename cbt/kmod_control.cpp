// SPDX-License-Identifier: Apache-2.0
// One open control device a process is enough: requests to it wait for each other in the module.

#include "cbt/kmod_control.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <system_error>

namespace towline {

namespace {

Error meaning_of(int system_errno, const std::string& what) {
    const auto say = [&](Code code, const char* why) {
        return Error{code, system_errno, what + ": " + why};
    };
    switch (system_errno) {
        case ENOENT:
            return say(Code::kInvalid, "the module tracks nothing under this uuid");
        case EEXIST:
            return say(Code::kBusy, "it is attached already (towline track list shows it)");
        case EBUSY:
            return say(Code::kBusy,
                       "busy: it has a snapshot, or somebody has that open, or another module has "
                       "the hook (the kernel log says which)");
        case ESTALE:
            return say(Code::kRefused, "the epoch is not the frozen one any more");
        case ETIMEDOUT:
            return say(Code::kTimeout, "writes that were under way did not end in time");
        case EOPNOTSUPP:
            return say(Code::kUnsupported, "the module cannot track such a device (DAX, zoned)");
        default:
            return system_error(system_errno, what);
    }
}

}  // namespace

Result<KmodControl> KmodControl::open() {
    KmodControl control;
    control.fd_ = Fd(::open(TOWLINE_CONTROL_PATH, O_RDWR | O_CLOEXEC));
    if (!control.fd_) {
        const bool missing = errno == ENOENT || errno == ENXIO || errno == ENODEV;
        return fail(Code::kUnsupported,
                    missing ? "the kernel module towline is not loaded (modprobe towline; the "
                              "package towline-dkms has it)"
                            : std::string("cannot open " TOWLINE_CONTROL_PATH " (") +
                                  std::generic_category().message(errno) + "); run as root");
    }
    towline_version version{};
    TRY_STATUS(control.call(TOWLINE_IOC_VERSION, version, "asking the module for its version"));
    if (version.api != TOWLINE_API_VERSION) {
        return fail(Code::kUnsupported,
                    "the loaded kernel module speaks version " + std::to_string(version.api) +
                        " of the interface, not " + std::to_string(TOWLINE_API_VERSION) +
                        "; install the module of this Towline");
    }
    control.features_ = version.features;
    return control;
}

Status KmodControl::call_raw(unsigned long code, void* request, const std::string& what) const {
    if (::ioctl(fd_.get(), code, request) == 0) return {};
    return std::unexpected(meaning_of(errno, what));
}

}  // namespace towline
