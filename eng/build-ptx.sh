#!/usr/bin/env bash
# Makes src/KimiCpu.Cuda/Kernels/kimi.ptx of its sources. Needs clang 19 (Debian: apt-get install --no-install-recommends
# clang-19) and nothing of a CUDA toolkit. With --check, fails where the committed file differs.
set -euo pipefail
cd "$(dirname "$0")/../src/KimiCpu.Cuda/Kernels"
clang=${CLANG:-clang++-19}
command -v "$clang" >/dev/null || { echo "$clang is not installed; set CLANG, or apt-get install --no-install-recommends clang-19" >&2; exit 1; }
"$clang" --version | grep -q 'version 19\.1\.' || { echo "other compilers make other bytes; 19.1 is wanted, this is $("$clang" --version | head -n 1)" >&2; exit 1; }
made=$(mktemp)
trap 'rm -f "$made"' EXIT

# Without a PTX feature clang takes version 4.2. 7.4 is what driver R470 knows, sm_80 what BF16 matrices need; newer GPUs
# translate it too.
"$clang" -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 --cuda-feature=+ptx74 -nocudainc -nocudalib -nostdinc -nostdinc++ \
    -O3 -std=c++20 -Wall -Wextra -Werror -S kimi.cu -o "$made"

if [ "${1:-}" = --check ]; then
    cmp "$made" kimi.ptx || { echo "kimi.ptx is not what its sources make; run eng/build-ptx.sh and commit it" >&2; exit 1; }
    echo "kimi.ptx is what its sources make: $(grep -c '^.visible .entry' kimi.ptx) kernels"
else
    cp "$made" kimi.ptx
    chmod 644 kimi.ptx
    echo "kimi.ptx: $(grep -c '^.visible .entry' kimi.ptx) kernels, $(wc -l <kimi.ptx) lines, $(wc -c <kimi.ptx) bytes"
fi
