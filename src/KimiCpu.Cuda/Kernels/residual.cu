// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "device.h"

// residual += routed + shared, either of them null for none; notes the first layer after which a row is not finite.
//   grid (batch, parts of 1024 values), 256 threads
struct FinishArguments {
  float* residual;             // (batch, size)
  const float* routed;         // (batch, size)
  const float* shared_output;  // (batch, size)
  u32* not_finite;             // (batch) all ones where no layer was bad
  u32 size, layer;
};
KERNEL(256, 2) finish_layer(FinishArguments a) {
  SHARED(float, scratch, 32);
  const u64 row = (u64)block_x() * a.size;
  float bad = 0.f;
  // What is in memory of the host takes long to come: all of it is on its way at once.
  float value[4], routed[4], shared[4];
  UNROLL for (u32 n = 0; n < 4; n++) {
    const u32 i = (block_y() * 4 + n) * 256 + thread_id();
    const bool inside = i < a.size;
    value[n] = inside ? a.residual[row + i] : 0.f;
    routed[n] = inside && a.routed ? a.routed[row + i] : 0.f;
    shared[n] = inside && a.shared_output ? a.shared_output[row + i] : 0.f;
  }
  UNROLL for (u32 n = 0; n < 4; n++) {
    const u32 i = (block_y() * 4 + n) * 256 + thread_id();
    if (i >= a.size) continue;
    if (a.routed) value[n] += routed[n];
    if (a.shared_output) value[n] += shared[n];
    a.residual[row + i] = value[n];
    if (!is_finite(value[n])) bad = 1.f;
  }
  bad = block_sum(bad, scratch);
  if (thread_id() == 0 && bad > 0.f && a.not_finite[block_x()] == 0xffffffffu) a.not_finite[block_x()] = a.layer;
}
