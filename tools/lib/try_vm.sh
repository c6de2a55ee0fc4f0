# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The part of tools/try that shows the kernel module: in a guest, for a module is nothing to try on a
# machine that is in use. Sourced, never run.

try_vm() {
    "$TOWLINE_ROOT/tools/setup" build kernel
    work=$(mktemp -d "${TMPDIR:-/tmp}/towline-try.XXXXXX")
    trap 'rm -rf --one-file-system -- "$work"' EXIT
    build_towline
    say "a guest's root volume, replicated live; its power is cut in the middle of a run"
    # The very test that CI runs on every kernel.
    TOWLINE_BIN=$TOWLINE_ROOT/build/release/bin TOWLINE_KERNEL=${TOWLINE_KERNEL:-6.12} \
        python3 "$TOWLINE_ROOT/tests/kernel/live_root_test.py"
}
