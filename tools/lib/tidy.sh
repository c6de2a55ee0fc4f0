# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# clang-tidy over every .cpp of the tree. A file that was clean is not looked at again until it, a
# header or the configuration changes. Sourced, never run.

# From 21 on clang-tidy passes over what lies in the system's headers before it matches anything:
# a third of the time that 16 takes. The compile commands are GCC's, so their warning options may be
# unknown here.
readonly TIDY=clang-tidy-22
readonly TIDY_ARGUMENTS=(
    --quiet
    --extra-arg=-Wno-unknown-warning-option
    --extra-arg=-Wno-deprecated-declarations # of libstdc++ by itself; what GCC says of ours is an error
    --extra-arg=-Wno-sign-conversion # GCC's -Wconversion, which the sources are held to, leaves it out
    # The analyzer's deep mode takes three times as long for all of it; to follow each path through the
    # standard library, too, and to guess that it goes wrong there, as long as all the rest together.
    --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang
    --extra-arg=mode=shallow,c++-stdlib-inlining=false,c++-template-inlining=false
)

# run_tidy PATTERN
run_tidy() {
    local pattern=$1 stamps=$TOWLINE_ROOT/build/tidy files started=$SECONDS
    mkdir -p "$stamps"
    mapfile -t files < <(list_files '*.cpp' | compiled_only | grep -F -- "$pattern")
    if [[ ${#files[@]} -eq 0 ]]; then
        record tidy fail "clang-tidy" "no source matches '$pattern'"
        return
    fi
    local common
    common=$(tidy_common_key)
    export -f tidy_one git_here list_files
    export TIDY
    export TIDY_STAMPS=$stamps TIDY_COMMON=$common TIDY_LOGS=$LOGS
    # The long ones first, or the last one runs alone.
    (cd "$TOWLINE_ROOT" && ls -S -- "${files[@]}") |
        xargs -P "$(job_count)" -I '{}' bash -c 'tidy_one "$@"' tidy_one '{}' \
            "${TIDY_ARGUMENTS[@]}" || true
    report_tidy "${files[@]}"
    printf '  clang-tidy: %d files (%d s)\n' "${#files[@]}" "$((SECONDS - started))"
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
        list_files '*.hpp' '*.inc' '*.clang-tidy' | xargs -d '\n' cat
        printf '%s\n' "${TIDY_ARGUMENTS[@]}"
        "$TIDY" --version
    ) | sha256sum | cut -d ' ' -f 1
}

# tidy_one FILE ARGUMENT...: a process of its own, under xargs.
tidy_one() {
    local file=$1 flat key
    shift
    flat=${file//\//_}
    key="$TIDY_COMMON $(sha256sum <"$TOWLINE_ROOT/$file")"
    if [[ -f $TIDY_STAMPS/$flat && $(<"$TIDY_STAMPS/$flat") == "$key" ]]; then return; fi
    rm -f "$TIDY_STAMPS/$flat"
    if (cd "$TOWLINE_ROOT" && "$TIDY" -p build/release "$@" "$file") \
        >"$TIDY_LOGS/tidy-$flat.log" 2>&1 </dev/null; then
        printf '%s\n' "$key" >"$TIDY_STAMPS/$flat"
    fi
}

report_tidy() {
    local file flat
    for file in "$@"; do
        flat=${file//\//_}
        if [[ -f $TOWLINE_ROOT/build/tidy/$flat ]]; then
            record tidy pass "$file"
            continue
        fi
        grep -E '(warning|error):' "$LOGS/tidy-$flat.log" | sort -u | head -n 20 |
            sed "s|$TOWLINE_ROOT/||; s/^/       | /" || true
        record tidy fail "$file"
    done
}
