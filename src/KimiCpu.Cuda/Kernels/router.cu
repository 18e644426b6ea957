// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.
#include "input.h"

// What the host reads, in memory that both sides see: written by route, the flag last.
struct RouteArguments {
  const float* residual;   // (batch, hidden)
  const float* gain;       // (hidden)
  const float* logits;     // (batch, experts)
  const float* bias;       // (experts): chooses, never weighs
  float* hidden;           // (batch, hidden) normalized
  u32* ids;                // (batch, chosen) by falling score + bias; equal ones by rising id
  float* weights;          // (batch, chosen)
  u32* flag;
  const u32* flag_base;    // the flag becomes *flag_base + layer
  u32* finished;           // blocks that have written; zero between launches
  const float* next_logits;  // (batch, experts) of the next MoE layer's router for the same rows
  const float* next_bias;    // (experts)
  u32* predicted;            // (batch, chosen) what that router would choose; null where nobody asks
  u32 size, experts, chosen, groups, groups_chosen, normalize, layer;
  float epsilon, factor;
};

// A lane holds one of the chosen experts; 32 are the most.
constexpr u32 most_experts = 1024;

// Only the groups with the largest sum of their two best scores stay in the choice.
DEVICE void reject_losing_groups(const RouteArguments& a, float* choice, float* group_score) {
  const u32 size = a.experts / a.groups;
  for (u32 g = lane(); g < a.groups; g += 32) {
    float best = -1e30f, next = -1e30f;
    for (u32 e = g * size; e < (g + 1) * size; e++) {
      const float c = choice[e];
      if (c > best) { next = best; best = c; } else if (c > next) { next = c; }
    }
    group_score[g] = size > 1 ? best + next : best;
  }
  sync_warp();
  for (u32 g = lane(); g < a.groups; g += 32) {
    u32 better = 0;
    for (u32 o = 0; o < a.groups; o++) better += group_score[o] > group_score[g] || (group_score[o] == group_score[g] && o < g);
    if (better >= a.groups_chosen) {
      for (u32 e = g * size; e < (g + 1) * size; e++) choice[e] = -__builtin_inff();
    }
  }
  sync_warp();
}

// Sigmoid scores, choice by score + bias, weights by score alone, for one row by one warp: this layer's experts, or, ahead, a guess
// of the next one's, without weights.
DEVICE void choose(const RouteArguments& a, bool ahead, u32 row, float* score, float* choice, float* group_score) {
  const float* logits = (ahead ? a.next_logits : a.logits) + (u64)row * a.experts;
  const float* bias = ahead ? a.next_bias : a.bias;
  u32* ids = (ahead ? a.predicted : a.ids) + (u64)row * a.chosen;
  float* weights = a.weights + (u64)row * a.chosen;
  bool bad = false;
  // As in inverse_norm: 384 experts are one turn.
  constexpr u32 at_once = 12;
  for (u32 first = lane(); first < a.experts; first += at_once * 32) {
    float logit[at_once], added[at_once];
    UNROLL for (u32 j = 0; j < at_once; j++) {
      const u32 e = first + j * 32, inside = e < a.experts ? e : a.experts - 1;
      logit[j] = logits[inside];
      added[j] = bias[inside];
    }
    UNROLL for (u32 j = 0; j < at_once; j++) {
      const u32 e = first + j * 32;
      const float s = sigmoid(logit[j]), c = s + added[j];
      bad |= is_nan(c);
      if (e < a.experts) { score[e] = s; choice[e] = c; }
    }
  }
  sync_warp();
  if (lanes_where(bad)) { // A NaN must not be lost in the choice.
    if (lane() < a.chosen) ids[lane()] = lane();
    if (lane() < a.chosen && !ahead) weights[lane()] = as_float(0x7fc00000u);
    return;
  }
  if (a.groups > 1) reject_losing_groups(a, choice, group_score);
  // From here on a choice is read and written by its own lane only: as integers, which a warp has one instruction to compare. That
  // of a chosen one is zero.
  u32* left = (u32*)choice;
  for (u32 e = lane(); e < a.experts; e += 32) left[e] = ordered_bits(choice[e]);
  float total = 0.f, mine = 0.f;
  for (u32 k = 0; k < a.chosen; k++) {
    u32 best = 0, id = 0xffffffffu;
    _Pragma("unroll 4") for (u32 e = lane(); e < a.experts; e += 32) {
      const u32 other = left[e];
      if (other > best) { best = other; id = e; }
    }
    id = warp_min(best == warp_max(best) ? id : 0xffffffffu);
    const float s = score[id];
    if (lane() == (id & 31)) left[id] = 0;
    total += s;
    if (lane() == k) { mine = s; ids[k] = id; }
  }
  if (lane() < a.chosen && !ahead) weights[lane()] = divide(mine, a.normalize ? total + 1e-20f : 1.f) * a.factor;
}

// Hands the normalized rows and the choice of experts to the host, and the guess of the next layer's where it is asked for.
//   grid (batch), 1024 threads
KERNEL(1024, 1) route(RouteArguments a) {
  SHARED(float, scratch, 32);
  SHARED(float, score, 2 * most_experts);
  SHARED(float, choice, 2 * most_experts);
  SHARED(float, group_score, 2 * most_experts);
  const u32 row = block_x();
  const float* x = a.residual + (u64)row * a.size;
  const u32 flag = *a.flag_base + a.layer;   // Read here, where nobody waits for it.
  const float norm = inverse_norm(x, a.size, a.epsilon, scratch);
  constexpr u32 at_once = 8;
  for (u32 first = thread_id(); first < a.size; first += at_once * 1024) {
    float value[at_once], gain[at_once];
    UNROLL for (u32 j = 0; j < at_once; j++) {
      const u32 i = first + j * 1024, inside = i < a.size ? i : a.size - 1;
      value[j] = x[inside];
      gain[j] = a.gain[inside];
    }
    UNROLL for (u32 j = 0; j < at_once; j++) {
      const u32 i = first + j * 1024;
      if (i < a.size) a.hidden[(u64)row * a.size + i] = value[j] * norm * gain[j];
    }
  }
  if (warp() == 0 || (warp() == 1 && a.predicted)) {
    const u32 own = warp() * most_experts;
    choose(a, warp() == 1, row, score + own, choice + own, group_score + own);
  }
  // The barrier brings thread 0 what the block has written, and its fence brings it to the host before the block counts as
  // finished: a fence of each thread before the barrier would leave nothing to order the count behind the others' writes.
  // A block alone has nothing to count, and no other block's writes to order.
  sync_block();
  if (thread_id() == 0) {
    fence_system();
    if (grid_x() > 1) {
      if (fetch_add(a.finished, 1u) != grid_x() - 1) return;
      *a.finished = 0;
      fence_system();
    }
    *(volatile u32*)a.flag = flag;
  }
}
