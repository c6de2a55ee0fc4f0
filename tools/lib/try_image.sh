# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The ext4 image that tools/try replicates, and the changes that it makes to it: through a mount where
# this user may, else by debugfs. Sourced, never run.

# make_image WORK IMAGE_MIB CONTENT_MIB: WORK/disk.img, filled with files of this machine.
make_image() {
    local work=$1 image_mib=$2 content_mib=$3
    mkdir "$work/content"
    # As many ordinary files as fit the budget.
    ordinary_files |
        awk -v budget="$((content_mib * 1048576))" '
            {left = budget - sum - $1 - 4096} left > 0 {sum += $1 + 4096; sub(/^[0-9]+ /, ""); print}' |
        tar --create --no-recursion --verbatim-files-from --files-from=- --file=- 2>/dev/null |
        tar --extract --directory="$work/content" --no-same-owner --file=-
    mkdir "$work/content/notes"
    truncate --size="${image_mib}M" "$work/disk.img"
    mke2fs -q -t ext4 -F -d "$work/content" "$work/disk.img"
    printf '%s files, %s of data\n' "$(find "$work/content" -type f | wc -l)" \
        "$(du -sh "$work/content" | cut -f 1)"
    rm -rf -- "$work/content"
}

# "SIZE PATH" each; folders that this user may not read are passed over.
ordinary_files() {
    find /usr/lib /usr/share -xdev -type f -readable -size +16k -size -8M -printf '%s %p\n' \
        2>/dev/null || true
}

# change_image WORK ROUND: new files, and every twentieth of the old ones is gone.
change_image() {
    local work=$1 round=$2
    head -c 6000000 /dev/urandom >"$work/random"
    seq 1 400000 >"$work/numbers"
    if mount_image "$work"; then
        change_mounted "$work" "$round"
        unmount_image "$work"
        echo "changed through a mount: files written and removed"
    else
        change_with_debugfs "$work" "$round"
        echo "changed by debugfs (this user may not mount): files written and removed"
    fi
    # What a loop device or debugfs wrote is in the image before anybody reads it.
    sync "$work/disk.img"
}

mount_image() {
    local work=$1
    [[ $(id -u) -eq 0 ]] || return 1
    mkdir -p "$work/mnt"
    mount -o loop "$work/disk.img" "$work/mnt" 2>/dev/null
}

unmount_image() {
    if mountpoint -q "$1/mnt"; then umount "$1/mnt"; fi
}

change_mounted() {
    local work=$1 round=$2
    cp "$work/random" "$work/mnt/notes/random-$round"
    cp "$work/numbers" "$work/mnt/notes/numbers-$round"
    find "$work/mnt/usr" -type f | sort | awk -v round="$round" 'NR % 20 == round' |
        xargs -d '\n' rm -f --
}

change_with_debugfs() {
    local work=$1 round=$2
    {
        printf 'write %s /notes/random-%s\n' "$work/random" "$round"
        printf 'write %s /notes/numbers-%s\n' "$work/numbers" "$round"
        [[ $round -eq 1 ]] || printf 'rm /notes/numbers-%s\n' "$((round - 1))"
    } >"$work/commands"
    debugfs -w -f "$work/commands" "$work/disk.img" >"$work/debugfs.log" 2>&1
}
