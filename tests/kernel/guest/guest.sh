# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What the tests' scripts use in the guest. Sourced, never run.

# A link /dev/disk/NAME for each disk that has a serial; each is shown to the host in that order.
name_disks() {
    local disk serial disks=''
    for disk in /sys/block/vd*; do
        [ -e "$disk/serial" ] || continue
        read -r serial <"$disk/serial" || true
        [ -n "$serial" ] || continue
        ln -s "../${disk##*/}" "/dev/disk/$serial"
        disks="$disks /dev/${disk##*/}"
    done
    # shellcheck disable=SC2086  # names of ours, without blanks
    disk name $disks
}

# mark N: a point in QEMU's trace. What was written to any disk before it is before it there.
mark() { disk mark "$1"; }

# keep FILE...: hands files to the host.
kept=''
keep() {
    local file
    for file in "$@"; do kept="$kept $file"; done
    # shellcheck disable=SC2086  # names of ours, without blanks
    tar cf /dev/disk/results $kept
    sync
}

# must_fail COMMAND...
must_fail() {
    if "$@"; then
        echo "should have failed: $*"
        return 1
    fi
}

# Until COMMAND succeeds, 20 seconds at most.
wait_until() {
    local tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || { echo "waited in vain for: $*" && return 1; }
        sleep 0.1
    done
}

# epoch NAME UUID [drain]: ends the present epoch; NAME.epoch and NAME.map tell of it.
epoch() {
    local sequence blocks
    track freeze "${3:-loose}" "$2" >"$1.epoch"
    sequence=$(sed -n 's/.* sequence=\([0-9]*\) .*/\1/p' "$1.epoch")
    blocks=$(sed -n 's/.* blocks=\([0-9]*\) .*/\1/p' "$1.epoch")
    track map "$2" "$sequence" "$blocks" "$1.map"
    track commit "$2" "$sequence"
}
