// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "mla_tile.h"

// The same as mla_any for Kimi K2's sizes, latent 512 and rope 64, on the tensor cores: 16 heads by a split a block, tiles
// of 32 tokens, two of them in shared memory. The query stays in registers as fragments; a token is loaded once, as key
// and as value. Every warp takes the exponentials of all 16 heads, in the places where its tensor cores want the weights: eight times
// the same, but nobody waits for another warp's.
//   grid (splits, heads / 16, batch), 256 threads; dynamic shared memory: shared_bytes
namespace mla {
using namespace mla_tile;
// Rows of scores are eight floats longer than 32, so that four of them, two floats of each a lane, do not share banks.
constexpr u32 heads_of_block = 16;
constexpr u32 query_row = width + 8, score_row = 40;
constexpr u32 at_tiles = heads_of_block * query_row * 2;
template <typename Tile> constexpr u32 at_scores = at_tiles + 2 * Tile::bytes;
template <typename Tile> constexpr u32 shared_bytes = at_scores<Tile> + 2 * heads_of_block * score_row * 4;
static_assert(shared_bytes<BFloat16Tile> == 98560 && shared_bytes<Int8Tile> == 66304, "KernelSet has these; compute capabilities 8.6 and 8.9 give a block 99 KB");

// What a lane has of two heads, l / 4 and eight more, of all tokens so far; sums of weights over its own tokens only.
struct Softmax {
  float top[2] = {-1e30f, -1e30f};
  float total[2] = {0.f, 0.f};

  // Scores of a tile, which are sums of two halves, become weights as the tensor cores take them, (16 heads, 16 tokens) each; keep is what
  // is left of what came before. Tokens from count on are none.
  template <typename Tile>
  DEVICE void add(const float* scores, const u8* loaded, u32 group, u32 count, u32 (&weights)[tile / 16][4], float (&keep)[2]) {
    const u32 l = lane(), token = (l & 3) * 2;
    float score[2][tile / 8][2];
    UNROLL for (u32 i = 0; i < tile / 8; i++) {
      UNROLL for (u32 upper = 0; upper < 2; upper++) {
        const float* s = scores + ((l >> 2) + upper * 8) * score_row + i * 8 + token;
        const Floats2 first = *(const Floats2*)s, second = *(const Floats2*)(s + heads_of_block * score_row);
        score[upper][i][0] = first.x + second.x;
        score[upper][i][1] = first.y + second.y;
      }
    }
    if (count < tile) {
      UNROLL for (u32 i = 0; i < tile / 8; i++) {
        UNROLL for (u32 j = 0; j < 2; j++) {
          if (i * 8 + token + j >= count) score[0][i][j] = score[1][i][j] = -__builtin_inff();
        }
      }
    }
    const float old[2] = {top[0], top[1]};
    // A NaN is no maximum: it reaches the total by its weight.
    UNROLL for (u32 upper = 0; upper < 2; upper++) {
      UNROLL for (u32 i = 0; i < tile / 8; i++) { UNROLL for (u32 j = 0; j < 2; j++) top[upper] = maximum(score[upper][i][j], top[upper]); }
    }
    UNROLL for (int m = 2; m; m >>= 1) { UNROLL for (u32 upper = 0; upper < 2; upper++) top[upper] = maximum(exchange(top[upper], m), top[upper]); }
    UNROLL for (u32 upper = 0; upper < 2; upper++) {
      keep[upper] = exp2_flushed(old[upper] - top[upper]);
      float sum = 0.f;
      UNROLL for (u32 i = 0; i < tile / 8; i++) {
        float weight[2];
        UNROLL for (u32 j = 0; j < 2; j++) {
          weight[j] = exp2_flushed(score[upper][i][j] - top[upper]);
          sum += weight[j];
          if constexpr (Tile::groups > 1) weight[j] *= i * 8 + token + j < count ? Tile::factor(loaded, i * 8 + token + j, group) : 0.f;
        }
        weights[i / 2][upper + i % 2 * 2] = to_bf16_pair(weight[0], weight[1]);
      }
      total[upper] = multiply_add(total[upper], keep[upper], sum);
    }
  }

