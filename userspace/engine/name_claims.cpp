// SPDX-License-Identifier: Apache-2.0
// A session that waits is noted too: of several that wait for the same dead one, the last that came
// gets the name, whichever of them happens to ask first.

#include "userspace/engine/name_claims.hpp"

namespace towline {

NameClaims::Answer NameClaims::ask(Session session, const std::string& name, const Uuid& source,
                                   bool dry_run) {
    claims_.erase(session);
    std::optional<Session> rival;
    for (const auto& [other, claim] : claims_) {
        if (claim.name != name) continue;
        if (claim.holds && (claim.source != source || dry_run)) return {Verdict::kBusy};
        if (claim.source == source && other > session) return {Verdict::kFenced};
        if (claim.holds) rival = other;
    }
    claims_[session] = {.name = name, .source = source, .holds = !rival};
    return rival ? Answer{Verdict::kWait, rival} : Answer{Verdict::kYours};
}

}  // namespace towline
