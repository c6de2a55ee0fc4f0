#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every script parses, stops at its first error, and can be run when it is meant to be.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/lib/check.sh"

mapfile -t files < <(list_scripts)
for file in "${files[@]}"; do
    path=$CHECK_ROOT/$file
    bash -n "$path" || finding "$file: does not parse"
    # Parts that are sourced inherit the shell of who sources them.
    IFS= read -r first <"$path" || true
    [[ $first == '#!'* ]] || continue
    # A /bin/sh that is not ours (dash, in an initramfs) knows no pipefail.
    wanted='set -euo pipefail'
    [[ $first != '#!/bin/sh' || $file != kmod/initramfs/* ]] || wanted='set -eu'
    grep -qxF "$wanted" "$path" || finding "$file: wants '$wanted'"
    [[ -x $path ]] || finding "$file: has a #! line and is not executable"
done
end_check "${#files[@]}"
