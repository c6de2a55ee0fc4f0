# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034  # AREAS is for who sources this
# The areas of tools/test, in the order in which they run: what is quick to fail comes first. Each
# takes a pattern that chooses among its tests (empty: all). Sourced, never run.

readonly AREAS=(house tidy unit sim integration faults kernel fuzz asan)

# Shortened campaigns: what CI has time for. tools/campaign runs the whole.
readonly SIM_SEEDS=1000
readonly SIM_SEEDS_ASAN=100
readonly FUZZ_SECONDS=20
# With sanitizers, bytes that are flipped: each of so many.
readonly STRIDE_ASAN=7
# Not with sanitizers: minutes of arithmetic, of a controller and of schedules, that holds no memory.
readonly NOT_ASAN='LevelControl.Finds*:LevelControl.DoesNotFlap:LevelControl.IsAsDense*:JobsSimulation.AYear*'

# What is drawn last is drawn less of in CI on a machine that was slow so far (it varies by two): a run
# that is cut off at its limit says nothing.
readonly SLOW_SECONDS=3600
sample() {
    if [[ -n ${CI:-} && $SECONDS -gt $SLOW_SECONDS ]]; then echo $(($1 / 4)); else echo "$1"; fi
}

area_summary() {
    case $1 in
        house) echo "formatting, include direction, licences, sizes, scripts" ;;
        tidy) echo "clang-tidy over every source" ;;
        unit) echo "one class or format at a time" ;;
        sim) echo "pipelines over the simulated engine, $SIM_SEEDS seeds" ;;
        integration) echo "the programs as a user runs them, a behaviour a file" ;;
        faults) echo "kills and failures, a seeded sample" ;;
        kernel) echo "the kernel module in both kernels, under emulation, a seeded sample" ;;
        fuzz) echo "each libFuzzer target for $(sample "$FUZZ_SECONDS") seconds after its corpus" ;;
        asan) echo "unit and sim with AddressSanitizer and UBSan, $(sample "$SIM_SEEDS_ASAN") seeds" ;;
    esac
}

area_house() { run_script_folder house tests/house "$1" 120; }

area_tidy() {
    # The compile commands and the sources that a build makes are all that it needs of one.
    build_for tidy release generated || return 0
    run_tidy "$1"
}

area_unit() {
    build_for unit release || return 0
    run_gtest unit "$TOWLINE_BIN/unit_tests" "${1:+*$1*}" 900
}

area_sim() {
    build_for sim release || return 0
    TOWLINE_COUNT=${TOWLINE_COUNT:-$SIM_SEEDS} \
        run_gtest sim "$TOWLINE_BIN/sim_tests" "${1:+*$1*}" 900
}

area_integration() {
    build_for integration release || return 0
    run_script_folder integration tests/integration "$1" 300
}

area_faults() {
    build_for faults release || return 0
    run_script_folder faults tests/faults "$1" 600
}

area_kernel() {
    # The guests run it.
    build_for kernel release towline || return 0
    run_kernel_tests kernel "$1" 900
}

area_asan() {
    build_for asan asan unit_tests sim_tests || return 0
    local bin=$TOWLINE_ROOT/build/asan/bin
    TOWLINE_STRIDE=$STRIDE_ASAN run_gtest asan "$bin/unit_tests" "*${1:+$1*}-$NOT_ASAN" 1200
    TOWLINE_COUNT=${TOWLINE_COUNT:-$(sample "$SIM_SEEDS_ASAN")} \
        run_gtest asan "$bin/sim_tests" "*${1:+$1*}-$NOT_ASAN" 1200
}

area_fuzz() {
    local targets=() target
    mapfile -t targets < <(fuzz_targets "$1")
    if [[ ${#targets[@]} -eq 0 ]]; then
        record fuzz fail "tests/fuzz" "no target there matches '*$1*'"
        return
    fi
    build_for fuzz asan "${targets[@]}" || return 0
    run_fuzz_targets fuzz "${targets[@]}"
}
