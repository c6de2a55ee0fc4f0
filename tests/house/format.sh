#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every C++ file is as .clang-format has it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/lib/check.sh"

mapfile -t files < <(list_files '*.cpp' '*.hpp' '*.inc')
[[ ${#files[@]} -gt 0 ]] || end_check 0
cd "$CHECK_ROOT"
# shellcheck disable=SC2016  # the inner shell is to expand it
while IFS= read -r file; do
    clang-format --dry-run -Werror "$file" 2>&1 | grep -E 'error:' | head -n 3 || true
    finding "$file: not formatted (clang-format -i $file)"
done < <(printf '%s\n' "${files[@]}" | xargs -d '\n' -P "$(nproc)" -I '{}' sh -c \
    'clang-format --dry-run -Werror "$1" 2>/dev/null || printf "%s\n" "$1"' sh '{}')
end_check "${#files[@]}"
