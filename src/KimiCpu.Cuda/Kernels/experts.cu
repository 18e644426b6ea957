// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "experts.h"

// The routed experts that the GPU holds, for few tokens.

// sum plus a group of 32 columns of a weight times one of a rounded row in shared memory.
DEVICE float multiply_group(const Words4& w, float factor, const u8* x, u32 groups, u32 group, float sum) {
  const Words4 even = *(const Words4*)(x + group * group_bytes), odd = *(const Words4*)(x + (groups + group) * group_bytes);
  i32 dot = ((const i32*)(x + groups * 36))[group];
  dot = dot_bytes(w.x & 0x0f0f0f0fu, even.x, dot);
  dot = dot_bytes(w.x >> 4 & 0x0f0f0f0fu, odd.x, dot);
  dot = dot_bytes(w.y & 0x0f0f0f0fu, even.y, dot);
  dot = dot_bytes(w.y >> 4 & 0x0f0f0f0fu, odd.y, dot);
  dot = dot_bytes(w.z & 0x0f0f0f0fu, even.z, dot);
  dot = dot_bytes(w.z >> 4 & 0x0f0f0f0fu, odd.z, dot);
  dot = dot_bytes(w.w & 0x0f0f0f0fu, even.w, dot);
  dot = dot_bytes(w.w >> 4 & 0x0f0f0f0fu, odd.w, dot);
  return multiply_add((float)dot, multiply(factor, ((const float*)(x + groups * 32))[group]), sum);
}

// One row of a weight times a rounded row in shared memory, by half a warp; all of its lanes get the sum. Four groups a lane are on their way at once.
DEVICE float multiply_row(const u8* weights, const u8* scales, u32 row, const u8* x, u32 groups) {
  constexpr u32 at_once = 4;
  const u8* values = weights + (u64)row * groups * group_bytes;
  const u16* factors = (const u16*)scales + (u64)row * groups;
  float sum = 0.f;
  for (u32 first = lane() & (sum_lanes - 1); first < groups; first += at_once * sum_lanes) {
    Words4 loaded[at_once];
    float factor[at_once];
    UNROLL for (u32 i = 0; i < at_once; i++) {
      const u32 group = first + i * sum_lanes;
      if (group < groups) {
        loaded[i] = load_stream(values + group * group_bytes);
        factor[i] = from_bf16(factors[group]);
      }
    }
    UNROLL for (u32 i = 0; i < at_once; i++) {
      const u32 group = first + i * sum_lanes;
      if (group < groups) sum = multiply_group(loaded[i], factor[i], x, groups, group, sum);
    }
  }
  UNROLL for (int m = sum_lanes / 2; m; m >>= 1) sum = add(sum, exchange(sum, m));
  return sum;
}

// A rounded row into shared memory, by the whole block, when nobody reads the one before any more.
DEVICE void stage_row(const u8* row, u32 groups) {
  for (u32 i = thread_id() * 16; i < rounded_bytes(groups); i += thread_count() * 16) *(Words4*)(dynamic_shared + i) = *(const Words4*)(row + i);
  sync_block();
}

// Which of a row's experts the GPU holds; a row with any is normalized, as route does, and rounded.
//   grid (batch), 1024 threads
struct ExpertRoundArguments {
  const float* residual;   // (batch, size)
  const float* gain;       // (size)
  const u32* ids;          // (batch, chosen) of route, and the experts' weights, in memory of the host
  const float* weights;
  const u32* slot_of;      // (experts) of the layer
  u32* slots;              // (batch, chosen): no_slot where the host has the expert
  float* slot_weights;     // (batch, chosen)
  u8* rounded;             // (batch) rows
  u32 size, chosen;
  float epsilon;
};
KERNEL(1024, 1) expert_round(ExpertRoundArguments a) {
  SHARED(float, scratch, 32);
  const u32 row = block_x();
  float held = 0.f;
  if (thread_id() < a.chosen) {
    const u32 pair = row * a.chosen + thread_id(), slot = a.slot_of[a.ids[pair]];
    a.slots[pair] = slot;
    a.slot_weights[pair] = a.weights[pair];
    held = slot == no_slot ? 0.f : 1.f;
  }
  if (block_sum(held, scratch) == 0.f) return;
  round_row(a.residual + (u64)row * a.size, a.gain, a.size, a.epsilon, a.rounded + (u64)row * rounded_bytes(a.size / group_columns), scratch);
}

// silu(gate x) * up x, rounded, for all (token, expert) pairs that have a slot. A block makes one group of 32 inner rows, half a warp each.
//   grid (inner / 32), 512 threads; dynamic shared memory: rounded_bytes(size / 32)
struct ExpertGateUpArguments {
  ExpertSlots experts;
  const u32* slots;     // (pairs)
  const u8* rounded;    // (pairs / chosen) rows of size columns
  u8* inner;            // (pairs) rows of inner columns
  u32 pairs, chosen;
  u32 size, inner_size;
};
KERNEL(512, 1) expert_gate_up(ExpertGateUpArguments a) {
  SHARED(float, values, group_columns);
  const u32 groups = a.size / group_columns, inner_groups = a.inner_size / group_columns;
  const u32 half = thread_id() / sum_lanes, row = block_x() * group_columns + half;
  u32 staged = no_slot;
  for (u32 pair = 0; pair < a.pairs; pair++) {
    const u32 slot = a.slots[pair], token = pair / a.chosen;
    if (slot == no_slot) continue;
    if (token != staged) stage_row(a.rounded + (u64)token * rounded_bytes(groups), groups);
    staged = token;
    const u8* expert = a.experts.data + slot * a.experts.slot_bytes;
    const float gate = multiply_row(expert, expert + a.experts.gate_scales, row, dynamic_shared, groups);
    const float up = multiply_row(expert + a.experts.up, expert + a.experts.up_scales, row, dynamic_shared, groups);
    if ((thread_id() & (sum_lanes - 1)) == 0) values[half] = multiply(multiply(gate, sigmoid(gate)), up);
    sync_block();
    if (warp() == 0) round_group(values[lane()], a.inner + (u64)pair * rounded_bytes(inner_groups), inner_groups, block_x());
    sync_block();
  }
}

// output (+)= the weighted sum of the down projections of a token's experts that have a slot.
//   grid (size / 32, batch), 512 threads; dynamic shared memory: rounded_bytes(inner / 32)
struct ExpertDownArguments {
  ExpertSlots experts;
  const u32* slots;            // (batch, chosen)
  const float* slot_weights;   // (batch, chosen)
  const u8* inner;             // (batch, chosen) rows of inner columns
  float* output;               // (batch, size)
  u32 chosen, size, inner_size, accumulate;
};
KERNEL(512, 1) expert_down(ExpertDownArguments a) {
  const u32 inner_groups = a.inner_size / group_columns, token = block_y();
  const u32 row = block_x() * group_columns + thread_id() / sum_lanes;
  float sum = 0.f;
  for (u32 k = 0; k < a.chosen; k++) {
    const u32 pair = token * a.chosen + k, slot = a.slots[pair];
    if (slot == no_slot) continue;
    sync_block();
    stage_row(a.inner + (u64)pair * rounded_bytes(inner_groups), inner_groups);
    const u8* expert = a.experts.data + slot * a.experts.slot_bytes;
    sum = multiply_add(a.slot_weights[pair], multiply_row(expert + a.experts.down, expert + a.experts.down_scales, row, dynamic_shared, inner_groups), sum);
  }
  if ((thread_id() & (sum_lanes - 1)) == 0) {
    float* y = a.output + (u64)token * a.size + row;
    *y = a.accumulate ? *y + sum : sum;
  }
}
