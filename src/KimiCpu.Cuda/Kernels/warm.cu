// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "device.h"

// Has the second-level cache read what later kernels will want, while the GPU has nothing else to do. Nobody waits for it.
//   grid (bytes in whole blocks), 256 threads, a line each
struct WarmArguments {
  const u8* data;
  u32 bytes;
};
KERNEL(256, 2) warm(WarmArguments a) {
  constexpr u32 line = 128;
  const u32 at = (block_x() * 256 + thread_id()) * line;
  if (at < a.bytes) prefetch(a.data + at);
}
