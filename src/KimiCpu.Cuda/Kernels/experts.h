// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#pragma once
#include "input.h"

// Routed experts as the checkpoint stores them: INT4 in groups of 32 columns, with a BF16 factor each. The
// arithmetic is that of the CPU's kernels, in their order, so that it hardly matters to a result which side has an expert: rows are rounded to
// 8 bits by groups, products within a group are integers, group g is added in lane g mod 16, and lanes are folded by halves.
constexpr u32 no_slot = 0xffffffffu;
constexpr u32 group_columns = 32, group_bytes = 16, sum_lanes = 16;

// Below it 127 / largest overflows; such a group rounds to zero.
constexpr float smallest_magnitude = 1e-36f;

// A slot has gate, up and down, of each the values and then the factors, at these offsets.
struct ExpertSlots {
  const u8* data;
  u64 slot_bytes;
  u32 gate_scales, up, up_scales, down, down_scales;
};

// A rounded row: (groups x 16) even columns, (groups x 16) odd ones, (groups) factors, (groups) -8 times the sum of a group's values,
// which takes off what the stored bias of 8 adds.
DEVICE u32 rounded_bytes(u32 groups) { return (groups * 40 + 15) & ~15u; }

// A group of a row, one value a lane.
DEVICE void round_group(float x, u8* row, u32 groups, u32 group) {
  const float largest = warp_max(as_float(as_bits(x) & 0x7fffffffu));
  const bool bad = lanes_where(!is_finite(x)) != 0, zero = bad || largest < smallest_magnitude;
  const i32 value = zero ? 0 : round_to_integer(x * divide(127.f, largest));
  u32 sum = (u32)value;
  UNROLL for (int m = 16; m; m >>= 1) sum += exchange(sum, m);
  row[(lane() & 1) * groups * group_bytes + group * group_bytes + lane() / 2] = (u8)value;
  if (lane() == 0) {
    ((float*)(row + groups * 32))[group] = bad ? as_float(0x7fc00000u) : zero ? 0.f : divide(largest, 127.f);
    ((u32*)(row + groups * 36))[group] = 0u - 8u * sum;
  }
}

// A row normalized, as route does, and rounded, by a block of whole warps. Scratch as for block_sum.
DEVICE void round_row(const float* x, const float* gain, u32 size, float epsilon, u8* rounded, float* scratch) {
  const float norm = inverse_norm(x, size, epsilon, scratch);
  const u32 groups = size / group_columns;
  // Several groups are on their way at once.
  constexpr u32 at_once = 4;
  const u32 warps = thread_count() >> 5;
  for (u32 first = warp(); first < groups; first += at_once * warps) {
    float values[at_once];
    UNROLL for (u32 j = 0; j < at_once; j++) {
      const u32 g = first + j * warps, column = (g < groups ? g : first) * group_columns + lane();
      values[j] = x[column] * norm * gain[column];
    }
    UNROLL for (u32 j = 0; j < at_once; j++) {
      if (first + j * warps < groups) round_group(values[j], rounded, groups, first + j * warps);
    }
  }
}
