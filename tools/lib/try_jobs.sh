# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The part of tools/try that shows the daemon: a job that takes a volume that is written to all the
# time into a vault, watched, edited, paused and resumed in mid-run. Sourced, never run.

daemon=''
writer=''
live_loop=''

# start_daemon WORK: as any user, in ordinary files.
start_daemon() {
    local work=$1 tries
    "$TOWLINE_ROOT/build/release/bin/towlined" --state-dir "$work/daemon" --socket "$work/api.sock" \
        --run-dir "$work/run" 2>"$work/towlined.log" &
    daemon=$!
    for ((tries = 0; tries < 300; tries++)); do
        ! grep -q '^towlined: listening on' "$work/towlined.log" || return 0
        kill -0 "$daemon" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/towlined.log" >&2
    die "towlined did not start"
}

# A command as a user would type it, but for the socket.
ask_daemon() {
    printf '$ towline %s\n' "${*//"$work"\//}"
    "$TOWLINE_ROOT/build/release/bin/towline" "$@" --socket "$work/api.sock"
}

# run_id: of the newest run.
run_id() {
    "$TOWLINE_ROOT/build/release/bin/towline" run list demo --json --socket "$work/api.sock" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["runs"][0]["id"])'
}

# make_live WORK: `volume` is the image behind a tracked mount with its filesystem mounted and
# somebody writing to it; where this user may not do that, the image as it is.
make_live() {
    local work=$1
    volume=$work/disk.img
    [[ $(id -u) -eq 0 && -w /dev/fuse ]] || return 0
    mkdir -p "$work/tracked" "$work/mnt"
    "$towline" mount-image --state-dir "$work/tracking" --run-dir "$work/run" "$work/disk.img" \
        "$work/tracked" >/dev/null || return 0
    volume=$work/tracked/volume
    live_loop=$(losetup --find --show --direct-io=on "$volume") || return 0
    mount "$live_loop" "$work/mnt" || return 0
    keep_writing "$work/mnt" &
    writer=$!
}

keep_writing() {
    local number=0
    while ((++number)); do
        head -c 2000000 /dev/urandom >"$1/notes/live-$((number % 8))"
        sleep 0.1
    done
}

# stop_writing WORK: nobody writes any more, and all that was written is in the volume.
stop_writing() {
    local work=$1 tries
    if [[ -n $writer ]]; then
        kill "$writer" 2>/dev/null || true
        wait "$writer" 2>/dev/null || true
        writer=''
    fi
    # What it had begun still ends.
    for ((tries = 0; tries < 100; tries++)); do
        ! unmount_image "$work" 2>/dev/null || return 0
        sleep 0.1
    done
    unmount_image "$work"
}

# check_point WORK: the latest point, mounted, is the volume as it is.
check_point() {
    local work=$1
    [[ -w /dev/fuse ]] || return 0
    mkdir -p "$work/point"
    printf '$ towline point mount vault:vault/demo@latest point\n'
    "$towline" point mount "vault:$work/vault/demo@latest" "$work/point" >/dev/null
    ls -l "$work/point"
    cmp "$volume" "$work"/point/* || die "the latest point differs from the volume"
    echo "the latest point and the volume are equal, byte for byte"
    e2fsck -fn "$work"/point/* >"$work/fsck.log" 2>&1 ||
        { cat "$work/fsck.log" && die "e2fsck found errors in the point"; }
    echo "e2fsck -fn of the point: clean"
    end_mount "$work/point"
}

# end_mount WHERE: who reads it may take a moment to be gone.
end_mount() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        mountpoint -q "$1" || return 0
        umount "$1" 2>/dev/null || sleep 0.1
    done
}

end_live() {
    local work=$1
    end_mount "$work/point"
    stop_writing "$work"
    if [[ -n $live_loop ]]; then losetup --detach "$live_loop" && live_loop=''; fi
    end_mount "$work/tracked"
}

end_jobs() {
    if [[ -n $daemon ]]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" 2>/dev/null || true
        daemon=''
    fi
    end_live "$1"
}

# try_jobs WORK
try_jobs() {
    local work=$1 run volume
    make_live "$work"
    "$towline" vault init "$work/vault" >/dev/null
    start_daemon "$work"
    ask_daemon catalog import
    local create=(job create demo --volume "$volume" --target "vault:$work/vault/demo" --every 30s
        --rate 100)
    ask_daemon "${create[@]}"
    ask_daemon "${create[@]}"
    run=$(run_id)
    sleep 2
    ask_daemon status
    ask_daemon job edit demo --rate 200
    ask_daemon job pause demo
    sleep 1
    ask_daemon run show "$run"
    ask_daemon job resume demo
    ask_daemon job edit demo --rate 0
    ask_daemon run wait "$run"
    ask_daemon run start demo --wait
    stop_writing "$work"
    ask_daemon run start demo --wait
    ask_daemon job pause demo
    ask_daemon run list demo
    ask_daemon status
    check_point "$work"
}