  // Of all tokens: four lanes have the same heads.
  DEVICE void end() {
    UNROLL for (int m = 2; m; m >>= 1) { UNROLL for (u32 upper = 0; upper < 2; upper++) total[upper] += exchange(total[upper], m); }
  }
};

template <typename Tile>
DEVICE void attend(const AttendArguments& a) {
  const Cache& cache = a.cache;
  u16* queries = (u16*)dynamic_shared;
  u8* tiles = dynamic_shared + at_tiles;
  float* scores = (float*)(dynamic_shared + at_scores<Tile>);
  const u32 split = block_x(), head = block_y() * heads_of_block, batch_row = block_z(), w = warp(), l = lane();
  const u32 length = cache.lengths[batch_row], splits = splits_of(length, a.most_splits);
  if (split >= splits) return;
  const u32 begin = split_begin(length, splits, split), end = split_begin(length, splits, split + 1);
  const u64 place = (u64)batch_row * a.heads + head;
  const u32* table = cache.pages + cache.tables[batch_row];
  const u16* q = a.absorbed + place * width;

  Softmax softmax;
  float sums[8][4];
  UNROLL for (u32 i = 0; i < 8; i++) { UNROLL for (u32 j = 0; j < 4; j++) sums[i][j] = 0.f; }
  if (begin < end) {
    for (u32 p = thread_id(); p < heads_of_block * 72; p += 256) copy_async(queries + p / 72 * query_row + p % 72 * 8, q + (u64)(p / 72) * width + p % 72 * 8, true);
    copy_async_commit();
    Tile::load(tiles, cache, table, begin, end);
    copy_async_wait<1>();
    sync_block();
    // Warps 0 … 3 multiply one half of the 576 values, warps 4 … 7 the other: this warp's half of the query.
    u32 query[18][4];
    Tile::template load_query<2>(query, queries, query_row, w >> 2);
    u32 current = 0;
    for (u32 first = begin; first < end; first += tile, current ^= 1) {
      // This tile is there for all, and nobody still reads the one before or its scores.
      copy_async_wait<0>();
      sync_block();
      if (first + tile < end) Tile::load(tiles + (current ^ 1) * Tile::bytes, cache, table, first + tile, end);
      const u8* loaded = tiles + current * Tile::bytes;
      { // Scores of eight tokens over half of the values.
        float d[1][4] = {{0.f, 0.f, 0.f, 0.f}};
        const u32 token = (w & 3) * 8;
        Tile::template multiply_part<2, 1>(d, query, loaded, token, w >> 2);
        float* s = scores + ((w >> 2) * heads_of_block + (l >> 2)) * score_row + token + (l & 3) * 2;
        *(Floats2*)s = Floats2{d[0][0], d[0][1]};
        *(Floats2*)(s + 8 * score_row) = Floats2{d[0][2], d[0][3]};
      }
      sync_block();
      // The weighted sum of latents: a warp has 64 of the 512 columns.
      u32 weights[tile / 16][4];
      float keep[2];
      softmax.add<Tile>(scores, loaded, w * Tile::groups / 8, end - first, weights, keep);
      UNROLL for (u32 i = 0; i < 8; i++) { UNROLL for (u32 j = 0; j < 4; j++) sums[i][j] *= keep[j / 2]; }
      UNROLL for (u32 k = 0; k < tile / 16; k++) {
        UNROLL for (u32 i = 0; i < 8; i += 4) {
          u32 b[4][2];
          Tile::load_values(b, loaded, k * 16, w * 64 + i * 8);
          UNROLL for (u32 n = 0; n < 4; n++) multiply_matrices(sums[i + n], weights[k], b[n][0], b[n][1]);
        }
      }
    }
  }

  softmax.end();
  Tile::order_columns(sums);
  UNROLL for (u32 upper = 0; upper < 2; upper++) {
    const float total = softmax.total[upper], norm = total > 0.f ? divide(Tile::of_values, total) : total;
    const u64 part = (place + (l >> 2) + upper * 8) * max_splits + split;
    float* out = a.partial + part * latent + w * 64;
    UNROLL for (u32 i = 0; i < 8; i++) {
      const u32 column = Tile::column_of(i);
      out[column] = sums[i][upper * 2] * norm;
      out[column + 1] = sums[i][upper * 2 + 1] * norm;
    }
    if (w == 0 && (l & 3) == 0) a.log_sums[part] = total > 0.f ? softmax.top[upper] + log2_approximate(total) : (total == 0.f ? -1e30f : total);
  }
}
}

KERNEL(256, 1) mla_512_bf16(AttendArguments a) { mla::attend<mla_tile::BFloat16Tile>(a); }
KERNEL(256, 1) mla_512_int8(AttendArguments a) { mla::attend<mla_tile::Int8Tile>(a); }
