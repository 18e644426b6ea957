// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "input.h"
#include "parts.h"

// Makes the input of a linear layer ready (as linear.cu does), in two BF16 parts.
//   grid (batch), 256 threads
struct SplitArguments {
  const float* input;   // (batch, columns)
  const float* aside;   // gain (columns) or up (batch, columns)
  u16* parts;           // (batch, 2, stride); columns behind the last one become zero
  u32 columns, stride;  // stride: whole tiles of gemm.cu
  u32 mode, for_bytes;
  float epsilon;
};
KERNEL(256, 2) split_rows(SplitArguments a) {
  SHARED(float, scratch, 32);
  const u64 source = (u64)block_x() * a.columns;
  const float* x = a.input + source;
  const float* aside = a.mode == input_gated ? a.aside + source : a.mode == input_normalized ? a.aside : x;
  u32* high = (u32*)(a.parts + (u64)block_x() * 2 * a.stride);
  u32* low = high + a.stride / 2;
  const float norm = a.mode == input_normalized ? inverse_norm(x, a.columns, a.epsilon, scratch) : 1.f;
  for (u32 pair = thread_id(); pair < a.stride / 2; pair += 256) {
    const u32 column = pair * 2;
    const float first = column < a.columns ? prepare(a.mode, x[column], aside[column], norm) : 0.f;
    const float second = column + 1 < a.columns ? prepare(a.mode, x[column + 1], aside[column + 1], norm) : 0.f;
    const Parts parts = split_pair(first, second);
    const u32 place = pair_place(pair, a.for_bytes);
    high[place] = parts.high;
    low[place] = parts.low;
  }
}
