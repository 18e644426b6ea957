#!/usr/bin/env bash
# Runs tests as Arm64 code on an x64 machine, under QEMU's user-mode emulation: with the dot product extension and without,
# because the kernels have a path for each and no x64 machine reaches either. It judges results, never speed.
#
#   eng/test-arm64.sh             the kernels
#   eng/test-arm64.sh FILTER      others, such as FullyQualifiedName~GoldenTests
#
# Tests that write synthetic checkpoints hash them, for which .NET wants OpenSSL: an Arm64 libssl3, unpacked anywhere, with
# its folder in QEMU_SET_ENV=LD_LIBRARY_PATH=... . Tests that start processes of their own need QEMU in binfmt_misc.
set -euo pipefail
cd "$(dirname "$0")/.."
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
filter=${1:-'FullyQualifiedName~KimiCpu.Tests.Cpu&FullyQualifiedName!~IsaMatrixTests'}
export QEMU_LD_PREFIX=${QEMU_LD_PREFIX:-/usr/aarch64-linux-gnu}

missing=
command -v dotnet >/dev/null || missing+=" the .NET 10 SDK;"
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) || missing+=" qemu-user-static;"
for library in libc.so.6:libc6 libstdc++.so.6:libstdc++6 libgcc_s.so.1:libgcc-s1; do
    [ -e "$QEMU_LD_PREFIX/lib/${library%:*}" ] || missing+=" ${library#*:}-arm64-cross;"
done
if [ -n "$missing" ]; then
    printf 'Missing (package names of Debian and Ubuntu):%s\n' "$missing" >&2
    exit 2
fi

dotnet publish tests/KimiCpu.Tests -r linux-arm64 --self-contained

# QEMU does not see code change that is written through another mapping than it runs from, so the runtime must not separate
# the two: methods compiled again would run as they were, or crash. Instrumented code costs an emulator more than it gives.
export DOTNET_EnableWriteXorExecute=0 DOTNET_TieredPGO=0
failed=0
for cpu in max cortex-a57; do
    dotprod=$([ "$cpu" = max ] && echo with || echo without)
    printf '\n== Arm64 %s dot product (%s)\n' "$dotprod" "$cpu"
    QEMU_CPU=$cpu "$qemu" artifacts/publish/KimiCpu.Tests/release_linux-arm64/KimiCpu.Tests --filter "$filter" || failed=1
done
exit "$failed"
