#!/usr/bin/env bash
# Runs tests as a Windows program on Linux, under Wine 10 or later (8 does not unwind an exception that is thrown while another
# is handled). It shows what Windows' branches do, such as files that are open or unaligned, never speed, and it is not Windows:
# links, direct reads and control groups are Wine's.
#
#   eng/test-windows.sh             all but the kernels' and the simulated GPU's, which are the same code everywhere but for the binding of the driver
#   eng/test-windows.sh FILTER      others, such as FullyQualifiedName~KimiCpu.Tests.Cpu
#
# WINE names the program where it is not on the path; WINEPREFIX its folder of settings.
set -euo pipefail
cd "$(dirname "$0")/.."
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
filter=${1:-'FullyQualifiedName!~KimiCpu.Tests.Cpu.Kernels&(FullyQualifiedName!~KimiCpu.Tests.Cuda|FullyQualifiedName~KimiCpu.Tests.Cuda.Driver)&FullyQualifiedName!~IsaMatrixTests'}
wine=${WINE:-$(command -v wine64 || command -v wine || true)}
export WINEPREFIX=${WINEPREFIX:-$PWD/artifacts/wine} WINEARCH=win64 WINEDEBUG=${WINEDEBUG:--all}

missing=
command -v dotnet >/dev/null || missing+=" the .NET 10 SDK;"
[ -n "$wine" ] || missing+=" wine64, version 10 or later (Debian 13 has it);"
if [ -n "$missing" ]; then
    printf 'Missing:%s\n' "$missing" >&2
    exit 2
fi

version=$("$wine" --version)
version=${version#wine-}
if [ "${version%%.*}" -lt 10 ]; then
    printf 'Wine %s loops in nested exceptions. Version 10 or later is needed.\n' "$version" >&2
    exit 2
fi

# In this folder of the repository, from which tests find what they need.
dotnet publish tests/KimiCpu.Tests -r win-x64 --self-contained
mkdir -p "$WINEPREFIX"

# Wine maps no memory twice with other rights, and it loses the registers of AVX-512 where a collection stops a thread.
export DOTNET_EnableWriteXorExecute=0 DOTNET_EnableAVX512=0
exec "$wine" artifacts/publish/KimiCpu.Tests/release_win-x64/KimiCpu.Tests.exe --filter "$filter"
