# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The part of tools/try that shows a live filesystem: a database writes to it all the time, a tracker
# knows what, and each run brings one moment of it. Takes root; else it says so. Sourced, never run.

readonly LIVE_MIB=256
device=''
live_writer=''
live_tracker=''

# make_tracked WORK: `device` is a mounted filesystem that bpf tracks, or a loop device over a tracked
# mount of its image where eBPF can't be had.
make_tracked() {
    local work=$1
    mkdir -p "$work/live" "$work/served"
    truncate --size="${LIVE_MIB}M" "$work/live.img"
    mke2fs -q -t ext4 -F "$work/live.img"
    device=$(losetup --find --show --direct-io=on "$work/live.img") || return 1
    if "$towline" track attach "$device" --tracker bpf >"$work/attach.log" 2>&1; then
        live_tracker=bpf
    else
        cat "$work/attach.log"
        losetup --detach "$device" && device=''
        "$towline" mount-image --state-dir "$work/tracking" "$work/live.img" "$work/served" \
            >"$work/attach.log" || return 1
        live_tracker=fuse
        device=$(losetup --find --show --direct-io=on "$work/served/volume") || return 1
    fi
    mount "$device" "$work/live"
}

# write_rows FOLDER: a transaction after another; how many there are is in FOLDER/../rows.
write_rows() {
    local number=0
    sqlite3 "$1/db" "CREATE TABLE t (id INTEGER PRIMARY KEY, seven INTEGER, filler BLOB)"
    while ((++number)); do
        sqlite3 "$1/db" "INSERT INTO t VALUES ($number, 7 * $number, randomblob(20000))" || return
        echo "$number" >"$1/../rows.new" && mv "$1/../rows.new" "$1/../rows"
    done
}

rows_committed() { cat "$1/rows" 2>/dev/null || echo 0; }

# wait_rows WORK COUNT
wait_rows() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        [[ $(rows_committed "$1") -lt $2 ]] || return 0
        sleep 0.1
    done
    die "the database does not get on"
}

# check_moment WORK COUNT: the replica is clean, and its database has all that was committed before.
check_moment() {
    local work=$1 count=$2 verdict rows
    e2fsck -fn "$work/replicas/live" >"$work/fsck.log" 2>&1 ||
        { cat "$work/fsck.log" && die "e2fsck found errors in the replica"; }
    mkdir -p "$work/look" "$work/database"
    mount -o loop,ro "$work/replicas/live" "$work/look"
    # Opening it may roll a transaction back, as after a power cut; the replica stays as it is.
    cp "$work"/look/db* "$work/database/"
    umount "$work/look"
    verdict=$(sqlite3 "$work/database/db" 'PRAGMA integrity_check')
    [[ $verdict == ok ]] || die "the replica's database is broken: $verdict"
    rows=$(sqlite3 "$work/database/db" \
        'SELECT CASE WHEN count(*) = max(id) AND sum(seven) = 7 * sum(id) THEN count(*) ELSE -1 END FROM t')
    [[ $rows -ge $count ]] || die "the replica's database has $rows rows of $count"
    rm -rf -- "$work/database"
    echo "e2fsck -fn of the replica: clean; its database: whole, $rows rows ($count before the run)"
}

# sync_live WORK NAME
sync_live() {
    local work=$1 name=$2 before
    before=$(rows_committed "$work")
    "$towline" sync "$device" "$address/live" --state-dir "$work/state" --json >"$work/$name.json" ||
        die "this run failed: towline sync $device"
    check_moment "$work" "$before"
}

end_tracked() {
    local work=$1
    if [[ -n $live_writer ]]; then
        kill "$live_writer" 2>/dev/null || true
        wait "$live_writer" 2>/dev/null || true
        live_writer=''
    fi
    end_mount "$work/look"
    end_mount "$work/live"
    if [[ $live_tracker == bpf && -n $device ]]; then
        "$towline" track detach "$device" >/dev/null || true
    fi
    if [[ -n $device ]]; then losetup --detach "$device" && device=''; fi
    end_mount "$work/served"
}

# try_live WORK
try_live() {
    local work=$1 number runs=()
    if [[ $(id -u) -ne 0 ]]; then
        echo "left out: this user may not mount"
        return
    fi
    if ! losetup --find >/dev/null 2>&1; then
        echo "left out: no loop device can be had here"
        return
    fi
    make_tracked "$work" || die "no filesystem can be tracked here"
    echo "tracked by $live_tracker: $device, mounted, with a database that commits all the time"
    write_rows "$work/live" &
    live_writer=$!
    wait_rows "$work" 10
    for number in 1 2 3 4; do
        echo "\$ towline sync $device $address/live"
        sync_live "$work" "live-$number"
        runs+=("run $number=$work/live-$number.json")
        wait_rows "$work" "$(($(rows_committed "$work") + 10))"
    done
    python3 "$TOWLINE_LIB/try_table.py" --moments "${runs[@]}"
    end_tracked "$work"
}
