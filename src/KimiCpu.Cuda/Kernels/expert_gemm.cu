// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "experts.h"

// experts.cu for many tokens, on the tensor cores: one routed expert, wherever in the GPU's memory it lies, and the tokens that chose it.
// One instruction multiplies 16 rows of the weight, one group of 32 columns, with 8 tokens: the integers that the CPU's kernels have. A warp
// of the eight has every eighth group, and of these the even and the odd ones apart, which are the CPU's 16 lanes; sums are folded in its order,
// so every product has its bits. A block makes 64 rows of the weight by 16 tokens; tiles of 8 groups, two of them on their way or in use.
namespace expert_gemm {
constexpr u32 tile_rows = 64, tile_tokens = 16, tile_groups = 8;
static_assert(2 * tile_groups == sum_lanes);

// Bytes from row to row: 16 more than the values, so that no two of eight rows share banks.
constexpr u32 weight_row = tile_groups * group_bytes + 16, token_row = 2 * tile_groups * group_bytes + 16;

// Words from group to group: no two of eight groups share banks with one of four rows that are stored beside each other.
constexpr u32 weight_factors_row = tile_rows + 4, token_factors_row = tile_tokens + 4;

// A stage: weights, tokens, the weights' factors, the tokens' factors, what their products begin with.
constexpr u32 tokens_at = tile_rows * weight_row, weight_factors_at = tokens_at + tile_tokens * token_row;
constexpr u32 token_factors_at = weight_factors_at + tile_groups * weight_factors_row * 4, begins_at = token_factors_at + tile_groups * token_factors_row * 4;
constexpr u32 stage_bytes = begins_at + tile_groups * token_factors_row * 4;
constexpr u32 shared_bytes = 2 * stage_bytes;
static_assert(stage_bytes % 16 == 0 && shared_bytes >= 8 * tile_rows * tile_tokens * 4 && shared_bytes == 34048, "KernelSet has it");

// 1.5 x 2^23: an integer below 2^22 added to these bits gives the float that many above.
constexpr u32 magic = 0x4b400000u;
constexpr float magic_value = 12582912.f;

// One of the two weights of a block's rows, or the only one: where it begins in the slot. Offsets, since pointers would take twice the registers.
struct Source { u32 values, factors; };

// The rows of a block: of gate and up the same 32, or 64 of down.
struct Rows {
  const u8* slot;
  Source first, second;
  u32 begin, half, last;   // row r is begin + r of first, or begin + r - half of second; rows behind the last one repeat it
  DEVICE Source source(u32 row) const { return row < half ? first : second; }
  DEVICE u32 row(u32 row) const { const u32 wanted = begin + (row < half ? row : row - half); return wanted < last ? wanted : last; }
};

// The tokens of a block, by their rounded rows; those behind the last one repeat it.
struct Tokens {
  const u8* rounded;
  const u32* map;   // which row a token is; null for the same
  u32 begin, last;
  DEVICE const u8* row(u32 token, u32 groups) const {
    const u32 wanted = begin + token < last ? begin + token : last;
    return rounded + (u64)(map ? map[wanted] : wanted) * rounded_bytes(groups);
  }
};

// What a thread brings to a stage through its registers: two factors of the weights, and one factor or beginning of the tokens.
struct Factors { u16 weight[2]; u32 token; };

DEVICE void load_tile(u8* stage, const Rows& rows, const Tokens& tokens, u32 groups, u32 tile) {
  const u32 piece = thread_id() % tile_groups, group = tile * tile_groups + piece;
  if (group < groups) {
    UNROLL for (u32 i = 0; i < 2; i++) {
      const u32 row = i * 32 + thread_id() / tile_groups;
      copy_async(stage + row * weight_row + piece * group_bytes, rows.slot + (rows.source(row).values + (rows.row(row) * groups + group) * group_bytes), true);
    }
    const u32 token = thread_id() / (2 * tile_groups), odd = thread_id() / tile_groups % 2;
    copy_async(stage + tokens_at + token * token_row + (odd * tile_groups + piece) * group_bytes, tokens.row(token, groups) + (odd * groups + group) * group_bytes, true);
  }
  copy_async_commit();
}

DEVICE Factors load_factors(const Rows& rows, const Tokens& tokens, u32 groups, u32 tile) {
  const u32 piece = thread_id() % tile_groups, group = tile * tile_groups + piece;
  Factors f{{0, 0}, 0};
  if (group < groups) {
    UNROLL for (u32 i = 0; i < 2; i++) {
      const u32 row = i * 32 + thread_id() / tile_groups;
      f.weight[i] = *(const u16*)(rows.slot + (rows.source(row).factors + (rows.row(row) * groups + group) * 2));
    }
    const u32 token = thread_id() / tile_groups % tile_tokens, begins = thread_id() / (tile_groups * tile_tokens);
    f.token = ((const u32*)(tokens.row(token, groups) + groups * 32))[begins * groups + group] + begins * magic;
  }
  return f;
}

DEVICE void store_factors(u8* stage, const Factors& f) {
  const u32 piece = thread_id() % tile_groups;
  UNROLL for (u32 i = 0; i < 2; i++) ((float*)(stage + weight_factors_at))[piece * weight_factors_row + i * 32 + thread_id() / tile_groups] = from_bf16(f.weight[i]);
  const u32 token = thread_id() / tile_groups % tile_tokens, begins = thread_id() / (tile_groups * tile_tokens);
  ((u32*)(stage + token_factors_at))[(begins * tile_groups + piece) * token_factors_row + token] = f.token;
}

// sums (64 rows, 16 tokens) += the warp's group of a tile. The instruction's first 16 columns are the even ones of the group, the others the odd ones.
DEVICE void multiply_tile(float (&sums)[4][2][4], const u8* stage) {
  const u32 group = warp(), row = lane() >> 2, word = lane() & 3;
  u32 even[2], odd[2];
  u32 begins[2][2];
  float factors[2][2];
  UNROLL for (u32 n = 0; n < 2; n++) {
    const u8* token = stage + tokens_at + (n * 8 + row) * token_row + group * group_bytes + word * 4;
    even[n] = *(const u32*)token;
    odd[n] = *(const u32*)(token + tile_groups * group_bytes);
    const u32 place = (group * token_factors_row + n * 8 + word * 2) * 4;
    UNROLL for (u32 i = 0; i < 2; i++) {
      factors[n][i] = ((const float*)(stage + token_factors_at + place))[i];
      begins[n][i] = ((const u32*)(stage + begins_at + place))[i];
    }
  }
  UNROLL for (u32 m = 0; m < 4; m++) {
    const u8* weights = stage + (m * 16 + row) * weight_row + group * group_bytes + word * 4;
    const float* weight_factors = (const float*)(stage + weight_factors_at) + group * weight_factors_row + m * 16 + row;
    const u32 low = *(const u32*)weights, high = *(const u32*)(weights + 8 * weight_row);
    const u32 a[4] = {low & 0x0f0f0f0fu, high & 0x0f0f0f0fu, low >> 4 & 0x0f0f0f0fu, high >> 4 & 0x0f0f0f0fu};
    const float w[2] = {weight_factors[0], weight_factors[8]};
    UNROLL for (u32 n = 0; n < 2; n++) {
      u32 d[4] = {begins[n][0], begins[n][1], begins[n][0], begins[n][1]};
      multiply_bytes(d, a, even[n], odd[n]);
      UNROLL for (u32 i = 0; i < 4; i++) sums[m][n][i] = multiply_add(add(as_float(d[i]), -magic_value), multiply(w[i >> 1], factors[n][i & 1]), sums[m][n][i]);
    }
  }
}

// products[m]: of row m * 16 + place_row() with token place_token(), for every thread.
DEVICE u32 place_row() { return (lane() >> 2) + (warp() >> 1 & 1) * 8; }
DEVICE u32 place_token() { return (warp() >> 2) * 8 + (lane() & 3) * 2 + (warp() & 1); }

DEVICE void run(float (&products)[4], const Rows& rows, const Tokens& tokens, u32 groups) {
  const u32 tiles = (groups + tile_groups - 1) / tile_groups;
  float sums[2][4][2][4];
  UNROLL for (u32 h = 0; h < 2; h++) { UNROLL for (u32 m = 0; m < 4; m++) { UNROLL for (u32 n = 0; n < 2; n++) { UNROLL for (u32 i = 0; i < 4; i++) sums[h][m][n][i] = 0.f; } } }
  load_tile(dynamic_shared, rows, tokens, groups, 0);
  store_factors(dynamic_shared, load_factors(rows, tokens, groups, 0));
  for (u32 pair = 0; pair < tiles; pair += 2) {
    UNROLL for (u32 half = 0; half < 2; half++) {
      const u32 tile = pair + half;
      if (tile < tiles) {
        // This tile is there for all, and nobody still reads the one before, where the next one goes.
        u8 *stage = dynamic_shared + half * stage_bytes, *other = dynamic_shared + (1 - half) * stage_bytes;
        copy_async_wait<0>();
        sync_block();
        const bool more = tile + 1 < tiles;
        Factors coming{{0, 0}, 0};
        if (more) {
          load_tile(other, rows, tokens, groups, tile + 1);
          coming = load_factors(rows, tokens, groups, tile + 1);
        }
        if (tile * tile_groups + warp() < groups) multiply_tile(sums[half], stage);
        if (more) store_factors(other, coming);
      }
    }
  }

  // Groups are folded by halves: those of a warp, then warps w and w + 4, w and w + 2, w and w + 1.
  sync_block();
  float* parts = (float*)dynamic_shared;
  UNROLL for (u32 m = 0; m < 4; m++) {
    UNROLL for (u32 n = 0; n < 2; n++) {
      UNROLL for (u32 i = 0; i < 4; i++) parts[(warp() * 32 + (m * 2 + n) * 4 + i) * 32 + lane()] = add(sums[0][m][n][i], sums[1][m][n][i]);
    }
  }
  sync_block();
  UNROLL for (u32 m = 0; m < 4; m++) {
    const float* part = parts + (m * 8 + warp()) * 32 + lane();
    products[m] = add(add(add(part[0], part[4 * 1024]), add(part[2 * 1024], part[6 * 1024])), add(add(part[1024], part[5 * 1024]), add(part[3 * 1024], part[7 * 1024])));
  }
}
}

