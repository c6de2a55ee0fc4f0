#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The runner counts what really happened: a failure, a crash, a skip, a test that hangs and an empty
# area are each told apart, and nothing that a test started outlives it.
# shellcheck disable=SC2016,SC2034  # the made-up tests expand their own; LOGS is for the runner
set -euo pipefail
lib=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../tools/lib" && pwd)
for part in common results gtest script_test kernel kernel_campaign; do
    # shellcheck source=/dev/null
    . "$lib/$part.sh"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/runner.XXXXXX")
export TOWLINE_ROOT=$work
LOGS=$work/logs
results_open "$work/logs/results.tsv"
trap 'rm -rf -- "$work"' EXIT

script() {
    mkdir -p "$work/tests/$1"
    printf '#!/bin/sh\n%s\n' "$3" >"$work/tests/$1/$2"
    chmod +x "$work/tests/$1/$2"
}

# One that is dead and not yet reaped is not alive.
alive() { [[ -r /proc/$1/stat && $(cut -d ' ' -f 3 "/proc/$1/stat") != Z ]]; }

expect() {
    local found
    found=$(counts_line "$1")
    [[ $found == "$2" ]] || { echo "$1: expected '$2', counted '$found'" && exit 1; }
}

script scripts passes.sh 'echo well; test -d "$TMPDIR" && echo "$TMPDIR" >"$0.folder"'
script scripts fails.sh 'exit 3'
script scripts skips.sh 'echo "needs a device"; exit 77'
script scripts hangs.sh 'sleep 600 & echo $! >"$0.pid"; wait'
script scripts broken_test.py 'kill -SEGV $$'
script scripts not_a_test.txt 'exit 1'
run_script_folder scripts tests/scripts '' 2
expect scripts '1 passed, 3 failed, 1 skipped'
grep -q $'skip\tskips.sh\tneeds a device' "$RESULTS"
[[ ! -e $(<"$work/tests/scripts/passes.sh.folder") ]]
alive "$(<"$work/tests/scripts/hangs.sh.pid")" && exit 1

mkdir "$work/tests/none"
run_script_folder empty tests/none '' 2
expect empty '0 passed, 1 failed, 0 skipped'

# Two that wait for each other, and one that may see neither of them at work.
meet() { printf ': >"$0.here"; until [ -e "${0%%/*}/%s.here" ]; do sleep 0.05; done; sleep %s; : >"$0.done"' "$@"; }
script lanes a.sh "$(meet b.sh 0.1)"
script lanes b.sh "$(meet a.sh 1)"
script lanes c.sh $'# runs alone\n[ -e "${0%/*}/a.sh.done" ] && [ -e "${0%/*}/b.sh.done" ]'
run_script_folder lanes tests/lanes '' 20 2
expect lanes '3 passed, 0 failed, 0 skipped'

# Programs that write what a GoogleTest program does.
gtest() {
    printf '#!/bin/bash\n%s\n' "$2" >"$work/$1"
    chmod +x "$work/$1"
    CMAKE_BUILD_PARALLEL_LEVEL=1 run_gtest "$1" "$work/$1" '' 2
}
report='json=$(printf "%s\n" "$@" | sed -n s/^--gtest_output=json://p)'
gtest mixed "$report"'
echo "[ RUN      ] S.skipped"
echo "/x/y_test.cpp:7: Skipped"
echo "needs a ring"
echo "[  SKIPPED ] S.skipped (0 ms)"
cat >"$json" <<JSON
{"testsuites": [{"name": "S", "testsuite": [
 {"name": "good", "status": "RUN", "result": "COMPLETED"},
 {"name": "bad", "status": "RUN", "result": "COMPLETED", "failures": [{"failure": "x"}]},
 {"name": "skipped", "status": "RUN", "result": "SKIPPED"},
 {"name": "DISABLED_off", "status": "NOTRUN", "result": "SUPPRESSED"}]}]}
JSON
exit 1'
expect mixed '1 passed, 1 failed, 2 skipped'
grep -q $'skip\tS.skipped\tneeds a ring' "$RESULTS"

gtest crashed 'echo "[ RUN      ] S.one"; echo "[       OK ] S.one (0 ms)"; echo "[ RUN      ] S.two"
kill -SEGV $$'
expect crashed '1 passed, 1 failed, 0 skipped'
grep -q $'fail\tS.two' "$RESULTS"

gtest leaks "$report"'
echo "{\"testsuites\": [{\"name\": \"S\", \"testsuite\": [
 {\"name\": \"good\", \"status\": \"RUN\", \"result\": \"COMPLETED\"}]}]}" >"$json"
exit 1'
expect leaks '1 passed, 1 failed, 0 skipped'
gtest silent 'exit 0'
expect silent '0 passed, 1 failed, 0 skipped'
run_gtest absent "$work/no_such_program" '' 2
expect absent '0 passed, 1 failed, 0 skipped'

# A campaign that was stopped in its first of two rounds goes on with the test that had not ended.
LOGS=$work/build/campaign-logs/kernel
mkdir -p "$LOGS"
script kernel first_test.py 'echo "$TOWLINE_SEED" >>"$0.seeds"'
script kernel second_test.py 'echo "$TOWLINE_SEED" >>"$0.seeds"; test "$TOWLINE_SEED" = 7'
printf 'abc 7 2\n0 first_test.py pass\n' >"$(kernel_campaign_note)"
: >"$LOGS/kernel-report.jsonl"
[[ $(stopped_campaign_seed kernel abc 2) == 7 ]]
[[ -z $(stopped_campaign_seed kernel abd 2)$(stopped_campaign_seed kernel abc 3) ]]
TOWLINE_LIB=$lib run_kernel_campaign abc 7 2 >/dev/null
expect kernel '3 passed, 1 failed, 0 skipped'
[[ $(<"$work/tests/kernel/first_test.py.seeds") == 8 ]]
[[ $(<"$work/tests/kernel/second_test.py.seeds") == $'7\n8' ]]
[[ -z $(stopped_campaign_seed kernel abc 2) ]]

if results_good; then exit 1; fi
