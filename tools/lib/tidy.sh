# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# clang-tidy over every .cpp of the tree. A file that was clean is not looked at again, in whichever
# clone, until it, a header or the configuration changes. Sourced, never run.

# From 21 on clang-tidy passes over what lies in the system's headers before it matches anything:
# a third of the time that 16 takes. The compile commands are GCC's, so their warning options may be
# unknown here.
readonly TIDY=clang-tidy-22
readonly TIDY_COMPILER=clang++-22
readonly TIDY_ARGUMENTS=(
    --quiet
    --extra-arg=-Wno-unknown-warning-option
    --extra-arg=-Wno-deprecated-declarations # of libstdc++ by itself; what GCC says of ours is an error
    --extra-arg=-Wno-sign-conversion # GCC's -Wconversion, which the sources are held to, leaves it out
    # The analyzer's deep mode takes three times as long for all of it; to follow each path through the
    # standard library, too, and to guess that it goes wrong there, as long as all the rest together.
    --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang
    '--extra-arg=mode=shallow,c++-stdlib-inlining=false,c++-template-inlining=false'
)

# run_tidy PATTERN
run_tidy() {
    local pattern=$1 files started=$SECONDS
    mapfile -t files < <(list_files '*.cpp' | compiled_only | grep -F -- "$pattern")
    if [[ ${#files[@]} -eq 0 ]]; then
        record tidy fail "clang-tidy" "no source matches '$pattern'"
        return
    fi
    if ! tidy_precompile; then
        record tidy fail "$TIDY_COMPILER" "what most sources include does not compile: $LOGS/tidy-precompile.log"
        return
    fi
    TIDY_COMMON=$(tidy_common_key)
    TIDY_STAMPS=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/towline-tidy
    mkdir -p "$TIDY_STAMPS"
    find "$TIDY_STAMPS" -type f -mtime +30 -delete
    export -f tidy_one tidy_stamp tidy_use_precompiled
    export TIDY TIDY_STAMPS TIDY_COMMON TIDY_PRECOMPILED
    export TIDY_LOGS=$LOGS
    # The long ones first, or the last one runs alone.
    (cd "$TOWLINE_ROOT" && ls -S -- "${files[@]}") |
        xargs -P "$(job_count)" -I '{}' bash -c 'tidy_one "$@"' tidy_one '{}' \
            "${TIDY_ARGUMENTS[@]}" || true
    report_tidy "${files[@]}"
    printf '  clang-tidy: %d files (%d s)\n' "${#files[@]}" "$((SECONDS - started))"
}

# What most sources include of others, parsed once: a third of the time that a source takes. Of ours
# nothing, or clang-tidy would go through all of it each time.
tidy_precompile() {
    local release=$TOWLINE_ROOT/build/release words
    TIDY_PRECOMPILED=$LOGS/tidy.pch
    # What tests are compiled with is more than what others are, and none of it gets in their way.
    mapfile -t words < <(grep -F '"command"' "$release/compile_commands.json" |
        grep -m 1 -F '/tests/unit/' | grep -oE -- ' -(D_|DNDEBUG|DGTEST|O|std=|f)[^ ]*' | tr -d ' ')
    "$TIDY_COMPILER" "${words[@]}" -x c++-header "$release/precompiled.hpp" -o "$TIDY_PRECOMPILED" \
        -Xclang -fpch-instantiate-templates >"$LOGS/tidy-precompile.log" 2>&1
}

# Sources that only another preset compiles (fuzz targets) have no compile command.
compiled_only() {
    local commands=$TOWLINE_ROOT/build/release/compile_commands.json file
    while IFS= read -r file; do
        ! grep -qF "\"$TOWLINE_ROOT/$file\"" "$commands" || printf '%s\n' "$file"
    done
}

tidy_common_key() {
    (
        cd "$TOWLINE_ROOT" || exit
        # And what headers are made of.
        list_files '*.hpp' '*.h' '*.inc' '*.json' '*.bpf.c' '*.clang-tidy' '*CMakeLists.txt' |
            xargs -d '\n' cat
        printf '%s\n' "${TIDY_ARGUMENTS[@]}"
        "$TIDY" --version
        c++ --version
    ) | sha256sum | cut -d ' ' -f 1
}

# The file whose being there says that this one was clean, as it is now.
tidy_stamp() {
    local key
    key=$({ printf '%s %s\n' "$TIDY_COMMON" "$1" && cat "$TOWLINE_ROOT/$1"; } | sha256sum)
    printf '%s/%s\n' "$TIDY_STAMPS" "${key%% *}"
}

# tidy_one FILE ARGUMENT...: a process of its own, under xargs.
tidy_one() {
    local file=$1 stamp words
    shift
    stamp=$(tidy_stamp "$file")
    [[ ! -f $stamp ]] || return 0
    mapfile -t words < <(tidy_use_precompiled "$file")
    (cd "$TOWLINE_ROOT" && "$TIDY" -p build/release "$@" "${words[@]}" "$file") \
        >"$TIDY_LOGS/tidy-${file//\//_}.log" 2>&1 </dev/null && : >"$stamp"
}

# Not of a source for processors that have more (-mavx2); -fPIE: as it was precompiled, libraries too.
tidy_use_precompiled() {
    ! grep -F '"command"' "$TOWLINE_ROOT/build/release/compile_commands.json" |
        grep -F -- "/$1" | grep -q -- ' -m' || return 0
    printf -- '--extra-arg%s\n' -before=-include-pch "-before=$TIDY_PRECOMPILED" =-fPIE
}

report_tidy() {
    local file
    for file in "$@"; do
        if [[ -f $(tidy_stamp "$file") ]]; then
            record tidy pass "$file"
            continue
        fi
        grep -E '(warning|error):' "$LOGS/tidy-${file//\//_}.log" | sort -u | head -n 20 |
            sed "s|$TOWLINE_ROOT/||; s/^/       | /" || true
        record tidy fail "$file"
    done
}