// Every row normalized, as route does, and rounded.
//   grid (batch), 1024 threads
struct ExpertGemmRoundArguments {
  const float* residual;   // (batch, size)
  const float* gain;       // (size)
  u8* rounded;             // (batch) rows
  u32 size;
  float epsilon;
};
KERNEL(1024, 1) expert_gemm_round(ExpertGemmRoundArguments a) {
  SHARED(float, scratch, 32);
  round_row(a.residual + (u64)block_x() * a.size, a.gain, a.size, a.epsilon, a.rounded + (u64)block_x() * rounded_bytes(a.size / group_columns), scratch);
}

// silu(gate x) * up x, rounded, for the tokens of an expert. A block makes one group of 32 inner rows for 16 tokens.
//   grid (ceil(count / 16), inner / 32), 256 threads; dynamic shared memory: expert_gemm::shared_bytes
struct ExpertGemmGateUpArguments {
  ExpertSlots expert;    // in slot 0
  const u32* tokens;     // (count) which row each is
  const u8* rounded;     // rows of size columns
  u8* inner;             // (count) rows of inner columns
  u32 count, size, inner_size;
};
KERNEL(256, 2) expert_gemm_gate_up(ExpertGemmGateUpArguments a) {
  using namespace expert_gemm;
  constexpr u32 values_row = group_columns + 1;
  SHARED(float, values, tile_tokens * values_row);
  const u32 first = block_x() * tile_tokens, inner_groups = a.inner_size / group_columns;
  const Rows rows{a.expert.data, {0, a.expert.gate_scales}, {a.expert.up, a.expert.up_scales}, block_y() * group_columns, group_columns, a.inner_size - 1};
  float products[4];
  run(products, rows, Tokens{a.rounded, a.tokens, first, a.count - 1}, a.size / group_columns);
  UNROLL for (u32 m = 0; m < 2; m++) values[place_token() * values_row + m * 16 + place_row()] = multiply(multiply(products[m], sigmoid(products[m])), products[m + 2]);
  sync_block();
  UNROLL for (u32 i = 0; i < 2; i++) {
    const u32 token = warp() * 2 + i;
    if (first + token < a.count) round_group(values[token * values_row + lane()], a.inner + (u64)(first + token) * rounded_bytes(inner_groups), inner_groups, block_y());
  }
}

