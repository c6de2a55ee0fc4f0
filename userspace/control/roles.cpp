// SPDX-License-Identifier: Apache-2.0
// The kernel notes the uid and one gid; the other groups of that user are the system's to say. They
// are asked for at each request, so that who left a group has lost the role.

#include "userspace/control/roles.hpp"

#include <algorithm>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace towline {

namespace {

struct Account {
    std::string name;
    std::vector<gid_t> groups;
};

Account account_of(uid_t uid, gid_t gid) {
    Account account{.name = "", .groups = {gid}};
    std::vector<char> room(std::size_t{16} * 1024);
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(uid, &entry, room.data(), room.size(), &found) != 0 || found == nullptr)
        return account;
    account.name = entry.pw_name;
    int count = 256;
    std::vector<gid_t> groups(static_cast<std::size_t>(count));
    if (::getgrouplist(entry.pw_name, gid, groups.data(), &count) >= 0) {
        groups.resize(static_cast<std::size_t>(count));
        account.groups = std::move(groups);
    }
    return account;
}

std::optional<gid_t> group_id(const std::string& name) {
    std::vector<char> room(std::size_t{64} * 1024);
    group entry{};
    group* found = nullptr;
    if (::getgrnam_r(name.c_str(), &entry, room.data(), room.size(), &found) != 0) return {};
    if (found == nullptr) return std::nullopt;
    return entry.gr_gid;
}

bool is_one_of(const Account& account, const std::vector<std::string>& names) {
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        if (name == "*") return true;
        if (!name.starts_with('@')) return !account.name.empty() && name == account.name;
        const auto gid = group_id(name.substr(1));
        return gid && std::find(account.groups.begin(), account.groups.end(), *gid) !=
                          account.groups.end();
    });
}

}  // namespace

std::optional<Role> Roles::of(std::uint32_t uid, std::uint32_t gid) const {
    if (uid == 0 || uid == ::geteuid()) return Role::kAdmin;
    const Account account = account_of(uid, gid);
    if (is_one_of(account, admin)) return Role::kAdmin;
    if (is_one_of(account, operators)) return Role::kOperator;
    if (is_one_of(account, viewer)) return Role::kViewer;
    return std::nullopt;
}

Result<Peer> peer_of(int socket, const Roles& roles) {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
        return fail_errno("cannot ask who is connected");
    return Peer{.uid = credentials.uid,
                .gid = credentials.gid,
                .pid = credentials.pid,
                .role = roles.of(credentials.uid, credentials.gid)};
}

}  // namespace towline
