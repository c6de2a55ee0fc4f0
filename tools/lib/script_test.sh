# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A test that is a program of its own: exit 0 is a pass, 77 a skip whose reason is its last line,
# anything else a failure. It gets TOWLINE_BIN and an empty TMPDIR, which is removed after it, and
# may leave no process behind. Sourced, never run.

readonly SKIP_STATUS=77

# run_script_test AREA FILE SECONDS_MAX
run_script_test() {
    local area=$1 file=$2 seconds_max=$3 name log folder status=0 started=$SECONDS
    name=$(basename "$file")
    log=$LOGS/$area-$name.log
    folder=$(mktemp -d "${TMPDIR:-/tmp}/towline-test.XXXXXX")

    # Its own session: a test that is cut off takes what it started with it.
    {
        TMPDIR=$folder timeout --kill-after=10 "$seconds_max" setsid --wait "$file" \
            </dev/null 2>&1 || status=$?
    } >"$log" 2>&1
    end_leftovers "$folder"
    if ! rm -rf --one-file-system -- "$folder" 2>>"$log"; then
        echo "could not remove $folder (still mounted?)" >>"$log"
        [[ $status -ne 0 ]] || status=1
    fi
    report_script "$area" "$name" "$status" "$log" "$((SECONDS - started))"
}

# What still runs with the test's own TMPDIR was started by the test.
end_leftovers() {
    local environ pid
    while IFS= read -r environ; do
        pid=${environ#/proc/}
        kill -KILL "${pid%/environ}" 2>/dev/null || true
    done < <(grep -lzxF "TMPDIR=$1" /proc/[0-9]*/environ 2>/dev/null)
}

report_script() {
    local area=$1 name=$2 status=$3 log=$4 seconds=$5
    case $status in
        0)
            record "$area" pass "$name"
            printf '  ok   %s (%d s)\n' "$name" "$seconds"
            ;;
        "$SKIP_STATUS") record "$area" skip "$name" "$(tail -n 1 "$log")" ;;
        *)
            tail -n 60 "$log" | sed 's/^/       | /'
            case $status in
                124 | 137) record "$area" fail "$name" "still running after ${seconds} s" ;;
                *) record "$area" fail "$name" "exit $status after ${seconds} s" ;;
            esac
            ;;
    esac
}

# run_script_folder AREA FOLDER PATTERN SECONDS_MAX [LANES]: every *.sh and *_test.py, one after
# another, or as many at once as there are lanes; one that says "# runs alone" has nothing beside it.
run_script_folder() {
    local area=$1 folder=$2 pattern=$3 seconds_max=$4 lanes=${5:-1} file running=0 found=0
    for file in "$TOWLINE_ROOT/$folder"/*.sh "$TOWLINE_ROOT/$folder"/*_test.py; do
        [[ -f $file && ${file##*/} == *$pattern* ]] || continue
        found=1
        if [[ ! -x $file ]]; then
            record "$area" fail "${file##*/}" "not executable"
            continue
        fi
        if grep -q '^# runs alone' "$file"; then
            wait
            running=0
            run_in_lane "$area" "$file" "$seconds_max"
            continue
        fi
        if [[ $running -ge $lanes ]]; then
            wait -n || true
            running=$((running - 1))
        fi
        run_in_lane "$area" "$file" "$seconds_max" &
        running=$((running + 1))
    done
    wait
    [[ $found -eq 1 ]] || record "$area" fail "$folder" "no test there matches '*$pattern*'"
}

# What it says comes in one piece: there may be others beside it.
run_in_lane() {
    local said
    said=$(run_script_test "$@")
    printf '%s\n' "$said"
}
