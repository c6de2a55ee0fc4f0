# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034  # CHECK_ROOT is for who sources this
# What the checks of tests/house share: they look at TOWLINE_CHECK_ROOT (this tree, or a made-up one
# of checks_can_fail.sh), print each finding, and fail when there was one. Sourced, never run.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

CHECK_ROOT=${TOWLINE_CHECK_ROOT:-$TOWLINE_ROOT}
findings=0

finding() {
    printf '%s\n' "$*"
    findings=$((findings + 1))
}

# A check that looked at nothing has not passed.
end_check() {
    local looked_at=$1
    [[ $looked_at -gt 0 ]] || finding "nothing to look at"
    printf '%d looked at, %d findings\n' "$looked_at" "$findings"
    [[ $findings -eq 0 ]] || exit 1
}
