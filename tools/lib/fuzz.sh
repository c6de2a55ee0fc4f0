# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# One libFuzzer target: first its kept corpus, then new inputs for a time. What it finds is kept
# under build/fuzz-found. Sourced, never run.

# Their names, those that contain the pattern: each has a source of its name.
fuzz_targets() {
    list_files 'tests/fuzz/*_fuzz.cpp' | sed 's|.*/||; s|\.cpp$||' | grep -F -- "$1"
}

# run_fuzz_targets AREA NAME...: a processor each, as many at once as there are.
run_fuzz_targets() {
    local area=$1 target running=0 seconds
    shift
    seconds=${TOWLINE_COUNT:-$(sample "$FUZZ_SECONDS")}
    for target in "$@"; do
        if [[ $running -ge $(job_count) ]]; then
            wait -n || true
            running=$((running - 1))
        fi
        run_fuzz_target "$area" "$TOWLINE_ROOT/build/asan/bin/$target" \
            "$seconds" "${TOWLINE_SEED:-1}" &
        running=$((running + 1))
    done
    wait
}

# run_fuzz_target AREA PROGRAM SECONDS SEED
run_fuzz_target() {
    local area=$1 program=$2 seconds=$3 seed=$4 name=${2##*/} status=0
    local log=$LOGS/$area-$name.log found=$TOWLINE_ROOT/build/fuzz-found/$name
    local grown=$TOWLINE_ROOT/build/fuzz-corpus/$name
    local kept=$TOWLINE_ROOT/tests/fuzz/corpus/$name
    mkdir -p "$found" "$grown"
    local corpora=("$grown")
    [[ ! -d $kept ]] || corpora+=("$kept")

    timeout --kill-after=10 "$((seconds + 300))" "$program" -seed="$seed" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$found/" "${corpora[@]}" </dev/null >"$log" 2>&1 || status=$?
    if [[ $status -eq 0 ]]; then
        record "$area" pass "$name"
        printf '  ok   %s (%s inputs)\n' "$name" "$(executed_inputs "$log")"
        return
    fi
    tail -n 40 "$log" | sed 's/^/       | /'
    record "$area" fail "$name" "exit $status; the input is under build/fuzz-found/$name"
}

executed_inputs() {
    awk '/^stat::number_of_executed_units/ {print $2}' "$1"
}
