# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The kernel module's tests: each boots both kernels under emulation. A machine that cannot is a
# failure, never a skip. Sourced, never run.

# Files at once, each with a guest of both kernels: a guest waits half of its time for what is late on
# purpose, or cools, or settles.
readonly KERNEL_LANES=2

# run_kernel_tests AREA PATTERN SECONDS_MAX: a file's tests; numbers of theirs are gathered for
# print_kernel_report.
run_kernel_tests() {
    local area=$1 pattern=$2 seconds_max=$3
    export TOWLINE_KERNEL_REPORT=$LOGS/$area-report.jsonl
    # A guest that has half a processor takes twice as long for what it does.
    export TOWLINE_KERNEL_PATIENCE=${TOWLINE_KERNEL_PATIENCE:-$KERNEL_LANES}
    : >"$TOWLINE_KERNEL_REPORT"
    if ! "$TOWLINE_ROOT/tools/setup" kernel; then
        record "$area" fail "tools/setup kernel" "the kernels, their headers or QEMU are missing"
        return
    fi
    # They run in the guest with this machine's libraries.
    build_for "$area" release towline tracker_probe bpf_race || return 0
    run_script_folder "$area" tests/kernel "$pattern" "$seconds_max" "$KERNEL_LANES"
}

print_kernel_report() { python3 "$TOWLINE_LIB/kernel_report.py" "$LOGS/kernel-report.jsonl"; }
