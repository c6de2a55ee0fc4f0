# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034  # CAMPAIGNS is for who sources this
# The long campaigns: the same tests as CI runs a sample of, with as many rounds as one asks for.
# A test takes the seed of its rounds and their number from TOWLINE_SEED and TOWLINE_COUNT.
# Sourced, never run.

readonly CAMPAIGNS=(kill faults jobs vault sim fuzz kernel trackers)
readonly CAMPAIGN_SECONDS_MAX=86400

campaign_summary() {
    case $1 in
        kill) echo "kill -9 of either side at random moments, resume, compare" ;;
        faults) echo "every other test of tests/faults" ;;
        jobs) echo "kill -9 of towlined and its server, and ten times as many seeds of its simulator" ;;
        vault) echo "a vault: kills of runs and prunings, fifty times as many power losses, a database's history" ;;
        sim) echo "the simulator, that many seeds" ;;
        fuzz) echo "each libFuzzer target for that many seconds" ;;
        kernel) echo "every test of tests/kernel, that many seeds; goes on where it was stopped" ;;
        trackers) echo "every tracker's own tests, that many rounds each" ;;
    esac
}

campaign_count() {
    case $1 in
        kill | faults | jobs | vault) echo 200 ;;
        sim) echo 20000 ;;
        fuzz) echo 600 ;;
        kernel) echo 20 ;;
        trackers) echo 50 ;;
    esac
}

# run_campaign NAME COMMIT: TOWLINE_SEED and TOWLINE_COUNT are set.
run_campaign() {
    local commit=$2
    case $1 in
        kill | faults)
            build_for "$1" release || return 0
            run_fault_tests "$1"
            ;;
        jobs)
            build_for jobs release || return 0
            run_fault_tests jobs
            TOWLINE_COUNT=$((TOWLINE_COUNT * 10)) \
                run_gtest jobs "$TOWLINE_BIN/sim_tests" 'JobsSimulation.*' "$CAMPAIGN_SECONDS_MAX"
            ;;
        vault)
            build_for vault release || return 0
            run_fault_tests vault
            TOWLINE_COUNT=$((TOWLINE_COUNT / 4)) run_script_test vault \
                "$TOWLINE_ROOT/tests/integration/vault_history_test.py" "$CAMPAIGN_SECONDS_MAX"
            TOWLINE_COUNT=$((TOWLINE_COUNT * 50)) run_gtest vault "$TOWLINE_BIN/sim_tests" \
                'VaultPower*' "$CAMPAIGN_SECONDS_MAX"
            ;;
        sim)
            build_for sim release sim_tests || return 0
            run_gtest sim "$TOWLINE_BIN/sim_tests" '' "$CAMPAIGN_SECONDS_MAX"
            ;;
        fuzz) area_fuzz '' ;;
        trackers)
            build_for trackers release || return 0
            run_tracker_tests
            ;;
        kernel) run_kernel_campaign "$commit" "$TOWLINE_SEED" "$TOWLINE_COUNT" ;;
    esac
}

# Those of tests/integration whose name begins so: with 50 rounds, 200 kills of a daemon and 100,000
# late writes a tracker. And 20 runs each of live filesystems that a database writes to.
run_tracker_tests() {
    local file rounds name
    for file in "$TOWLINE_ROOT"/tests/integration/{tracker_*,converge,sync_fuse}_test.py; do
        name=${file##*/}
        case $name in
            tracker_fuse_kill_test.py) rounds=$((TOWLINE_COUNT * 4)) ;;
            tracker_*) rounds=$TOWLINE_COUNT ;;
            *) rounds=$((TOWLINE_COUNT * 2 / 5)) ;;
        esac
        TOWLINE_COUNT=$rounds run_script_test trackers "$file" "$CAMPAIGN_SECONDS_MAX"
    done
}

# The tests of kill, jobs and vault are those of tests/faults whose name begins so.
run_fault_tests() {
    local campaign=$1 file kind found=0
    for file in "$TOWLINE_ROOT"/tests/faults/*.sh "$TOWLINE_ROOT"/tests/faults/*_test.py; do
        [[ -f $file ]] || continue
        kind='faults'
        [[ ${file##*/} != kill* ]] || kind='kill'
        [[ ${file##*/} != jobs* ]] || kind='jobs'
        [[ ${file##*/} != vault* ]] || kind='vault'
        [[ $kind == "$campaign" ]] || continue
        found=1
        run_script_test "$campaign" "$file" "$CAMPAIGN_SECONDS_MAX"
    done
    [[ $found -eq 1 ]] || record "$campaign" fail "tests/faults" "no test of this campaign there"
}
