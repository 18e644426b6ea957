// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "mla_tile.h"
#include "parts.h"

// mla_512 for the many tokens of a prompt: no splits, since there are blocks enough. A block has 32 heads of a token, which read
// a tile of the cache together (as many sums as registers hold), up to the token's own place. Neighbouring blocks have the same
// cache, and run side by side. What they attended leaves in two BF16 parts, for gemm.cu.
//   grid (batch heads / 32), 256 threads; dynamic shared memory: mla_rows::shared_bytes
namespace mla_rows {
using namespace mla_tile;
constexpr u32 heads_of_block = 32, score_row = 36, weight_row = 40;
template <typename Tile> constexpr u32 at_scores = 2 * Tile::bytes;
template <typename Tile> constexpr u32 at_weights = at_scores<Tile> + 4 * heads_of_block * score_row * 4;
template <typename Tile> constexpr u32 at_rows = at_weights<Tile> + Tile::groups * heads_of_block * weight_row * 2;
template <typename Tile> constexpr u32 shared_bytes = at_rows<Tile> + 3 * heads_of_block * 4;
static_assert(shared_bytes<BFloat16Tile> == 96128 && shared_bytes<Int8Tile> == 71552, "KernelSet has these");
}

struct AttendRowsArguments {
  Cache cache;
  const u16* absorbed;   // (batch, heads, latent + rope) BF16, scaled by log2 e
  u16* attended;         // (batch, 2, heads, latent): parts
  u32 heads, for_bytes;
};

