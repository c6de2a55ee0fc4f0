#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every source, script and build file says its licence in its first lines: GPL-2.0-only in kmod/,
# which becomes part of the kernel, Apache-2.0 elsewhere. eBPF programs are both: the kernel lets only
# those look into its structures that say GPL.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/lib/check.sh"

licence_of() {
    case $1 in
        # A header that both sides include is the kernel's and everybody's.
        kmod/uapi/*) echo 'GPL-2.0-only WITH Linux-syscall-note' ;;
        kmod/*) echo 'GPL-2.0-only' ;;
        *.bpf.c) echo 'Apache-2.0 OR GPL-2.0-only' ;;
        *) echo 'Apache-2.0' ;;
    esac
}

mapfile -t files < <(
    {
        list_files '*.cpp' '*.hpp' '*.inc' '*.c' '*.h' '*.py' '*.cmake' '*CMakeLists.txt' 'kmod/*Makefile' \
            'kmod/*Kbuild' '*.yaml' '*.service' '*.socket'
        list_scripts
    } | sort -u)
for file in "${files[@]}"; do
    wanted="SPDX-License-Identifier: $(licence_of "$file")"
    head -n 3 "$CHECK_ROOT/$file" | grep -qE "$wanted( \*/)?\$" ||
        finding "$file: its first three lines want '$wanted'"
done
for text in LICENSE kmod/LICENSE; do
    [[ -s $CHECK_ROOT/$text ]] || finding "$text is missing"
done
end_check "${#files[@]}"
