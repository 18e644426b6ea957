// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "device.h"

// residual += routed + shared, either of them null for none; notes the first layer after which a row is not finite.
//   grid (batch), 256 threads
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
  for (u32 i = thread_id(); i < a.size; i += 256) {
    float value = a.residual[row + i];
    if (a.routed) value += a.routed[row + i];
    if (a.shared_output) value += a.shared_output[row + i];
    a.residual[row + i] = value;
    if (!is_finite(value)) bad = 1.f;
  }
  bad = block_sum(bad, scratch);
  if (thread_id() == 0 && bad > 0.f && a.not_finite[block_x()] == 0xffffffffu) a.not_finite[block_x()] = a.layer;
}