namespace mla_rows {
template <typename Tile>
DEVICE void attend(const AttendRowsArguments& a) {
  const Cache& cache = a.cache;
  u8* tiles = dynamic_shared;
  float* scores = (float*)(dynamic_shared + at_scores<Tile>);
  u16* weights = (u16*)(dynamic_shared + at_weights<Tile>);
  float* row_top = (float*)(dynamic_shared + at_rows<Tile>);
  float* row_total = row_top + heads_of_block;
  float* row_keep = row_total + heads_of_block;
  const u32 groups = a.heads / heads_of_block, batch_row = block_x() / groups, head = block_x() % groups * heads_of_block, w = warp(), l = lane();
  const u32 length = cache.lengths[batch_row];
  const u32* table = cache.pages + cache.tables[batch_row];

  Tile::load(tiles, cache, table, 0, length);
  // A warp has half of the heads and a quarter of the 576 values of its query, and keeps it.
  const u32 half = w >> 2, quarter = w & 3;
  u32 query[9][4];
  Tile::template load_query<4>(query, a.absorbed + ((u64)batch_row * a.heads + head + half * 16) * width, width, quarter);
  float sums[2][8][4];
  UNROLL for (u32 m = 0; m < 2; m++) { UNROLL for (u32 i = 0; i < 8; i++) { UNROLL for (u32 j = 0; j < 4; j++) sums[m][i][j] = 0.f; } }
  if (thread_id() < heads_of_block) { row_top[thread_id()] = -1e30f; row_total[thread_id()] = 0.f; }
  u32 current = 0;
  for (u32 first = 0; first < length; first += tile, current ^= 1) {
    // This tile is there for all, and nobody still reads the one before.
    copy_async_wait<0>();
    sync_block();
    if (first + tile < length) Tile::load(tiles + (current ^ 1) * Tile::bytes, cache, table, first + tile, length);
    const u8* loaded = tiles + current * Tile::bytes;
    { // Scores over a quarter of the values.
      float d[4][4];
      UNROLL for (u32 n = 0; n < 4; n++) { UNROLL for (u32 j = 0; j < 4; j++) d[n][j] = 0.f; }
      Tile::template multiply_part<4, 4>(d, query, loaded, 0, quarter);
      float* s = scores + (quarter * heads_of_block + half * 16 + (l >> 2)) * score_row + (l & 3) * 2;
      UNROLL for (u32 n = 0; n < 4; n++) {
        s[n * 8] = d[n][0];
        s[n * 8 + 1] = d[n][1];
        s[8 * score_row + n * 8] = d[n][2];
        s[8 * score_row + n * 8 + 1] = d[n][3];
      }
    }
    sync_block();
    { // Softmax so far: a warp has four heads, a lane a token.
      const bool inside = first + l < length;
      float factors[Tile::groups];
      Tile::load_factors(factors, loaded, l, inside);
      UNROLL for (u32 i = 0; i < 4; i++) {
        const u32 r = w * 4 + i;
        const float* s = scores + r * score_row + l;
        constexpr u32 next = heads_of_block * score_row;
        const float score = inside ? (s[0] + s[next]) + (s[2 * next] + s[3 * next]) : -1e30f;
        const float old = row_top[r], best = warp_max(score), top = best > old ? best : old;
        const float weight = inside ? exp2_approximate(score - top) : 0.f, keep = exp2_approximate(old - top), total = warp_sum(weight);
        UNROLL for (u32 g = 0; g < Tile::groups; g++) weights[(g * heads_of_block + r) * weight_row + l] = to_bf16(weight * factors[g]);
        sync_warp();
        if (l == 0) { row_top[r] = top; row_total[r] = multiply_add(row_total[r], keep, total); row_keep[r] = keep; }
      }
    }
    sync_block();
    { // The weighted sum of latents: a warp has 64 of the 512 columns.
      UNROLL for (u32 m = 0; m < 2; m++) {
        const float keep0 = row_keep[m * 16 + (l >> 2)], keep1 = row_keep[m * 16 + (l >> 2) + 8];
        UNROLL for (u32 i = 0; i < 8; i++) { sums[m][i][0] *= keep0; sums[m][i][1] *= keep0; sums[m][i][2] *= keep1; sums[m][i][3] *= keep1; }
      }
      const u16* of_group = weights + w * Tile::groups / 8 * heads_of_block * weight_row;
      UNROLL for (u32 k = 0; k < tile; k += 16) {
        u32 p[2][4];
        UNROLL for (u32 m = 0; m < 2; m++) load_matrices(p[m], of_group + (m * 16 + (l & 15)) * weight_row + k + (l >> 4) * 8);
        UNROLL for (u32 i = 0; i < 8; i += 4) {
          u32 b[4][2];
          Tile::load_values(b, loaded, k, w * 64 + i * 8);
          UNROLL for (u32 n = 0; n < 4; n++) {
            UNROLL for (u32 m = 0; m < 2; m++) multiply_matrices(sums[m][i + n], p[m], b[n][0], b[n][1]);
          }
        }
      }
    }
  }

  // Behind the last softmax there was a barrier.
  UNROLL for (u32 m = 0; m < 2; m++) {
    Tile::order_columns(sums[m]);
    UNROLL for (u32 upper = 0; upper < 2; upper++) {
      const u32 r = m * 16 + (l >> 2) + upper * 8;
      const float norm = divide(Tile::of_values, row_total[r]);
      u32* high = (u32*)(a.attended + ((u64)batch_row * 2 * a.heads + head + r) * latent);
      u32* low = high + (u64)a.heads * latent / 2;
      UNROLL for (u32 i = 0; i < 8; i++) {
        const Parts parts = split_pair(sums[m][i][upper * 2] * norm, sums[m][i][upper * 2 + 1] * norm);
        const u32 place = pair_place(w * 32 + Tile::column_of(i) / 2, a.for_bytes);
        high[place] = parts.high;
        low[place] = parts.low;
      }
    }
  }
}
}

KERNEL(256, 1) mla_rows_512_bf16(AttendRowsArguments a) { mla_rows::attend<mla_tile::BFloat16Tile>(a); }
KERNEL(256, 1) mla_rows_512_int8(AttendRowsArguments a) { mla_rows::attend<mla_tile::Int8Tile>(a); }
