// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cbt/fuse/control_server.hpp"
#include "cbt/fuse/fuse_server.hpp"
#include "cbt/fuse/image_tracking.hpp"

namespace towline {

struct DaemonOptions {
    TrackingOptions tracking;
    std::filesystem::path mountpoint;
    std::filesystem::path run_folder;    // the control socket is beneath it
    std::filesystem::path store_folder;  // of snapshots; empty: the state folder
    std::uint64_t store_bytes = 0;  // of a snapshot that asks for none; 0: a tenth of the image
    unsigned thread_count = 16;
    bool allow_other = false;
    bool take_over = false;  // of the daemon that serves the mountpoint now
    std::function<void(const std::string&)> log = [](const std::string&) {};
};

// One tracked image, mounted, from its start to its end. One thread runs it: it answers control
// requests and signals, while the server's threads answer the kernel.
class ImageDaemon {
  public:
    enum class Ended { kUnmounted, kHandedOver };

    // Mounted and served when it returns.
    static Result<std::unique_ptr<ImageDaemon>> start(DaemonOptions options);
    ImageDaemon(const ImageDaemon&) = delete;
    ImageDaemon& operator=(const ImageDaemon&) = delete;

    ImageStatus status() const { return tracking_->image().status(); }
    Resume resume() const { return tracking_->resume(); }
    bool sealed() const { return tracking_->sealed(); }
    const std::filesystem::path& control_path() const { return control_->path(); }

    // Until it is unmounted or handed over; the maps are saved then. `signals` is a signalfd:
    // whatever it says asks to unmount, which waits for those who use the mount.
    Result<Ended> run(int signals);

  private:
    struct Inherited {
        Fd device;
        std::vector<std::byte> init;
        Fd predecessor;
    };

    explicit ImageDaemon(DaemonOptions options) : options_(std::move(options)) {}
    Result<Inherited> take_over();
    Status open_tracking();
    Status begin_serving();
    Status go_back();
    ServedImage served() const;

    // image_daemon_requests.cpp
    ControlServer::Answer answer(ControlServer::Client client,
                                 const fuse_control::Request& request);
    Result<ControlServer::Answer> carry_out(ControlServer::Client client,
                                            const fuse_control::Request& request);
    Status prepare(ControlServer::Client client, const fuse_control::Request& request);
    Result<ControlServer::Answer> freeze();
    Result<ControlServer::Answer> hand_over(ControlServer::Client client);
    Status settle(const fuse_control::Request& request);
    void client_gone(ControlServer::Client client);
    void fill_in(fuse_control::Reply& reply) const;

    DaemonOptions options_;
    std::unique_ptr<ImageTracking> tracking_;
    std::unique_ptr<FuseServer> server_;
    std::optional<ControlServer> control_;
    Fd unmounted_;                                    // an eventfd
    std::optional<ControlServer::Client> freezer_;    // who has prepared a freeze
    std::optional<ControlServer::Client> successor_;  // to whom the device was given
    bool handed_over_ = false;
    bool goes_back_ = false;  // the successor died before it was ready
};

}  // namespace towline
