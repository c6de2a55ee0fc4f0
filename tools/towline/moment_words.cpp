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
        .add_option("--tracker", words.tracker, "what knows the changes; by name it is attached")
        ->check(CLI::IsMember({"auto", "kmod", "bpf", "fuse", "scan"}))
        ->capture_default_str();
    command
        .add_option("--snapshot", words.snapshot,
                    "what a live source is read from; none: the source itself, a fuzzy copy")
        ->check(CLI::IsMember({"auto", "kmod", "fuse", "lvm", "converge", "none"}))
        ->capture_default_str();
    command
        .add_option("--store", words.store,
                    "room for what is overwritten while a snapshot stands; 0: by the volume")
        ->check(CLI::Validator(check_store, "SIZE"))
        ->capture_default_str();
    command.add_flag("--freeze,!--no-freeze", words.freeze,
                     "freeze the source's filesystems around the snapshot (default)");
}

}  // namespace towline
