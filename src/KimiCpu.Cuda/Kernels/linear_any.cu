// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "linear.h"

// For weights that linear.cu does not take, in single precision: one warp a row of a weight, Rows rows of the batch at a time. The input is
// staged a tile of columns after another; the sums of a batch row do not depend on the other rows.
//   grid (ceil(weights' rows / 8), ceil(batch / Rows)), 256 threads
constexpr u32 tile_columns = 1024;

// 1 / rms of each row, by a block of eight warps.
template <u32 Rows>
DEVICE void inverse_norms(const LinearArguments& a, u32 first_row, float* scratch, float* norms) {
  const u32 columns = a.first.columns;
  _Pragma("unroll 1") for (u32 r = 0; r < Rows; r++) {
    const float* x = a.input + (u64)source_row(a, first_row + r) * columns;
    float squares = 0.f;
    for (u32 c = thread_id(); c < columns; c += 256) squares = multiply_add(x[c], x[c], squares);
    squares = warp_sum(squares);
    if (lane() == 0) scratch[r * 8 + warp()] = squares;
  }
  sync_block();
  if (thread_id() < Rows) {
    float sum = 0.f;
    UNROLL for (u32 w = 0; w < 8; w++) sum += scratch[thread_id() * 8 + w];
    norms[thread_id()] = inverse_root(divide(sum, (float)columns) + a.epsilon);
  }
  sync_block();
}

// A lane's weights of a tile of columns; zeros behind the last.
template <typename Format, u32 PerLane>
DEVICE void load_tile(const u8* weights, u32 begin, u32 end, Words4 (&loaded)[PerLane]) {
  UNROLL for (u32 i = 0; i < PerLane; i++) {
    const u32 column = begin + (i * 32 + lane()) * Format::values;
    loaded[i] = column < end ? load_stream(weights + (column / Format::per_word * 4)) : Words4{0, 0, 0, 0};
  }
}

template <typename Format, u32 Rows>
DEVICE void linear_any(const LinearArguments& a) {
  constexpr u32 vectors = tile_columns / Format::values, per_lane = vectors / 32, planes = Format::values / 4;
  // A plane holds every planes-th group of four columns, so that neighbouring lanes read neighbouring 16 bytes.
  SHARED(Floats4, tile, Rows * tile_columns / 4);
  SHARED(float, scratch, Rows * 8);
  SHARED(float, norms, Rows);
  const u32 columns = a.first.columns, first_row = block_y() * Rows, output = block_x() * 8 + warp();
  const bool in_first = output < a.first.rows, active = output < a.first.rows + a.second.rows;
  const Matrix& w = in_first ? a.first : a.second;
  const u32 row = active ? (in_first ? output : output - a.first.rows) : 0;
  const u8* weights = w.data + (u64)row * w.stride;
  // Weights are on their way a tile ahead, the first ones while the norms are formed: memory has no pause.
  const u32 end = active ? columns : 0;
  Words4 loaded[per_lane];
  load_tile<Format>(weights, 0, end, loaded);
  if (a.mode == input_normalized) inverse_norms<Rows>(a, first_row, scratch, norms);
  float sums[Rows];
  UNROLL for (u32 r = 0; r < Rows; r++) sums[r] = 0.f;

  for (u32 begin = 0; begin < columns; begin += tile_columns) {
    Words4 next[per_lane];
    load_tile<Format>(weights, begin + tile_columns, end, next);
    const u32 mine = thread_id() * 4, column = begin + mine;
    const u32 place = mine % Format::values / 4 * vectors + mine / Format::values;
    const bool whole = (columns & 3) == 0;
    // Not unrolled: the rows' code would fill the instruction cache.
    _Pragma("unroll 1") for (u32 r = 0; r < Rows; r++) {
      const u64 source = (u64)source_row(a, first_row + r) * columns;
      const float* x = a.input + source;
      const float* aside = a.mode == input_gated ? a.aside + source : a.mode == input_normalized ? a.aside : x;
      const float norm = a.mode == input_normalized ? norms[r] : 1.f;
      Floats4 v{0.f, 0.f, 0.f, 0.f};
      if (whole && column < columns) {
        const Floats4 p = *(const Floats4*)(x + column), q = *(const Floats4*)(aside + column);
        v = Floats4{prepare(a.mode, p.x, q.x, norm), prepare(a.mode, p.y, q.y, norm), prepare(a.mode, p.z, q.z, norm), prepare(a.mode, p.w, q.w, norm)};
      } else if (column < columns) {
        v.x = prepare(a.mode, x[column], aside[column], norm);
        if (column + 1 < columns) v.y = prepare(a.mode, x[column + 1], aside[column + 1], norm);
        if (column + 2 < columns) v.z = prepare(a.mode, x[column + 2], aside[column + 2], norm);
        if (column + 3 < columns) v.w = prepare(a.mode, x[column + 3], aside[column + 3], norm);
      }
      tile[r * (tile_columns / 4) + place] = v;
    }
    sync_block();
    UNROLL for (u32 i = 0; i < per_lane; i++) {
      const u32 vector = i * 32 + lane(), at = begin + vector * Format::values;
      if (at < end) {
        float values[Format::values];
        decode4<Format>(loaded[i], values);
        const float scale = Format::scale(w, row, at);
        UNROLL for (u32 r = 0; r < Rows; r++) {
          float sum = 0.f;
          UNROLL for (u32 p = 0; p < planes; p++) {
            const Floats4 v = tile[r * (tile_columns / 4) + p * vectors + vector];
            sum = multiply_add(values[4 * p], v.x, sum);
            sum = multiply_add(values[4 * p + 1], v.y, sum);
            sum = multiply_add(values[4 * p + 2], v.z, sum);
            sum = multiply_add(values[4 * p + 3], v.w, sum);
          }
          sums[r] = multiply_add(scale, sum, sums[r]);
        }
      }
      loaded[i] = next[i];
    }
    sync_block();
  }

  float* target = in_first ? a.first_output : a.second_output;
  UNROLL for (u32 r = 0; r < Rows; r++) {
    const float sum = warp_sum(sums[r]);
    if (lane() == 0 && active && first_row + r < a.batch) {
      float* y = target + (u64)(first_row + r) * w.rows + row;
      *y = a.output == output_added ? *y + sum : sum;
    }
  }
}

#define LINEAR(name, format, rows) KERNEL(256, 2) linear_any_##name##_##rows(LinearArguments a) { linear_any<format, rows>(a); }
LINEAR(f32, Float32, 1) LINEAR(f32, Float32, 4) LINEAR(f32, Float32, 8)
LINEAR(bf16, BFloat16, 1) LINEAR(bf16, BFloat16, 4) LINEAR(bf16, BFloat16, 8)
LINEAR(fp8, Float8, 1) LINEAR(fp8, Float8, 4) LINEAR(fp8, Float8, 8)
LINEAR(int8, Int8, 1) LINEAR(int8, Int8, 4) LINEAR(int8, Int8, 8)
#undef LINEAR
