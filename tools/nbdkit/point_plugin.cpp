// SPDX-License-Identifier: Apache-2.0
// An nbdkit plugin that serves a recovery point: an export a volume, called as its file is in a
// mount. `towline point serve` starts nbdkit with it, and is who checks what a user says; this
// reads words, holds the point, and passes requests on to what a mount stands on too. Requests come
// from many threads at once, and all connections see one overlay: what one has written, the others
// read, so several of them are one client's as much as several clients'.
//
// Nothing that needs a thread is made before nbdkit is in the process that serves (after_fork).

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <unistd.h>

#include "userspace/vault/point_extents.hpp"

namespace towline {

namespace {

struct Words {
    std::string point;    // as a user names it, by its whole id
    std::string volume;   // the only one that is served; empty: all
    std::string scratch;  // of an overlay; empty: none
    KeySource keys;
    VolumeCache::Options cache;
    int ready = -1;  // is closed when clients are served
};

// One point a process.
struct Served {
    Words words;
    std::optional<OpenPoint> point;
    std::unique_ptr<PointFolder> folder;
};

Served& served() {
    static Served the_one;
    return the_one;
}

int refuse(const Error& error) {
    nbdkit_error("%s", error.text().c_str());
    return -1;
}

int failed(const Error& error) {
    nbdkit_set_error(served().folder->told(error));
    return -1;
}

PointFolder::File& file_of(void* handle) {
    return *static_cast<PointFolder::File*>(handle);
}

// --- words --------------------------------------------------------------------------------------

template <typename T>
int number(const char* key, std::string_view text, T& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    if (error == std::errc() && end == text.data() + text.size()) return 0;
    nbdkit_error("%s is no number: %s", key, text.data());
    return -1;
}

int take_word(const char* key, const char* value) {
    Words& words = served().words;
    const std::string_view name = key;
    if (name == "point") return words.point = value, 0;
    if (name == "volume") return words.volume = value, 0;
    if (name == "scratch") return words.scratch = value, 0;
    if (name == "key-file") return words.keys.key_files.emplace_back(value), 0;
    if (name == "passphrase-file") return words.keys.passphrase_files.emplace_back(value), 0;
    if (name == "cache") return number(key, value, words.cache.cache_bytes);
    if (name == "ready") return number(key, value, words.ready);
    nbdkit_error("the plugin knows no word %s", key);
    return -1;
}

int check_words() {
    if (!served().words.point.empty()) return 0;
    nbdkit_error("point=POINT is needed; see: towline point serve --help");
    return -1;
}

// --- the point ----------------------------------------------------------------------------------

Status open_point(Served& it) {
    Words& words = it.words;
    words.keys.demanded = !words.keys.empty();
    const VaultName name = TRY(VaultName::parse_point(words.point, {}));
    it.point = TRY(OpenPoint::open(name, words.keys));
    return {};
}

Status open_volumes(Served& it) {
    it.folder = TRY(PointFolder::open(*it.point, it.words.cache, it.words.volume));
    it.folder->set_log([](const std::string& line) { nbdkit_error("%s", line.c_str()); });
    if (!it.words.scratch.empty()) TRY_STATUS(it.folder->overlay(it.words.scratch));
    return {};
}

int get_ready() {
    const Status opened = open_point(served());
    return opened ? 0 : refuse(opened.error());
}

int after_fork() {
    const Status opened = open_volumes(served());
    if (!opened) return refuse(opened.error());
    const Fd told(std::exchange(served().words.ready, -1));
    if (told) (void)!::write(told.get(), "1", 1);
    return 0;
}

void cleanup() {
    served().folder.reset();
    served().point.reset();
}

// --- exports ------------------------------------------------------------------------------------

// The only volume is the one that a client without a wish gets. Of several it is nobody's to
// choose.
const char* default_export(int, int) {
    const auto& files = served().folder->files();
    return nbdkit_strdup_intern(files.size() == 1 ? files.front().name.c_str() : "");
}

int list_exports(int, int, nbdkit_exports* exports) {
    for (const PointFolder::File& each : served().folder->files())
        if (nbdkit_add_export(exports, each.name.c_str(), nullptr) != 0) return -1;
    return 0;
}

void* open_export(int) {
    auto& files = served().folder->files();
    const std::string name = nbdkit_export_name();
    if (name.empty() && files.size() == 1) return &files.front();
    const auto found = std::ranges::find(files, name, &PointFolder::File::name);
    if (found != files.end()) return &*found;
    nbdkit_error("the point has no volume \"%s\"; nbdinfo --list says which there are",
                 name.c_str());
    nbdkit_set_error(ENOENT);
    return nullptr;
}

std::int64_t get_size(void* handle) {
    return static_cast<std::int64_t>(file_of(handle).volume->volume().size_bytes());
}

int block_size(void* handle, std::uint32_t* least, std::uint32_t* preferred, std::uint32_t* most) {
    *least = 1;
    *preferred = file_of(handle).volume->volume().block_bytes();
    *most = 0xffffffff;
    return 0;
}

int is_writable(void* handle) {
    return file_of(handle).overlay != nullptr;
}

int yes(void*) {
    return 1;
}

// What is written goes with this process, and need not be more durable than that.
int can_fua(void*) {
    return NBDKIT_FUA_NATIVE;
}

// --- requests -----------------------------------------------------------------------------------

int read_bytes(void* handle, void* buffer, std::uint32_t count, std::uint64_t offset,
               std::uint32_t) {
    PointFolder::File& file = file_of(handle);
    const MutableByteSpan into(static_cast<std::byte*>(buffer), count);
    const Status read =
        file.overlay ? file.overlay->read(offset, into) : file.volume->read(offset, into);
    return read ? 0 : failed(read.error());
}

int write_bytes(void* handle, const void* buffer, std::uint32_t count, std::uint64_t offset,
                std::uint32_t) {
    const ByteSpan from(static_cast<const std::byte*>(buffer), count);
    const Status written = file_of(handle).overlay->write(offset, from);
    return written ? 0 : failed(written.error());
}

// Of a discard too: what it leaves is zeros, and the scratch's room is given back.
int make_zeros(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t) {
    const Status zeroed = file_of(handle).overlay->zero(offset, count);
    return zeroed ? 0 : failed(zeroed.error());
}

int flush(void*, std::uint32_t) {
    return 0;
}

int tell_extents(void* handle, std::uint32_t count, std::uint64_t offset, std::uint32_t,
                 nbdkit_extents* extents) {
    const auto list = extents_of(file_of(handle), {offset, count});
    if (!list) return failed(list.error());
    for (const PointExtent& each : *list) {
        const std::uint32_t kind = each.zeros ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0;
        if (nbdkit_add_extent(extents, each.range.offset_bytes, each.range.length_bytes, kind) != 0)
            return -1;
    }
    return 0;
}

nbdkit_plugin table() {
    nbdkit_plugin plugin{};
    plugin.name = "towline";
    plugin.longname = "a recovery point of a Towline vault";
    plugin.version = TOWLINE_VERSION;
    plugin.config = take_word;
    plugin.config_complete = check_words;
    plugin.config_help = "It is started by: towline point serve";
    plugin.get_ready = get_ready;
    plugin.after_fork = after_fork;
    plugin.cleanup = cleanup;
    plugin.default_export = default_export;
    plugin.list_exports = list_exports;
    plugin.open = open_export;
    plugin.get_size = get_size;
    plugin.block_size = block_size;
    plugin.can_write = is_writable;
    plugin.can_flush = is_writable;
    plugin.can_trim = is_writable;
    plugin.can_zero = is_writable;
    plugin.can_fast_zero = is_writable;
    plugin.can_fua = can_fua;
    plugin.can_extents = yes;
    plugin.can_multi_conn = yes;
    plugin.pread = read_bytes;
    plugin.pwrite = write_bytes;
    plugin.trim = make_zeros;
    plugin.zero = make_zeros;
    plugin.flush = flush;
    plugin.extents = tell_extents;
    return plugin;
}

nbdkit_plugin plugin = table();

}  // namespace

NBDKIT_REGISTER_PLUGIN(plugin)

}  // namespace towline
