#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The top of the tree holds what it is meant to hold and nothing else; no file or shell function
# grows too long (C++ functions: clang-tidy); README.md stays a page.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/lib/check.sh"

readonly TOP_NAMES=' CMakeLists.txt README.md LICENSE .ci .clang-format .clang-tidy .gitignore
    CMakePresets.json docs kmod io cbt transport userspace tools tests '
readonly FILE_LINES_MAX=500 FUNCTION_LINES_MAX=70 README_LINES_MAX=120
# "PATH: REASON" a line: the files that may be longer.
readonly EXCEPTIONS=$CHECK_ROOT/tests/house/long_files.txt

check_top() {
    local name
    while IFS= read -r name; do
        [[ ${TOP_NAMES//$'\n'/ } == *" $name "* ]] || finding "$name: not a name of the top folder"
    done < <(list_files '*' | cut -d / -f 1 | sort -u)
}

excepted() { [[ -f $EXCEPTIONS ]] && grep -qE "^${1//./\\.}: .{10,}" "$EXCEPTIONS"; }

check_length() {
    local file=$1 lines
    lines=$(wc -l <"$CHECK_ROOT/$file")
    [[ $lines -le $FILE_LINES_MAX ]] || excepted "$file" ||
        finding "$file: $lines lines, $FILE_LINES_MAX at most (or a reason in tests/house/long_files.txt)"
}

check_shell_functions() {
    local long
    long=$(awk -v max="$FUNCTION_LINES_MAX" '
        /^[a-z_]+\(\) [{(]$/ {name = $1; start = NR}
        /^[})]$/ && name != "" {if (NR - start > max) print NR - start, name; name = ""}' \
        "$CHECK_ROOT/$1")
    [[ -z $long ]] || finding "$1: function of more than $FUNCTION_LINES_MAX lines: $long"
}

check_top
mapfile -t files < <({ list_files '*.cpp' '*.hpp' '*.inc' '*.c' '*.h' '*.py' && list_scripts; } | sort -u)
for file in "${files[@]}"; do check_length "$file"; done
while IFS= read -r file; do check_shell_functions "$file"; done < <(list_scripts)
if [[ ! -f $CHECK_ROOT/README.md ]]; then
    finding "README.md is missing"
elif [[ $(wc -l <"$CHECK_ROOT/README.md") -gt $README_LINES_MAX ]]; then
    finding "README.md: more than $README_LINES_MAX lines"
fi
end_check "${#files[@]}"
