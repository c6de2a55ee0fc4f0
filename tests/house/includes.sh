#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Includes go one way: tools -> userspace -> cbt, transport -> io. cbt and transport do not know each
# other, and kmod is known by its uapi header alone.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/lib/check.sh"

allowed_from() {
    case $1 in
        io) echo "io" ;;
        cbt) echo "cbt io kmod/uapi" ;;
        transport) echo "transport io" ;;
        userspace) echo "userspace cbt transport io" ;;
        tools) echo "tools userspace cbt transport io" ;;
        tests) echo "tests tools userspace cbt transport io kmod/uapi" ;;
    esac
}

# "FILE:LINE:INCLUDED" of every include that is the tree's own: in quotes, or by a top folder's name.
own_includes() {
    grep -nHoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*("[^"]+"|<(io|cbt|transport|userspace|tools|tests|kmod)/[^>]+>)' "$@" |
        sed -E 's/^([^:]+:[0-9]+:).*["<]([^">]+)[">]$/\1\2/'
}

# A program or a test may have a header of its own beside it.
is_neighbour() {
    [[ $1 =~ ^(tools|tests)/ && $2 != */* && -f ${1%/*}/$2 ]]
}

is_allowed() {
    local folder=$1 included=$2 prefix
    for prefix in $(allowed_from "$folder"); do
        [[ $included != "$prefix"/* || $included == *..* ]] || return 0
    done
    return 1
}

mapfile -t files < <(list_files 'io/*' 'cbt/*' 'transport/*' 'userspace/*' 'tools/*' 'tests/*' |
    grep -E '\.(cpp|hpp|inc|h|c)$')
[[ ${#files[@]} -gt 0 ]] || end_check 0
cd "$CHECK_ROOT"
while IFS=: read -r file line included; do
    is_neighbour "$file" "$included" || is_allowed "${file%%/*}" "$included" ||
        finding "$file:$line: ${file%%/*} may not include \"$included\" (only: $(allowed_from "${file%%/*}"))"
done < <(own_includes "${files[@]}")
end_check "${#files[@]}"
