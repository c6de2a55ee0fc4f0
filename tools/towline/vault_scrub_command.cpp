// SPDX-License-Identifier: Apache-2.0
// `towline vault scrub` and `check`: what is damaged, and what it costs. An encrypted vault is
// scrubbed by who keeps it too, as far as that goes without its key.

#include <cstdio>
#include <optional>
#include <thread>

#include "tools/towline/exit_codes.hpp"
#include "tools/towline/interruption.hpp"
#include "tools/towline/vault_commands.hpp"
#include "userspace/vault/block_mender.hpp"
#include "userspace/vault/outside_scrub.hpp"
#include "userspace/vault/repair.hpp"
#include "userspace/vault/scrub_progress.hpp"

namespace towline {

namespace {

nlohmann::json json_of(const ScrubFinding& finding) {
    nlohmann::json hits = nlohmann::json::array();
    for (const auto& hit : finding.hits) {
        nlohmann::json ranges = nlohmann::json::array();
        for (const Extent& each : hit.bytes)
            ranges.push_back({{"offset", each.offset_bytes}, {"length", each.length_bytes}});
        hits.push_back({{"point", hit.name}, {"volume", hit.volume}, {"bytes", std::move(ranges)}});
    }
    return {{"object", finding.object}, {"what", finding.what}, {"points", std::move(hits)}};
}

void print(const ScrubFinding& finding) {
    std::printf("BAD  %s: %s\n", finding.object.c_str(), finding.what.c_str());
    for (const auto& hit : finding.hits) {
        std::printf("     %s, volume %s: %s cannot be read:", hit.name.c_str(), hit.volume.c_str(),
                    bytes_text(total_bytes(hit.bytes)).c_str());
        static constexpr std::size_t kShown = 4;
        for (std::size_t i = 0; i < hit.bytes.size() && i < kShown; ++i)
            std::printf(" %llu+%llu", static_cast<unsigned long long>(hit.bytes[i].offset_bytes),
                        static_cast<unsigned long long>(hit.bytes[i].length_bytes));
        std::printf("%s\n", hit.bytes.size() > kShown ? " ..." : "");
    }
}

void tell(const ScrubReport& report, const VaultWords& words, double elapsed, bool with_key) {
    if (words.json) {
        nlohmann::json findings = nlohmann::json::array();
        for (const ScrubFinding& each : report.findings)
            findings.push_back(json_of(each));
        print_json({{"sound", report.sound()},
                    {"without_key", !with_key},
                    {"objects", report.objects},
                    {"bytes", report.bytes},
                    {"bytes_resumed", report.resumed_bytes},
                    {"blocks", report.blocks},
                    {"points", report.points},
                    {"garbage_bytes", report.garbage_bytes},
                    {"seconds", elapsed},
                    {"findings", std::move(findings)}});
        return;
    }
    for (const ScrubFinding& each : report.findings)
        print(each);
    const char* const verdict = report.sound() ? "sound" : "NOT SOUND";
    const auto objects = static_cast<unsigned long long>(report.objects);
    if (!with_key) {
        std::printf(
            "%s as it is stored: %llu objects, %s in %.2f s. Without the key it is not known "
            "what they decrypt to, nor whether points have all they need\n",
            verdict, objects, bytes_text(report.bytes).c_str(), elapsed);
        return;
    }
    std::printf("%s: %llu points, %llu objects, %s in %.2f s; %s can be given back by prune\n",
                verdict, static_cast<unsigned long long>(report.points), objects,
                bytes_text(report.bytes).c_str(), elapsed,
                bytes_text(report.garbage_bytes).c_str());
}

Result<int> scrub_vault(const VaultWords& words, const std::shared_ptr<Vault>& vault,
                        const std::string& name, bool blocks) {
    catch_signals();
    std::optional<ScrubProgress> progress;
    if (blocks) {
        auto opened = ScrubProgress::open(
            std::filesystem::absolute(words.state_dir) / "scrubs" / vault->id().text(),
            words.resume);
        // Where nothing can be noted, a scrub can still be made.
        if (!opened && words.resume) return std::unexpected(opened.error());
        if (opened) progress = std::move(*opened);
    }
    VaultBar bar(words, blocks ? "Scrub" : "Check");
    const Instant began = monotonic_now();
    Scrub::Options options{
        .blocks = blocks,
        .only = name.empty() ? "" : TRY(encode_series(name)),
        .bytes_per_second = static_cast<std::uint64_t>(words.rate_mbit * 1e6 / 8),
        .threads = std::max(1U, std::thread::hardware_concurrency()),
        .progress = [&](std::uint64_t done, std::uint64_t total) { bar.show(done, total); },
        .cancelled = interrupted};
    if (progress) {
        options.sound_before = progress->sound_before();
        options.on_sound = [&](const std::string& object) { progress->add(object); };
    }
    auto done = Scrub(vault, std::move(options)).run();
    bar.clear();
    const ScrubReport report = TRY(std::move(done));
    if (progress) progress->finish();
    const double elapsed = seconds(monotonic_now() - began);
    tell(report, words, elapsed, true);
    return report.sound() ? 0 : static_cast<int>(Exit::kCorrupt);
}

Result<int> scrub_stored(const VaultWords& words, const VaultOutside& outside) {
    catch_signals();
    VaultBar bar(words, "Scrub");
    const Instant began = monotonic_now();
    auto done = scrub_outside(
        outside, {.progress = [&](std::uint64_t at, std::uint64_t total) { bar.show(at, total); },
                  .cancelled = interrupted});
    bar.clear();
    const ScrubReport report = TRY(std::move(done));
    tell(report, words, seconds(monotonic_now() - began), false);
    return report.sound() ? 0 : static_cast<int>(Exit::kCorrupt);
}

Result<int> scrub(const VaultWords& words) {
    const KeySource keys = key_source(words.keys);
    VaultName name = TRY(find_vault(words.folder));
    name.records = words.state_dir;
    VaultOutside outside = TRY(name.look());
    if (outside.config.encryption && keys.empty() && name.name.empty())
        return scrub_stored(words, outside);
    return scrub_vault(words, TRY(Vault::open(std::move(outside), keys)), name.name, true);
}

// Whether there was anything to mend.
Result<bool> mend(const VaultWords& words, const std::shared_ptr<Vault>& vault) {
    VaultBar bar(words, "Scrub");
    auto done =
        Scrub(vault,
              {.threads = std::max(1U, std::thread::hardware_concurrency()),
               .progress = [&](std::uint64_t at, std::uint64_t total) { bar.show(at, total); },
               .cancelled = interrupted})
            .run();
    bar.clear();
    const ScrubReport scrubbed = TRY(std::move(done));
    if (scrubbed.bad_blocks.empty()) return false;
    const MendReport report = TRY(mend_blocks(vault, scrubbed.bad_blocks));
    std::fprintf(stderr,
                 "towline vault: %llu damaged blocks are again what they were, by equal ones that "
                 "are good; for %llu nothing is found that is proved to be (towline sync --scan "
                 "brings what its source still has), %llu are in segments that a run needs\n",
                 static_cast<unsigned long long>(report.mended_blocks),
                 static_cast<unsigned long long>(report.left_blocks),
                 static_cast<unsigned long long>(report.busy_blocks));
    return true;
}

Result<int> check(const VaultWords& words) {
    if (words.repair) TRY_STATUS(refuse_served(words.folder));
    const VaultName name = TRY(find_vault(words.folder));
    const auto vault = TRY(name.open(key_source(words.keys)));
    if (!words.repair) return scrub_vault(words, vault, name.name, false);
    for (const std::string& series : TRY(vault->series())) {
        const RepairReport report = TRY(repair_log(vault, series));
        for (const std::string& each : report.set_aside)
            std::fprintf(stderr, "towline vault: set aside in quarantine/: %s\n", each.c_str());
        if (!report.forgotten_points.empty()) {
            std::fprintf(stderr, "towline vault: %zu points of %s are lost with their entries\n",
                         report.forgotten_points.size(), decode_series(series).c_str());
        }
    }
    catch_signals();
    const bool mended = TRY(mend(words, vault));
    return scrub_vault(words, vault, "", mended);
}

}  // namespace

void add_vault_scrub_commands(CLI::App& group, std::function<int()>& run,
                              const std::shared_ptr<VaultWords>& words) {
    CLI::App* scrubbed =
        add_vault_word(group, "scrub", "Reads and checks every stored byte.", run, words, scrub);
    scrubbed->add_flag("--resume", words->resume,
                       "go on where a scrub that was interrupted had come to");
    scrubbed->add_option("--state-dir", words->state_dir, "where it is noted how far it has come")
        ->type_name("DIR")
        ->capture_default_str();
    scrubbed->add_option("--rate", words->rate_mbit, "limit on reading in Mbit/s; 0 is none")
        ->type_name("MBIT")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    CLI::App* checked =
        add_vault_word(group, "check", "Checks all but the blocks themselves.", run, words, check);
    checked->add_flag("--repair", words->repair,
                      "set damaged log entries aside, so that their name can be written to again; "
                      "restore damaged blocks from equal ones that a newer run has brought");
}

}  // namespace towline
