// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "linear.h"
#include "parts.h"

// The linear layer of a few rows, on the tensor cores: what bounds it is reading the weights, and up to eight rows of the batch share a
// reading. A block has 16 rows of a weight, and its warps take turns at 128 columns each. A warp reads its weights into registers, a
// turn ahead, and makes its columns of the input ready in a corner of shared memory of its own, so nothing waits for another warp until
// sums are added. Columns stand in the tensor cores' matrices in the order in which 16 bytes of a row hold them, the same for both. The
// input comes in two parts; the norm of a row, which is formed on the way, is applied to its sums. Factors of 8 bits are applied to sums of
// 128 columns. The sums of a batch row do not depend on the other rows, nor on how many of them a kernel takes.
//   columns: a multiple of 4; grid (tiles of 16 rows, each of one weight, ceil(batch / Rows)), up to 12 warps; dynamic shared memory: warps * staged_bytes
namespace few {
constexpr u32 step_columns = 128, rows_of_block = 16;

// A row of a step: 32 times the two parts of four neighbouring columns. What four neighbouring lanes read stands together, and two rows do
// not share banks.
constexpr u32 staged_row = 32 * 16 + 64;
template <u32 Rows> constexpr u32 staged_bytes = Rows * staged_row;
static_assert(staged_bytes<1> == 576 && staged_bytes<8> == 4608, "KernelSet has these");

DEVICE u32 word_of(const Words4& w, u32 i) { return i == 0 ? w.x : i == 1 ? w.y : i == 2 ? w.z : w.w; }

// Of two rows, four neighbouring columns of each lane of a quad.
template <typename Format>
DEVICE void weight_fragment(u32 (&f)[4], const Words4& row, const Words4& row_8, u32 vector) {
  if constexpr (Format::per_word == 2) {
    f[0] = word_of(row, 2 * vector); f[2] = word_of(row, 2 * vector + 1);
    f[1] = word_of(row_8, 2 * vector); f[3] = word_of(row_8, 2 * vector + 1);
  } else {
    u32 pairs[2];
    Format::bf16_pairs(word_of(row, vector), pairs);
    f[0] = pairs[0]; f[2] = pairs[1];
    Format::bf16_pairs(word_of(row_8, vector), pairs);
    f[1] = pairs[0]; f[3] = pairs[1];
  }
}

// Four neighbouring values of a row; zeros behind its end, where others are read. Nobody branches.
DEVICE Floats4 load_row(const float* row, u32 column, u32 columns) {
  const bool inside = column < columns;
  const Floats4 v = *(const Floats4*)(row + (inside ? column : 0));
  return Floats4{inside ? v.x : 0.f, inside ? v.y : 0.f, inside ? v.z : 0.f, inside ? v.w : 0.f};
}

template <typename Format, u32 Rows>
DEVICE void linear(const LinearArguments& a) {
  constexpr u32 piece = Format::values, vectors = piece / 4, pieces = step_columns / 4 / piece;
  // The input of one row is on its way a turn ahead, too, where registers have room for it beside the weights.
  constexpr bool has_factors = Format::per_word == 4, ahead = Rows == 1 && has_factors;
  const u32 group = lane() >> 2, place = lane() & 3, warps = thread_count() >> 5, columns = a.first.columns;
  // Gate and up are multiplied together: a block has eight rows of either.
  const bool gated = a.output == output_gated;
  const u32 first_blocks = gated ? grid_x() : (a.first.rows + rows_of_block - 1) / rows_of_block;
  const bool in_first = block_x() < first_blocks;
  const Matrix& w = in_first ? a.first : a.second;
  const u32 first_row = (in_first ? block_x() : block_x() - first_blocks) * (gated ? rows_of_block / 2 : rows_of_block), first_of_batch = block_y() * Rows;
  const u32 steps = (columns + step_columns - 1) / step_columns, steps_of_factor = has_factors ? w.scale_columns / step_columns : 1;
  u8* staged = dynamic_shared + warp() * staged_bytes<Rows>;
  Words4* staged_mine = (Words4*)staged + (lane() / piece * piece + lane() % vectors * 4 + lane() % piece / vectors);
  const Words4* staged_of_group = (const Words4*)(staged + (Rows == 1 ? 0 : group) * staged_row) + place;

  // Rows behind the last one repeat it, of the weight and of the batch, and their sums are not stored.
  const u8* weights[2];
  const u8* factors_of[2];
  UNROLL for (u32 h = 0; h < 2; h++) {
    const bool is_up = gated && h == 1;
    const u32 wanted = first_row + (gated ? 0 : h * 8) + group, row = wanted < w.rows ? wanted : w.rows - 1;
    weights[h] = (is_up ? a.second.data : w.data) + (u64)row * w.stride;
    if constexpr (has_factors) factors_of[h] = (is_up ? a.second.scales : w.scales) + Format::factors_at(w, row);
  }
  u32 source[Rows];
  UNROLL for (u32 r = 0; r < Rows; r++) {
    const u32 row = first_of_batch + r < a.batch ? first_of_batch + r : a.batch - 1;
    source[r] = a.row_map ? a.row_map[row] : row;
  }

  Words4 loaded[pieces][2];
  float factors[2];
  // Behind the last column the input is zero, and whatever weights of the row stand in for those.
  const auto load_piece = [&](u32 step, u32 q) INLINE {
    const u32 at = (step * pieces + q) * 64 + place * 16;
    UNROLL for (u32 h = 0; h < 2; h++) loaded[q][h] = load_stream(weights[h] + (at < w.stride ? at : 0));
  };
  const auto load_factors = [&](u32 step) INLINE {
    if constexpr (has_factors) {
      UNROLL for (u32 h = 0; h < 2; h++) factors[h] = Format::factor_at(factors_of[h], step / steps_of_factor);
    }
  };
  // Of either part; where there are factors, of a step, and the sums of all steps beside them.
  float sums[2][4], scaled[4], squares[Rows];
  Floats4 values[Rows], other;
  const auto load_input = [&](u32 step) INLINE {
    const u32 column = step * step_columns + lane() * 4;
    UNROLL for (u32 r = 0; r < Rows; r++) values[r] = load_row(a.input + (u64)source[r] * columns, column, columns);
    if (a.mode != input_plain) other = load_row(a.aside + (a.mode == input_gated ? (u64)source[0] * columns : 0), column, columns);
  };
  const auto stage = [&](u32 r, float x, float y, float z, float t) INLINE {
    const Parts low = split_pair(x, y), high = split_pair(z, t);
    *(Words4*)((u8*)staged_mine + r * staged_row) = Words4{low.high, high.high, low.low, high.low};
  };
  const auto stage_input = [&](u32 step) INLINE {
    if (a.mode == input_normalized) {
      UNROLL for (u32 r = 0; r < Rows; r++) {
        const Floats4 v = values[r];
        squares[r] = multiply_add(v.x, v.x, multiply_add(v.y, v.y, multiply_add(v.z, v.z, multiply_add(v.w, v.w, squares[r]))));
        stage(r, v.x * other.x, v.y * other.y, v.z * other.z, v.w * other.w);
      }
    } else if (a.mode == input_gated) {
      // Up is as large as the input, so that of one row only is here already.
      UNROLL for (u32 r = 0; r < Rows; r++) {
        const Floats4 v = values[r], up = Rows == 1 ? other : load_row(a.aside + (u64)source[r] * columns, step * step_columns + lane() * 4, columns);
        stage(r, prepare(input_gated, v.x, up.x, 1.f), prepare(input_gated, v.y, up.y, 1.f), prepare(input_gated, v.z, up.z, 1.f), prepare(input_gated, v.w, up.w, 1.f));
      }
    } else {
      UNROLL for (u32 r = 0; r < Rows; r++) stage(r, values[r].x, values[r].y, values[r].z, values[r].w);
    }
  };
  UNROLL for (u32 i = 0; i < 4; i++) sums[0][i] = sums[1][i] = scaled[i] = 0.f;
  UNROLL for (u32 r = 0; r < Rows; r++) squares[r] = 0.f;
  u32 step = warp();
  if (step < steps) {
    UNROLL for (u32 q = 0; q < pieces; q++) load_piece(step, q);
    load_factors(step);
    if constexpr (ahead) load_input(step);
  }
  for (; step < steps; step += warps) {
    const bool more = step + warps < steps;
    if constexpr (!ahead) load_input(step);
    sync_warp();
    stage_input(step);
    sync_warp();
    if (ahead && more) load_input(step + warps);
    UNROLL for (u32 q = 0; q < pieces; q++) {
      UNROLL for (u32 v = 0; v < vectors; v++) {
        const Words4 input = staged_of_group[q * piece + v * 4];
        u32 f[4];
        weight_fragment<Format>(f, loaded[q][0], loaded[q][1], v);
        multiply_matrices(sums[0], f, input.x, input.y);
        multiply_matrices(sums[1], f, input.z, input.w);
      }
      if (more) load_piece(step + warps, q);
    }
    if constexpr (has_factors) {
      UNROLL for (u32 i = 0; i < 4; i++) {
        scaled[i] = multiply_add(factors[i >> 1], sums[0][i] + sums[1][i], scaled[i]);
        sums[0][i] = sums[1][i] = 0.f;
      }
      if (more) load_factors(step + warps);
    }
  }

  // The sums of a warp and its squares take the place of its input: (Rows) squares, then (Rows, rows_of_block) sums.
  static_assert((1 + rows_of_block) * 4 <= staged_row);
  sync_warp();
  float* mine = (float*)staged;
  UNROLL for (u32 r = 0; r < Rows; r++) {
    const float square = warp_sum(squares[r]);
    if (lane() == 0) mine[r] = square;
  }
  UNROLL for (u32 i = 0; i < 4; i++) {
    const u32 r = place * 2 + (i & 1);
    if (r < Rows) mine[Rows + r * rows_of_block + (i >> 1) * 8 + group] = has_factors ? scaled[i] : sums[0][i] + sums[1][i];
  }
  sync_block();
  float* target = in_first ? a.first_output : a.second_output;
  const auto sum_of = [&](u32 i) INLINE {
    float sum = 0.f, square = 0.f;
    for (u32 n = 0; n < warps; n++) {
      const float* of_warp = (const float*)(dynamic_shared + n * staged_bytes<Rows>);
      sum += of_warp[Rows + i];
      square += of_warp[i / rows_of_block];
    }
    return a.mode == input_normalized ? sum * inverse_root(divide(square, (float)columns) + a.epsilon) : sum;
  };
  for (u32 i = thread_id(); i < Rows * rows_of_block; i += thread_count()) {
    const u32 batch_row = first_of_batch + i / rows_of_block, in_block = i % rows_of_block, row = first_row + in_block;
    if (batch_row >= a.batch || row >= w.rows || (gated && in_block >= rows_of_block / 2)) continue;
    const float sum = sum_of(i);
    float* y = target + (u64)batch_row * w.rows + row;
    *y = gated ? prepare(input_gated, sum, sum_of(i + rows_of_block / 2), 1.f) : a.output == output_added ? *y + sum : sum;
  }
}
}

// No launch has more than 384 threads: bounds say how many registers a thread may have, 80 for one row of 8 bits, 128 for one of BF16.
KERNEL(512, 1) linear_bf16_1(LinearArguments a) { few::linear<BFloat16, 1>(a); }
KERNEL(384, 1) linear_bf16_8(LinearArguments a) { few::linear<BFloat16, 8>(a); }
KERNEL(384, 2) linear_fp8_1(LinearArguments a) { few::linear<Float8, 1>(a); }
KERNEL(384, 1) linear_fp8_8(LinearArguments a) { few::linear<Float8, 8>(a); }
KERNEL(384, 2) linear_int8_1(LinearArguments a) { few::linear<Int8, 1>(a); }
KERNEL(384, 1) linear_int8_8(LinearArguments a) { few::linear<Int8, 8>(a); }
