// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "parts.h"
#include "weights.h"

// linear.cu for many rows, on the tensor cores: y[r, o] (+)= sum over c of x[r, c] W[o, c], x in two parts. A block makes 64 rows
// of 128 outputs, a warp 32 by 32 of them; tiles of 32 columns, three of them on their way or in use. Weights are exact in
// BF16; the factors of 8 bits are applied to the sums of the columns that share one. gemm_latents_* is the same of one part, for
// rows of the cache, which are BF16 already, and makes BF16 of them: keys and values.
//   grid (ceil(batch / 64), tiles of 128 outputs, each of one weight, heads), 256 threads; dynamic shared memory: gemm::shared_bytes
namespace gemm {
constexpr u32 tile_rows = 64, tile_outputs = 128, tile_columns = 32, stages = 3;
constexpr u32 input_row = tile_columns * 2 + 16;   // bytes from row to row: 16 more than the values, so that no two of eight rows share banks
constexpr u32 part_bytes = tile_rows * input_row;
template <typename Format> constexpr u32 weight_bytes = tile_columns * 4 / Format::per_word;
template <typename Format> constexpr u32 weight_row = weight_bytes<Format> + 16;
template <typename Format, u32 Parts> constexpr u32 stage_bytes = Parts * part_bytes + tile_outputs * weight_row<Format>;
template <typename Format, u32 Parts> constexpr u32 shared_bytes = stages * stage_bytes<Format, Parts>;
static_assert(shared_bytes<BFloat16, 2> == 61440 && shared_bytes<Float8, 2> == 49152, "KernelSet has these");
static_assert(shared_bytes<BFloat16, 1> == 46080 && shared_bytes<Float8, 1> == 33792, "KernelSet has these");
}

// A head is a part of a weight's rows with columns of the input of its own; a linear layer is one head with all rows.
struct GemmArguments {
  Matrix first, second;   // second.rows is 0 where there is one weight; scales are those of whole tiles of columns
  float* first_output;    // (batch, heads, head_rows); of gemm_latents_* BF16, two of them a word
  float* second_output;   // (batch, second.rows)
  const u16* input;       // (batch, parts, stride), a row (heads, columns), up to whole tiles
  u32 batch, stride, accumulate;
  u32 heads, head_rows;
  u32 head_begin, head_step;   // the first head's first row, and from head to head
};

