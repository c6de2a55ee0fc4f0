# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The kernel tests round after round, each round with a seed of its own. It takes hours under
# emulation, so what ended is noted, and a campaign that was stopped goes on where it was, as long as
# seed, count and commit are the same. Sourced, never run.

# The note: "COMMIT SEED COUNT", then "ROUND FILE STATUS" for each that ended.
kernel_campaign_note() { printf '%s\n' "$TOWLINE_ROOT/build/campaign-logs/kernel/note"; }

# The seed of this commit's campaign that was stopped; nothing when there is none.
stopped_campaign_seed() {
    local name=$1 commit=$2 count=$3 note noted seed noted_count
    note=$(kernel_campaign_note)
    [[ $name == kernel && -f $note && $commit != *-dirty && $commit != unknown ]] || return 0
    read -r noted seed noted_count <"$note"
    if [[ $noted == "$commit" && $noted_count == "$count" ]]; then printf '%s\n' "$seed"; fi
}

# run_kernel_campaign COMMIT SEED ROUNDS
run_kernel_campaign() {
    local commit=$1 seed=$2 rounds=$3 note round file
    note=$(kernel_campaign_note)
    if [[ $(head -n 1 "$note" 2>/dev/null) != "$commit $seed $rounds" ]]; then
        printf '%s %s %s\n' "$commit" "$seed" "$rounds" >"$note"
        : >"$LOGS/kernel-report.jsonl"
    fi
    export TOWLINE_KERNEL_REPORT=$LOGS/kernel-report.jsonl
    # What has to be long to be of use, once: switches of a storm, comings and goings, reboots.
    for file in storm_test.py:500 attach_test.py:200 reboots_test.py:100; do
        [[ -f $TOWLINE_ROOT/tests/kernel/${file%:*} ]] || continue
        TOWLINE_COUNT=${file#*:} run_noted_test "$note" long "$TOWLINE_ROOT/tests/kernel/${file%:*}" 21600
    done
    # Rounds are of the size that CI's are.
    unset TOWLINE_COUNT
    for ((round = 0; round < rounds; round++)); do
        export TOWLINE_SEED=$((seed + round))
        for file in "$TOWLINE_ROOT"/tests/kernel/*_test.py; do
            run_noted_test "$note" "$round" "$file"
        done
    done
    print_kernel_report
    # It is through: the next one begins anew.
    rm -f -- "$note"
}

run_noted_test() {
    local note=$1 round=$2 file=$3 seconds_max=${4:-3600} name=${3##*/} before status
    status=$(awk -v round="$round" -v file="$name" '$1 == round && $2 == file {print $3}' "$note")
    if [[ -n $status ]]; then
        record kernel "$status" "$name" "round $round, before it was stopped"
        return
    fi
    before=$(count_of fail)
    run_script_test kernel "$file" "$seconds_max"
    status=pass
    [[ $(count_of fail) -eq $before ]] || status=fail
    [[ $status == pass ]] || cp "$LOGS/kernel-$name.log" "$LOGS/kernel-$name-round-$round.log"
    printf '%s %s %s\n' "$round" "$name" "$status" >>"$note"
}
