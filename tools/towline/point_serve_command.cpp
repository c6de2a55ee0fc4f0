// SPDX-License-Identifier: Apache-2.0
// `towline point serve`: a recovery point for NBD clients, by nbdkit and a plugin of ours. All that
// a user may have got wrong is looked at here, where it can be said in our words.

#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "tools/towline/key_words.hpp"
#include "tools/towline/nbdkit_process.hpp"
#include "tools/towline/point_commands.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline {

namespace {

namespace fs = std::filesystem;

struct PointServeWords {
    std::string point;
    std::string address;
    std::string volume;
    KeyWords keys;
    std::string state_dir = "/var/lib/towline";
    std::uint64_t cache_bytes = std::uint64_t{64} << 20;
    std::string scratch = "/var/tmp";
    bool overlay = false;
    bool json = false;
};

Result<Address> parse_address(const std::string& text) {
    Address address = TRY(Address::parse(text));
    if (address.kind != Address::Kind::kUnix) {
        return fail(Code::kInvalid,
                    text +
                        ": a point is served on a Unix socket, that its owner "
                        "alone can reach: --nbd unix:PATH (from elsewhere: ssh -L)");
    }
    address.path = fs::absolute(address.path).lexically_normal();
    return Address::parse(address.text());
}

// As in RFC 3986; what NBD's own clients take for a path stays.
std::string escaped(std::string_view text, std::string_view kept) {
    static constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string out;
    for (const char each : text) {
        const auto byte = static_cast<unsigned char>(each);
        if (std::isalnum(byte) != 0 || kept.find(each) != std::string_view::npos) {
            out += each;
        } else {
            out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
        }
    }
    return out;
}

std::string uri_of(const Address& address, const std::string& export_name) {
    return "nbd+unix:///" + escaped(export_name, "-._~") +
           "?socket=" + escaped(address.path, "-._~/");
}

// What of the point is served.
struct Shown {
    std::string point;  // its whole id
    std::string created_at;
    struct Export {
        std::string name;
        std::uint64_t bytes = 0;
    };
    std::vector<Export> exports;
};

Result<Shown> look_at(const Point& point, const std::string& only) {
    Shown shown{.point = point.id.text(), .created_at = point.created_at, .exports = {}};
    for (const PointVolume& each : point.volumes)
        if (only.empty() || each.name == only) shown.exports.push_back({each.name, each.bytes});
    if (shown.exports.empty()) static_cast<void>(TRY(find_volume(point, only)));
    return shown;
}

std::string report_of(const Shown& shown, const Address& address, bool overlay, bool json) {
    nlohmann::json volumes = nlohmann::json::array();
    std::string text = "point " + shown.point + " of " + shown.created_at;
    for (const Shown::Export& each : shown.exports) {
        // Of one volume a client need not know the name.
        const std::string uri = uri_of(address, shown.exports.size() == 1 ? "" : each.name);
        volumes.push_back({{"name", each.name}, {"uri", uri}, {"bytes", each.bytes}});
        text += "\n" + uri;
    }
    if (!json) return text;
    return nlohmann::json{{"point", shown.point},
                          {"created_at", shown.created_at},
                          {"volumes", std::move(volumes)},
                          {"overlay", overlay},
                          {"pid", ::getpid()}}
        .dump(2);
}

// Keeps what a person is asked for, for the one who opens the vault after us.
KeySource remembering(KeySource keys, Secret& answer) {
    if (!keys.ask) return keys;
    keys.ask = [ask = std::move(keys.ask), &answer](const std::string& prompt) -> Result<Secret> {
        Secret given = TRY(ask(prompt));
        answer = Secret::copy_of(given.bytes());
        return given;
    };
    return keys;
}

void add_key_files(std::vector<std::string>& line, const KeySource& keys) {
    for (const fs::path& each : keys.key_files)
        line.push_back("key-file=" + each.string());
    for (const fs::path& each : keys.passphrase_files)
        line.push_back("passphrase-file=" + each.string());
}

Status serve_point(const PointServeWords& words, const ServiceCalls& calls) {
    VaultName name = TRY(VaultName::parse_point(words.point, words.state_dir));
    const Address address = TRY(parse_address(words.address));
    const NbdkitPrograms programs = TRY(NbdkitPrograms::find());
    NbdkitWords server{.plugin_words = {}, .read_only = !words.overlay, .passphrase = {}};
    const KeySource keys = remembering(key_source(words.keys), server.passphrase);
    // Held until the plugin holds it.
    std::optional<OpenPoint> point = TRY(OpenPoint::open(name, keys));
    const Shown shown = TRY(look_at(point->point(), words.volume));
    name.point = shown.point;
    server.plugin_words.push_back("point=" + name.text());
    server.plugin_words.push_back("cache=" + std::to_string(words.cache_bytes));
    if (!words.volume.empty()) server.plugin_words.push_back("volume=" + words.volume);
    if (words.overlay)
        server.plugin_words.push_back("scratch=" + fs::absolute(words.scratch).string());
    if (point->vault()->sealed() != nullptr) add_key_files(server.plugin_words, keys);
    const Fd signals = TRY(ending_signals());
    ::umask(0077);  // whoever reaches the socket reads the point
    const Listener listener = TRY(Listener::open(address));
    NbdkitProcess process = TRY(NbdkitProcess::start(programs, server, listener));
    point.reset();
    calls.ready(report_of(shown, address, words.overlay, words.json));
    return process.run(signals.get());
}

}  // namespace

void add_point_serve_command(CLI::App& group, std::function<int()>& run) {
    auto words = std::make_shared<PointServeWords>();
    CLI::App* command =
        group.add_subcommand("serve", "Serves a point to NBD clients, until it is told to end.");
    command->add_option("POINT", words->point, "vault:DIR/NAME@ID")->required();
    command
        ->add_option("--nbd", words->address,
                     "where: unix:PATH, a socket that is made, and in the end removed")
        ->type_name("ADDRESS")
        ->required();
    add_key_options(*command, words->keys);
    add_records_option(*command, words->state_dir);
    command
        ->add_option("--volume", words->volume, "which one, of a point that has several; else all")
        ->type_name("NAME");
    command
        ->add_option("--cache", words->cache_bytes,
                     "memory for blocks that were read (default 64M)")
        ->type_name("SIZE")
        ->transform(CLI::AsSizeValue(false));
    CLI::Option* overlay = command->add_flag(
        "--overlay", words->overlay,
        "it can be written to; what is written is kept until it ends, then dropped");
    command
        ->add_option("--scratch", words->scratch,
                     "the folder in which it is kept meanwhile, in a nameless file")
        ->type_name("DIR")
        ->needs(overlay)
        ->capture_default_str();
    command->add_flag("--json", words->json, "report as one JSON object on standard output");
    command->callback([words, &run] {
        run = [words] {
            return run_service(
                {.command = "point serve",
                 .foreground = true,
                 .json = words->json,
                 .run = [&](const ServiceCalls& calls) { return serve_point(*words, calls); }});
        };
    });
}

}  // namespace towline
