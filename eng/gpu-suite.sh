#!/usr/bin/env bash
# The whole GPU suite, in two halves, since the machine with the GPU may have no .NET:
#   eng/gpu-suite.sh build [FOLDER]   tests and kimi with everything they need, for Linux on x64; default artifacts/gpu-suite
#   eng/gpu-suite.sh assemble         anywhere with ptxas (PTXAS names one): registers and shared memory of each kernel on five targets
#   eng/gpu-suite.sh run [FOLDER]     on the machine with the GPU, from a checkout: assembles the PTX for five targets where ptxas is there, runs the
#                                     tests of the category Gpu on the GPU, once more under compute-sanitizer where it is there, measures, and
#                                     writes docs/gpu/DATE-CARD.md (REPORT names another file). SANITIZERS names the tools of compute-sanitizer that
#                                     are used, all three by default; racecheck takes long
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${2:-artifacts/gpu-suite}

build() {
    rm -rf "$folder"
    for project in tests/KimiCpu.Tests src/KimiCpu.Cli; do
        dotnet publish "$project" -c Release -r linux-x64 --self-contained -o "$folder" -v quiet || exit 1
    done
    du -sh "$folder"
}

# Runs a command into the report, as a block; the block's end says how it ended.
part() {
    printf '\n## %s\n\n```\n' "$1" >>"$report"
    shift
    "$@" 2>&1 | tee -a "$report"
    local code=${PIPESTATUS[0]}
    printf '```\n\nExit code %s.\n' "$code" >>"$report"
    [ "$code" = 0 ] || failed=1
}

# A table of registers and shared memory by kernel and target. Fails where the assembler refuses, or a kernel needs local memory.
assemble() {
    local ptxas=${PTXAS:-ptxas} bad=0 output target targets=() rows="" known
    known=$("$ptxas" --help) || return 1
    "$ptxas" --version | sed -n 's/^Cuda compilation tools, /ptxas of CUDA /p'
    for target in sm_80 sm_86 sm_89 sm_90 sm_120; do
        if ! grep -q "'$target'" <<<"$known"; then
            echo "$target: newer than this ptxas"
            continue
        fi
        output=$("$ptxas" -v -arch="$target" -o /dev/null src/KimiCpu.Cuda/Kernels/kimi.ptx 2>&1) || { bad=1; echo "$target: refused"; grep -v '^ptxas info' <<<"$output"; continue; }
        targets+=("$target")
        rows+=$(awk -v target="$target" -v quote="'" '
            /Compiling entry function/ { split($0, part, quote); name = part[2]; spills = "" }
            /bytes stack frame/ { if ($1 + $5 + $9 > 0) spills = ", " $1 " bytes of stack, " $5 " spilled" }
            / Used / { match($0, /Used [0-9]+/); used = substr($0, RSTART + 5, RLENGTH - 5); shared = 0
                       if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH - 11)
                       print name, target, used spills, shared }' <<<"$output")$'\n'
    done
    awk -v targets="${targets[*]}" '
        BEGIN { n = split(targets, t, " "); printf "| kernel | shared bytes |"; for (i = 1; i <= n; i++) printf " %s |", t[i]; print ""
                printf "|---|---|"; for (i = 1; i <= n; i++) printf "---|"; print "" }
        NF { name = $1; target = $2; shared[name] = $NF; $1 = $2 = $NF = ""; gsub(/^ +| +$/, ""); used[name, target] = $0; if (!(name in seen)) order[++count] = name; seen[name] = 1 }
        END { for (k = 1; k <= count; k++) { printf "| %s | %s |", order[k], shared[order[k]]; for (i = 1; i <= n; i++) printf " %s |", used[order[k], t[i]]; print "" } }' <<<"$rows"
    ! grep -q spilled <<<"$rows" || { echo "A kernel needs local memory."; bad=1; }
    return $bad
}

run() {
    [ -x "$folder/KimiCpu.Tests" ] || { echo "$folder has no tests: eng/gpu-suite.sh build first" >&2; exit 1; }
    card=$(nvidia-smi --query-gpu=name --format=csv,noheader -i 0) || { echo "nvidia-smi finds no GPU" >&2; exit 1; }
    report=${REPORT:-docs/gpu/$(date +%F)-$(tr -c 'A-Za-z0-9\n' '-' <<<"$card").md}
    failed=0
    mkdir -p "$(dirname "$report")"
    printf '# %s, %s\n' "$card" "$(date +%F)" >"$report"
    part "The machine" nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv
    if command -v "${PTXAS:-ptxas}" >/dev/null; then
        part "ptxas for five targets: registers, spills, shared memory" assemble
    else
        printf '\nptxas is not installed, so other targets were not assembled.\n' >>"$report"
    fi
    part "Tests on the GPU" env KIMICPU_TEST_GPU=1 "$folder/KimiCpu.Tests" --filter TestCategory=Gpu
    if command -v compute-sanitizer >/dev/null; then
        for tool in ${SANITIZERS:-memcheck synccheck racecheck}; do
            part "compute-sanitizer $tool" env KIMICPU_TEST_GPU=1 compute-sanitizer --tool "$tool" --error-exitcode 9 "$folder/KimiCpu.Tests" --filter "TestCategory=Gpu&FullyQualifiedName~Cuda.Kernels"
        done
    else
        printf '\ncompute-sanitizer is not installed, so it did not look.\n' >>"$report"
    fi
    part "Kernels" "$folder/kimi" bench --gpu --device cuda:0
    echo "$report"
    exit $failed
}

case "${1:-}" in
    build) build ;;
    assemble) assemble ;;
    run) run ;;
    *) sed -n '2,8p' "$0" | cut -c3- >&2; exit 2 ;;
esac