// output += weight * down, for the tokens of an expert. Launched for one expert after another, so no two add to one place at a time.
//   grid (ceil(count / 16), ceil(size / 64)), 256 threads; dynamic shared memory: expert_gemm::shared_bytes
struct ExpertGemmDownArguments {
  ExpertSlots expert;      // in slot 0
  const u32* tokens;       // (count) which row of the output each is; no two alike
  const float* weights;    // (count)
  const u8* inner;         // (count) rows of inner columns
  float* output;           // (batch, size)
  u32 count, size, inner_size;
};
KERNEL(256, 2) expert_gemm_down(ExpertGemmDownArguments a) {
  using namespace expert_gemm;
  const u32 first = block_x() * tile_tokens, begin = block_y() * tile_rows;
  const Source down{a.expert.down, a.expert.down_scales};
  float products[4];
  run(products, Rows{a.expert.data, down, down, begin, tile_rows, a.size - 1}, Tokens{a.inner, nullptr, first, a.count - 1}, a.inner_size / group_columns);
  const u32 token = first + place_token();
  if (token >= a.count) return;
  const float weight = a.weights[token];
  float* y = a.output + (u64)a.tokens[token] * a.size + begin + place_row();
  UNROLL for (u32 m = 0; m < 4; m++) {
    if (begin + m * 16 + place_row() < a.size) y[m * 16] = multiply_add(weight, products[m], y[m * 16]);
  }
}
