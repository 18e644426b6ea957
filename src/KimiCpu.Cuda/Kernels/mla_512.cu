// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "mla_tile.h"

// The same as mla_any for Kimi K2's sizes, latent 512 and rope 64, on the tensor cores: 16 heads by a split a block, tiles
// of 32 tokens, two of them in shared memory. The query stays in registers as fragments; a token is loaded once, as key
// and as value.
//   grid (splits, heads / 16, batch), 256 threads; dynamic shared memory: shared_bytes
namespace mla {
using namespace mla_tile;
constexpr u32 heads_of_block = 16;
constexpr u32 query_row = width + 8, score_row = 36, weight_row = 40;
constexpr u32 at_tiles = heads_of_block * query_row * 2;
template <typename Tile> constexpr u32 at_scores = at_tiles + 2 * Tile::bytes;
template <typename Tile> constexpr u32 at_weights = at_scores<Tile> + 2 * heads_of_block * score_row * 4;
template <typename Tile> constexpr u32 at_rows = at_weights<Tile> + Tile::groups * heads_of_block * weight_row * 2;
template <typename Tile> constexpr u32 shared_bytes = at_rows<Tile> + 3 * heads_of_block * 4;
static_assert(shared_bytes<BFloat16Tile> == 99520 && shared_bytes<Int8Tile> == 71104, "KernelSet has these; compute capabilities 8.6 and 8.9 give a block 99 KB");

template <typename Tile>
DEVICE void attend(const AttendArguments& a) {
  const Cache& cache = a.cache;
  u16* queries = (u16*)dynamic_shared;
  u8* tiles = dynamic_shared + at_tiles;
  float* scores = (float*)(dynamic_shared + at_scores<Tile>);
  u16* weights = (u16*)(dynamic_shared + at_weights<Tile>);
  float* row_top = (float*)(dynamic_shared + at_rows<Tile>);
  float* row_total = row_top + heads_of_block;
  float* row_keep = row_total + heads_of_block;
  const u32 split = block_x(), head = block_y() * heads_of_block, batch_row = block_z(), w = warp(), l = lane();
  const u32 length = cache.lengths[batch_row], splits = splits_of(length);
  if (split >= splits) return;
  const u32 begin = split_begin(length, splits, split), end = split_begin(length, splits, split + 1);
  const u64 place = (u64)batch_row * a.heads + head;
  const u32* table = cache.pages + cache.tables[batch_row];
  const u16* q = a.absorbed + place * width;

  float sums[8][4];
  UNROLL for (u32 i = 0; i < 8; i++) { UNROLL for (u32 j = 0; j < 4; j++) sums[i][j] = 0.f; }
  if (thread_id() < heads_of_block) { row_top[thread_id()] = -1e30f; row_total[thread_id()] = 0.f; }
  if (begin < end) {
    for (u32 p = thread_id(); p < heads_of_block * 72; p += 256) copy_async(queries + p / 72 * query_row + p % 72 * 8, q + (u64)(p / 72) * width + p % 72 * 8, true);
    Tile::load(tiles, cache, table, begin, end);
    copy_async_wait<0>();
    sync_block();
    // Warps 0 … 3 multiply one half of the 576 values, warps 4 … 7 the other: this warp's half of the query.
    u32 query[18][4];
    Tile::template load_query<2>(query, queries, query_row, w >> 2);
    u32 current = 0;
    for (u32 first = begin; first < end; first += tile, current ^= 1) {
      const u8* loaded = tiles + current * Tile::bytes;
      if (first + tile < end) {
        Tile::load(tiles + (current ^ 1) * Tile::bytes, cache, table, first + tile, end);
        copy_async_wait<1>();
      } else {
        copy_async_wait<0>();
      }
      sync_block();
      { // Scores of eight tokens over half of the values.
        float d[1][4] = {{0.f, 0.f, 0.f, 0.f}};
        const u32 token = (w & 3) * 8;
        Tile::template multiply_part<2, 1>(d, query, loaded, token, w >> 2);
        float* s = scores + ((w >> 2) * heads_of_block + (l >> 2)) * score_row + token + (l & 3) * 2;
        s[0] = d[0][0];
        s[1] = d[0][1];
        s[8 * score_row] = d[0][2];
        s[8 * score_row + 1] = d[0][3];
      }
      sync_block();
      { // Softmax so far: a warp has two heads, a lane a token.
        const bool inside = first + l < end;
        float factors[Tile::groups];
        Tile::load_factors(factors, loaded, l, inside);
        // Step by step for both, so that neither waits alone.
        float score[2], top[2], total[2], old[2], keep[2];
        UNROLL for (u32 i = 0; i < 2; i++) {
          const u32 r = w * 2 + i;
          top[i] = score[i] = inside ? scores[r * score_row + l] + scores[(heads_of_block + r) * score_row + l] : -1e30f;
          old[i] = row_top[r];
        }
        UNROLL for (int m = 16; m; m >>= 1) {
          UNROLL for (u32 i = 0; i < 2; i++) { const float other = exchange(top[i], m); top[i] = other > top[i] ? other : top[i]; }
        }
        UNROLL for (u32 i = 0; i < 2; i++) {
          top[i] = top[i] > old[i] ? top[i] : old[i];
          total[i] = inside ? exp2_approximate(score[i] - top[i]) : 0.f;
          keep[i] = exp2_approximate(old[i] - top[i]);
          UNROLL for (u32 g = 0; g < Tile::groups; g++) weights[(g * heads_of_block + w * 2 + i) * weight_row + l] = to_bf16(total[i] * factors[g]);
        }
        UNROLL for (int m = 16; m; m >>= 1) { UNROLL for (u32 i = 0; i < 2; i++) total[i] += exchange(total[i], m); }
        sync_warp();
        UNROLL for (u32 i = 0; i < 2; i++) {
          const u32 r = w * 2 + i;
          if (l == i) { row_top[r] = top[i]; row_total[r] = multiply_add(row_total[r], keep[i], total[i]); row_keep[r] = keep[i]; }
        }
      }
      sync_block();
      { // The weighted sum of latents: a warp has 64 of the 512 columns.
        const float keep0 = row_keep[l >> 2], keep1 = row_keep[(l >> 2) + 8];
        UNROLL for (u32 i = 0; i < 8; i++) { sums[i][0] *= keep0; sums[i][1] *= keep0; sums[i][2] *= keep1; sums[i][3] *= keep1; }
        const u16* of_group = weights + w * Tile::groups / 8 * heads_of_block * weight_row;
        UNROLL for (u32 k = 0; k < tile; k += 16) {
          u32 p[4];
          load_matrices(p, of_group + (l & 15) * weight_row + k + (l >> 4) * 8);
          UNROLL for (u32 i = 0; i < 8; i += 4) {
            u32 b[4][2];
            Tile::load_values(b, loaded, k, w * 64 + i * 8);
            UNROLL for (u32 n = 0; n < 4; n++) multiply_matrices(sums[i + n], p, b[n][0], b[n][1]);
          }
        }
      }
      sync_block();
    }
  }

  sync_block();
  const float total0 = row_total[l >> 2], total1 = row_total[(l >> 2) + 8];
  const float norm0 = total0 > 0.f ? divide(1.f, total0) : total0, norm1 = total1 > 0.f ? divide(1.f, total1) : total1;
  float* out0 = a.partial + ((place + (l >> 2)) * max_splits + split) * latent + w * 64;
  float* out1 = out0 + (u64)8 * max_splits * latent;
  Tile::order_columns(sums);
  UNROLL for (u32 i = 0; i < 8; i++) {
    const u32 column = Tile::column_of(i);
    out0[column] = sums[i][0] * norm0;
    out0[column + 1] = sums[i][1] * norm0;
    out1[column] = sums[i][2] * norm1;
    out1[column + 1] = sums[i][3] * norm1;
  }
  if (thread_id() < heads_of_block) {
    const float total = row_total[thread_id()];
    a.log_sums[(place + thread_id()) * max_splits + split] = total > 0.f ? row_top[thread_id()] + log2_approximate(total) : (total == 0.f ? -1e30f : total);
  }
}
}

KERNEL(256, 1) mla_512_bf16(AttendArguments a) { mla::attend<mla_tile::BFloat16Tile>(a); }
KERNEL(256, 1) mla_512_int8(AttendArguments a) { mla::attend<mla_tile::Int8Tile>(a); }
