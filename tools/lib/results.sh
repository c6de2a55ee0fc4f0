# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What ran and how it ended: one line a test in a file, "AREA STATUS NAME REASON" by tabs, so that
# areas, programs and scripts of every kind are summed alike. Sourced, never run.

results_open() {
    RESULTS=$1
    mkdir -p "$(dirname "$RESULTS")"
    : >"$RESULTS"
}

# record AREA pass|fail|skip NAME [REASON]
record() {
    printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" >>"$RESULTS"
    case $2 in
        fail) printf '  FAIL %s%s\n' "$3" "${4:+: $4}" ;;
        skip) printf '  skip %s: %s\n' "$3" "${4:-no reason given}" ;;
    esac
}

# count_of STATUS [AREA]
count_of() {
    awk -F '\t' -v status="$1" -v area="${2:-}" \
        '$2 == status && (area == "" || $1 == area) {n++} END {print n + 0}' "$RESULTS"
}

counts_line() {
    printf '%d passed, %d failed, %d skipped\n' "$(count_of pass "${1:-}")" \
        "$(count_of fail "${1:-}")" "$(count_of skip "${1:-}")"
}

# Good only when something ran and nothing of it failed.
results_good() {
    [[ $(count_of fail) -eq 0 && $(count_of pass) -gt 0 ]]
}
