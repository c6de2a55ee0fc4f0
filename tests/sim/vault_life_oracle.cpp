// SPDX-License-Identifier: Apache-2.0
// What must hold of a vault whenever nobody is at it.

#include <algorithm>
#include <cstring>

#include "tests/sim/vault_life.hpp"
#include "userspace/vault/volume_reader.hpp"

namespace towline::testing {

void VaultLife::judge() {
    for (Host& each : hosts_)
        judge(each);
}

void VaultLife::judge(Host& host) {
    if (!wrong_.empty()) return;
    const auto state = SeriesLog(vault_, host.name).read();
    if (!state || !state->damaged.empty() || !state->lost().empty()) {
        wrong("the log of " + host.name + " cannot be read whole");
        return;
    }
    std::set<Uuid> there;
    for (const Point& each : state->points) {
        there.insert(each.id);
        judge_point(host, each);
    }
    for (const Uuid& each : host.must)
        if (!there.contains(each)) wrong("a sealed point of " + host.name + " is gone");
    host.must = there;  // what is seen once, stays
    for (const Uuid& each : host.going)
        host.must.erase(each);
}

void VaultLife::judge_point(Host& host, const Point& point) {
    if (!host.moments.contains(point.id)) {
        // Sealed, and nobody was told. Then its source knows that it was going to be.
        const auto& memories = host.bench->source_shelf.memories;
        const bool begun = std::ranges::any_of(memories, [&](const auto& each) {
            return each.second.base.point == point.id || each.second.open_base.point == point.id;
        });
        if (!begun) wrong("a point is seen that was never sealed");
        host.moments[point.id] = host.moment;
    }
    const auto bytes = read(host, point);
    if (!bytes) {
        const bool rotten = rots_ && is_bad(host, point);
        rotten ? note("a point is damaged")
               : static_cast<void>(wrong("a point cannot be read: " + bytes.error().text()));
        return;
    }
    const Bytes& wanted = host.moments.at(point.id);
    // By far the most of what is looked at.
    if (bytes->size() == wanted.size() &&
        std::memcmp(bytes->data(), wanted.data(), wanted.size()) == 0)
        return;
    const auto at = std::ranges::mismatch(*bytes, wanted).in1 - bytes->begin();
    wrong("point " + std::to_string(point.sequence) + " of " + host.name +
          " reads as something else, from byte " + std::to_string(at));
}

Result<VaultLife::Bytes> VaultLife::read(const Host& host, const Point& point) {
    const OpenPoint open = TRY(OpenPoint::open(vault_, host.name, point.id.text()));
    const VolumeLayout& layout = host.bench->layout;
    if (point.volumes.size() != layout.parts().size())
        return fail(Code::kCorrupt, "it has not the volumes of its source");
    Bytes bytes(layout.size_bytes());
    for (std::size_t place = 0; place < layout.parts().size(); ++place) {
        const auto volume = TRY(open.volume(place));
        const VolumePart& part = layout.parts()[place];
        if (volume->size_bytes() != part.bytes) return fail(Code::kCorrupt, "it has another size");
        TRY_STATUS(volume->read(0, MutableByteSpan(bytes).subspan(part.start_bytes, part.bytes)));
    }
    return bytes;
}

ScrubReport VaultLife::scrub() {
    const auto report = Scrub(vault_, {.threads = 1}).run();
    if (!report && !dead()) wrong("a scrub fails: " + report.error().text());
    return report ? *report : ScrubReport{};
}

bool VaultLife::is_bad(const Host& host, const Point& point) {
    const ScrubReport report = scrub();
    return std::ranges::any_of(report.findings, [&](const ScrubFinding& finding) {
        return std::ranges::any_of(finding.hits, [&](const ScrubFinding::Hit& hit) {
            return hit.name == host.name + "@" + point.id.text();
        });
    });
}

// Without faults, at last: each source is brought over, what is of no use goes, nothing is bad.
void VaultLife::end() {
    for (Host& host : hosts_) {
        change(host);
        RunPlan plan = draw_plan(host);
        plan.kind = RunRequest::Kind::kAuto;
        plan.resume &= host.unnoted.empty();
        plan.kill.reset();
        if (!run(host, plan)) wrong("a run without faults failed");
        judge();
    }
    for (int i = 0; i < 2; ++i)
        for (Host& host : hosts_)
            prune(host, false);
    judge();
    const ScrubReport report = scrub();
    if (!report.sound() && !rots_)
        wrong(report.findings[0].object + ": " + report.findings[0].what);
    if (report.garbage_bytes > 0 && report.sound()) wrong("what is of no use is not given back");
}

}  // namespace towline::testing
