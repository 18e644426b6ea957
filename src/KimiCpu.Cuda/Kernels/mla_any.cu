// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "cache.h"

// Attention of one head over a split of the cached latents, for any sizes. Four warps take a token each in turn, and keep
// a softmax of their own; the four are merged at the end.
//   grid (splits, heads, batch), 128 threads; dynamic shared memory: (latent + rope) + 4 latent floats
template <typename Token>
DEVICE void attend_any(const AttendArguments& a) {
  const Cache& cache = a.cache;
  SHARED(float, largest, 4);
  SHARED(float, totals, 4);
  const u32 split = block_x(), head = block_y(), row = block_z(), length = cache.lengths[row], splits = splits_of(length, a.most_splits), width = cache.latent + cache.rope;
  if (split >= splits) return;
  const u64 place = (u64)row * a.heads + head;
  const u32* table = cache.pages + cache.tables[row];
  float* q = (float*)dynamic_shared;
  float* sums = q + width + warp() * cache.latent;
  for (u32 i = thread_id(); i < width; i += 128) q[i] = from_bf16(a.absorbed[place * width + i]);
  for (u32 i = lane(); i < cache.latent; i += 32) sums[i] = 0.f;
  sync_block();
  float top = -1e30f, total = 0.f;
  for (u32 token = split_begin(length, splits, split) + warp(); token < split_begin(length, splits, split + 1); token += 4) {
    const Token slot = Token::at(cache, table, token);
    float score = 0.f;
    for (u32 i = lane(); i < width; i += 32) score = multiply_add(q[i], slot.value(cache, i), score);
    score = warp_sum(score);
    const float best = score > top ? score : top, keep = exp2_approximate(top - best), weight = exp2_approximate(score - best);
    for (u32 i = lane(); i < cache.latent; i += 32) sums[i] = multiply_add(weight, slot.value(cache, i), sums[i] * keep);
    total = multiply_add(total, keep, weight);
    top = best;
  }
  if (lane() == 0) { largest[warp()] = top; totals[warp()] = total; }
  sync_block();
  float best = largest[0], sum = 0.f;
  UNROLL for (u32 w = 1; w < 4; w++) best = largest[w] > best ? largest[w] : best;
  UNROLL for (u32 w = 0; w < 4; w++) sum = multiply_add(exp2_approximate(largest[w] - best), totals[w], sum);
  const float norm = sum > 0.f ? divide(1.f, sum) : sum;
  for (u32 i = thread_id(); i < cache.latent; i += 128) {
    float value = 0.f;
    UNROLL for (u32 w = 0; w < 4; w++) value = multiply_add(exp2_approximate(largest[w] - best), q[width + w * cache.latent + i], value);
    a.partial[(place * max_splits + split) * cache.latent + i] = value * norm;
  }
  if (thread_id() == 0) a.log_sums[place * max_splits + split] = sum > 0.f ? best + log2_approximate(sum) : (sum == 0.f ? -1e30f : sum);
}

KERNEL(128, 4) mla_any_bf16(AttendArguments a) { attend_any<BFloat16Token>(a); }
KERNEL(128, 4) mla_any_int8(AttendArguments a) { attend_any<Int8Token>(a); }
