# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Configuring and building a preset of CMakePresets.json. Sourced, never run.

# build_preset PRESET [TARGET...]
build_preset() {
    local preset=$1
    shift
    (
        cd "$TOWLINE_ROOT" || exit
        cmake --preset "$preset" >"build/$preset-configure.log" 2>&1 </dev/null ||
            { cat "build/$preset-configure.log" && exit 1; }
        cmake --build --preset "$preset" --parallel "$(job_count)" ${1:+--target "$@"} </dev/null
    )
}

# build_for AREA PRESET [TARGET...]: a build that fails is a failure of the area that needs it, and
# is not tried twice in one go.
declare -A built=()
build_for() {
    local area=$1 preset=$2 log started=$SECONDS
    shift 2
    local key="$preset $*"
    log=$LOGS/build-$preset.log
    mkdir -p "$TOWLINE_ROOT/build"
    if [[ -z ${built[$key]:-} ]]; then
        if build_preset "$preset" "$@" >"$log" 2>&1; then
            built[$key]=good
            printf '  built %s (%d s)\n' "$preset" "$((SECONDS - started))"
        else
            built[$key]=bad
            grep -vE '^\[[0-9]+/[0-9]+\]' "$log" | head -n 80 | sed 's/^/       | /'
        fi
    fi
    [[ ${built[$key]} == good ]] || { record "$area" fail "build $preset" && return 1; }
}
