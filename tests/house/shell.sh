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
    grep -qxF 'set -euo pipefail' "$path" || finding "$file: wants 'set -euo pipefail'"
    [[ -x $path ]] || finding "$file: has a #! line and is not executable"
done
end_check "${#files[@]}"
