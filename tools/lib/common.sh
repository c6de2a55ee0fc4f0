# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by who sources it
# What every script of the tree starts with. Sourced, never run.

TOWLINE_LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOWLINE_ROOT=${TOWLINE_LIB%/tools/lib}
export TOWLINE_ROOT

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# How many things at once: what the caller said, else a job a processor.
job_count() {
    printf '%s\n' "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"
}

# Files of the tree, new ones included, ignored and deleted ones not; patterns as git takes them.
# Where there is no git (an unpacked archive) every file outside of the build folders.
list_files() {
    local root=${TOWLINE_CHECK_ROOT:-$TOWLINE_ROOT}
    (
        cd "$root" || exit
        if [[ -e .git ]] && git_here rev-parse --is-inside-work-tree >/dev/null 2>&1; then
            git_here ls-files --cached --others --exclude-standard -- "$@" | sort -u |
                while IFS= read -r file; do [[ ! -f $file ]] || printf '%s\n' "$file"; done
        else
            find . -path ./.git -prune -o -path './build*' -prune -o -type f -print |
                sed 's|^\./||' | sort | matching "$@"
        fi
    )
}

# A clone that belongs to somebody else (a container's mount) is still this tree.
git_here() { git -c safe.directory='*' "$@"; }

matching() {
    local file pattern
    while IFS= read -r file; do
        for pattern in "$@"; do
            # shellcheck disable=SC2053  # the right side is a pattern
            if [[ $file == $pattern ]]; then
                printf '%s\n' "$file"
                break
            fi
        done
    done
}

# Scripts: by their ending, or by their first line when they have none.
list_scripts() {
    local root=${TOWLINE_CHECK_ROOT:-$TOWLINE_ROOT} file first
    list_files '*.sh' '.ci/*' 'tools/*' 'tests/*' | sort -u | while IFS= read -r file; do
        case ${file##*/} in
            *.sh) printf '%s\n' "$file" ;;
            *.*) ;;
            *)
                IFS= read -r first <"$root/$file" || true
                [[ $first != '#!'*sh ]] || printf '%s\n' "$file"
                ;;
        esac
    done
}