namespace gemm {
// Rows behind the last one become zeros; a thread has the same 16 bytes of either part.
template <u32 Parts>
DEVICE void load_input(u8* target, const GemmArguments& a, u32 first_row, u32 column) {
  const u32 row = thread_id() / 4, piece = thread_id() % 4;
  const bool inside = first_row + row < a.batch;
  const u16* source = a.input + (u64)(inside ? first_row + row : first_row) * Parts * a.stride + column + piece * 8;
  UNROLL for (u32 part = 0; part < Parts; part++) copy_async(target + part * part_bytes + row * input_row + piece * 16, source + part * a.stride, inside);
}

// What is outside the weight becomes zeros.
template <typename Format>
DEVICE void load_weights(u8* target, const u8* weights, u32 stride, u32 rows, u32 tile) {
  constexpr u32 pieces = weight_bytes<Format> / 16, at_once = 256 / pieces;
  const u32 piece = thread_id() % pieces, at = tile * weight_bytes<Format> + piece * 16;
  UNROLL for (u32 i = 0; i < tile_outputs / at_once; i++) {
    const u32 row = i * at_once + thread_id() / pieces;
    const bool inside = row < rows && at < stride;
    copy_async(target + row * weight_row<Format> + piece * 16, weights + (inside ? (u64)row * stride + at : 0), inside);
  }
}

// Sixteen columns of the weight for a warp's 32 outputs: a pair of registers for eight of them.
template <typename Format>
DEVICE void weight_fragments(u32 (&b)[4][2], const u8* weights, u32 step) {
  if constexpr (Format::per_word == 2) {
    UNROLL for (u32 n = 0; n < 4; n += 2) {
      u32 r[4];
      load_matrices(r, weights + (n * 8 + (lane() & 7) + (lane() >> 4) * 8) * weight_row<Format> + step * 32 + (lane() >> 3 & 1) * 16);
      b[n][0] = r[0]; b[n][1] = r[1];
      b[n + 1][0] = r[2]; b[n + 1][1] = r[3];
    }
  } else {
    u32 words[4];
    load_matrices(words, weights + lane() * weight_row<Format> + step * 16);
    UNROLL for (u32 n = 0; n < 4; n++) Format::bf16_pairs(words[n], b[n]);
  }
}

// sums (32 rows, 32 outputs) += all parts of a tile of the input times a tile of the weight.
template <typename Format, u32 Parts>
DEVICE void multiply_tile(float (&sums)[2][4][4], const u8* stage) {
  const u8* input = stage + ((warp() & 1) * 32 + (lane() & 15)) * input_row + (lane() >> 4) * 16;
  const u8* weights = stage + Parts * part_bytes + (warp() >> 1) * 32 * weight_row<Format>;
  UNROLL for (u32 step = 0; step < tile_columns / 16; step++) {
    u32 b[4][2];
    weight_fragments<Format>(b, weights, step);
    UNROLL for (u32 part = 0; part < Parts; part++) {
      UNROLL for (u32 m = 0; m < 2; m++) {
        u32 x[4];
        load_matrices(x, input + part * part_bytes + m * 16 * input_row + step * 32);
        UNROLL for (u32 n = 0; n < 4; n++) multiply_matrices(sums[m][n], x, b[n][0], b[n][1]);
      }
    }
  }
}

DEVICE void clear(float (&sums)[2][4][4]) {
  UNROLL for (u32 m = 0; m < 2; m++) { UNROLL for (u32 n = 0; n < 4; n++) { UNROLL for (u32 i = 0; i < 4; i++) sums[m][n][i] = 0.f; } }
}

template <typename Format, u32 Parts>
DEVICE void run(const GemmArguments& a) {
  const u32 first_tiles = (a.head_rows + tile_outputs - 1) / tile_outputs;
  const bool in_first = block_y() < first_tiles;
  const Matrix& w = in_first ? a.first : a.second;
  const u32 outputs = in_first ? a.head_rows : a.second.rows, first_output = (in_first ? block_y() : block_y() - first_tiles) * tile_outputs;
  const u32 first_row = block_x() * tile_rows, weights_row = a.head_begin + block_z() * a.head_step + first_output;
  const u32 rows = outputs - first_output, tiles = (w.columns + tile_columns - 1) / tile_columns, column = block_z() * w.columns;
  const u8* weights = w.data + (u64)weights_row * w.stride;

  UNROLL for (u32 tile = 0; tile < stages - 1; tile++) {
    if (tile < tiles) {
      load_input<Parts>(dynamic_shared + tile * stage_bytes<Format, Parts>, a, first_row, column + tile * tile_columns);
      load_weights<Format>(dynamic_shared + tile * stage_bytes<Format, Parts> + Parts * part_bytes, weights, w.stride, rows, tile);
    }
    copy_async_commit();
  }
  float sums[2][4][4], shared_factor[2][4][4];
  clear(sums);
  clear(shared_factor);
  // Where the factors of a thread's outputs begin, and which one of a row's is the tile's: divisions that the loop is better without.
  const u32 first_of_warp = (warp() >> 1) * 32 + (lane() & 3) * 2;
  u32 factors_at[4][2];
  if constexpr (Format::per_word == 4) {
    UNROLL for (u32 n = 0; n < 4; n++) { UNROLL for (u32 i = 0; i < 2; i++) factors_at[n][i] = (u32)Format::factors_at(w, weights_row + first_of_warp + n * 8 + i); }
  }
  u32 current = 0, tiles_left = w.scale_columns / tile_columns, group = 0;
  for (u32 tile = 0; tile < tiles; tile++) {
    // This tile is there for all, and nobody still reads the one before, where the one after the next goes.
    copy_async_wait<stages - 2>();
    sync_block();
    const u32 coming = tile + stages - 1, free = current == 0 ? stages - 1 : current - 1;
    if (coming < tiles) {
      load_input<Parts>(dynamic_shared + free * stage_bytes<Format, Parts>, a, first_row, column + coming * tile_columns);
      load_weights<Format>(dynamic_shared + free * stage_bytes<Format, Parts> + Parts * part_bytes, weights, w.stride, rows, coming);
    }
    copy_async_commit();
    const u8* stage = dynamic_shared + current * stage_bytes<Format, Parts>;
    current = current == stages - 1 ? 0 : current + 1;
    if constexpr (Format::per_word == 2) {
      multiply_tile<Format, Parts>(sums, stage);
    } else {
      // The factors come while the last tile that has them is multiplied.
      const bool ends = --tiles_left == 0 || tile == tiles - 1;
      float factors[4][2];
      UNROLL for (u32 n = 0; n < 4; n++) {
        UNROLL for (u32 i = 0; i < 2; i++) factors[n][i] = ends && first_of_warp + n * 8 + i < rows ? Format::factor_at(w.scales + factors_at[n][i], group) : 0.f;
      }
      multiply_tile<Format, Parts>(shared_factor, stage);
      if (ends) {
        UNROLL for (u32 m = 0; m < 2; m++) {
          UNROLL for (u32 n = 0; n < 4; n++) {
            UNROLL for (u32 i = 0; i < 4; i++) sums[m][n][i] = multiply_add(factors[n][i & 1], shared_factor[m][n][i], sums[m][n][i]);
          }
        }
        clear(shared_factor);
        tiles_left = w.scale_columns / tile_columns;
        group++;
      }
    }
  }

  float* target = in_first ? a.first_output : a.second_output;
  const u32 target_stride = in_first ? a.heads * a.head_rows : a.second.rows, target_column = block_z() * a.head_rows + first_output;
  UNROLL for (u32 m = 0; m < 2; m++) {
    UNROLL for (u32 n = 0; n < 4; n++) {
      if constexpr (Parts == 1) {
        UNROLL for (u32 i = 0; i < 4; i += 2) {
          const u32 row = first_row + (warp() & 1) * 32 + m * 16 + (lane() >> 2) + (i >> 1) * 8, output = (warp() >> 1) * 32 + n * 8 + (lane() & 3) * 2;
          if (row < a.batch && output < rows) ((u32*)target)[((u64)row * target_stride + target_column + output) / 2] = to_bf16_pair(sums[m][n][i], sums[m][n][i + 1]);
        }
      } else {
        UNROLL for (u32 i = 0; i < 4; i++) {
          const u32 row = first_row + (warp() & 1) * 32 + m * 16 + (lane() >> 2) + (i >> 1) * 8, output = (warp() >> 1) * 32 + n * 8 + (lane() & 3) * 2 + (i & 1);
          if (row < a.batch && output < rows) {
            float* y = target + (u64)row * target_stride + target_column + output;
            *y = a.accumulate ? *y + sums[m][n][i] : sums[m][n][i];
          }
        }
      }
    }
  }
}
}

KERNEL(256, 1) gemm_bf16(GemmArguments a) { gemm::run<BFloat16, 2>(a); }
KERNEL(256, 1) gemm_fp8(GemmArguments a) { gemm::run<Float8, 2>(a); }
KERNEL(256, 1) gemm_int8(GemmArguments a) { gemm::run<Int8, 2>(a); }
KERNEL(256, 1) gemm_latents_bf16(GemmArguments a) { gemm::run<BFloat16, 1>(a); }
KERNEL(256, 1) gemm_latents_fp8(GemmArguments a) { gemm::run<Float8, 1>(a); }
KERNEL(256, 1) gemm_latents_int8(GemmArguments a) { gemm::run<Int8, 1>(a); }
