# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A GoogleTest program, in as many shards as there are processors; each case counts. Sourced, never
# run.

# run_gtest AREA PROGRAM PATTERN SECONDS_MAX
run_gtest() {
    local area=$1 program=$2 pattern=$3 seconds_max=$4 shards shard started=$SECONDS
    local name=${program##*/}
    if [[ ! -x $program ]]; then
        record "$area" fail "$name" "was not built"
        return
    fi
    shards=$(job_count)
    local pids=()
    for ((shard = 0; shard < shards; shard++)); do
        run_shard "$LOGS/$area-$name-$shard" "$program" "$pattern" "$seconds_max" "$shard" "$shards" &
        pids+=($!)
    done
    for ((shard = 0; shard < shards; shard++)); do
        wait "${pids[shard]}" || true
    done
    collect_shards "$area" "$name" "$shards"
    printf '  %s: %s (%d s)\n' "$name" "$(counts_line "$area")" "$((SECONDS - started))"
}

# Leaves PREFIX.log, PREFIX.json (unless the program died before its end) and PREFIX.status. Properties
# are drawn from a seed that is told: what one run finds, the next one finds again.
run_shard() {
    local prefix=$1 program=$2 pattern=$3 seconds_max=$4 shard=$5 shards=$6 folder status=0
    folder=$(mktemp -d "${TMPDIR:-/tmp}/towline-test.XXXXXX")
    rm -f "$prefix".json
    RC_PARAMS=${RC_PARAMS:-seed=${TOWLINE_SEED:-1} max_success=2000} \
        TMPDIR=$folder GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard \
        timeout --kill-after=10 "$seconds_max" "$program" --gtest_color=no \
        --gtest_filter="${pattern:-*}" --gtest_output="json:$prefix.json" \
        </dev/null >"$prefix.log" 2>&1 || status=$?
    echo "$status" >"$prefix.status"
    rm -rf --one-file-system -- "$folder"
}

collect_shards() {
    local area=$1 name=$2 shards=$3 shard prefix status test reason before
    before=$(wc -l <"$RESULTS")
    for ((shard = 0; shard < shards; shard++)); do
        prefix=$LOGS/$area-$name-$shard
        while IFS=$'\t' read -r status test reason; do
            [[ $status != fail ]] || show_case "$prefix.log" "$test"
            record "$area" "$status" "$test" "$reason"
        done < <(python3 "$TOWLINE_LIB/gtest_results.py" "$prefix")
    done
    [[ $(wc -l <"$RESULTS") -gt $before ]] || record "$area" fail "$name" "no case ran"
}

# What the log says from the case's beginning to its end.
show_case() {
    awk -v name="$2" '
        index($0, "[ RUN      ] " name) == 1 {show = 1}
        show {print "       | " $0}
        show && /^\[ +(OK|FAILED|SKIPPED) +\]/ {exit}' "$1" | tail -n 80
}
