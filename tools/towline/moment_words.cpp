// SPDX-License-Identifier: Apache-2.0
// The options of tracker and snapshot, written once for `sync`, `job` and `template`.

#include "tools/towline/moment_words.hpp"

#include "tools/towline/sizes.hpp"

namespace towline {

namespace {

std::string check_store(const std::string& text) {
    const auto bytes = parse_size(text, "--store");
    return bytes ? "" : bytes.error().context;
}

}  // namespace

std::uint64_t MomentWords::store_bytes() const {
    return parse_size(store, "--store").value();
}

void add_moment_options(CLI::App& command, MomentWords& words) {
    command
        .add_option("--tracker", words.tracker,
                    "what knows the changes: kmod, bpf or fuse, attached if it is not; scan for "
                    "none; auto takes the best that is attached")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "kmod", "bpf", "fuse", "scan"}))
        ->capture_default_str();
    command
        .add_option("--snapshot", words.snapshot,
                    "what a live source is read from: kmod, fuse or lvm; converge: the source "
                    "itself, in rounds, the last one while its filesystems are frozen; auto makes "
                    "a snapshot of a source that is in use, or converges where it cannot and a "
                    "tracker is attached; none: the source itself, of a live one a fuzzy copy")
        ->type_name("NAME")
        ->check(CLI::IsMember({"auto", "kmod", "fuse", "lvm", "converge", "none"}))
        ->capture_default_str();
    command
        .add_option("--store", words.store,
                    "room for what is overwritten while a snapshot stands; 0: by the volume")
        ->type_name("SIZE")
        ->check(CLI::Validator(check_store, "SIZE"))
        ->capture_default_str();
    command.add_flag("--freeze,!--no-freeze", words.freeze,
                     "freeze the source's filesystems around the snapshot (default)");
}

}  // namespace towline
