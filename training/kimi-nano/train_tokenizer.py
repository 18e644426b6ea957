#!/usr/bin/env python3
"""Trains the byte-level BPE on the sample that make_data.py wrote and saves it in Kimi's file format.

    train_tokenizer.py --work data --out ../../models/kimi-nano --ranks 2048
writes tiktoken.model and tokenizer_config.json. Digits are never merged: every digit is a token of its own,
which makes arithmetic learnable for a small model.
"""
import argparse, base64, collections, json, os
import regex
from tokenizer import SPLIT, SPECIAL, NOT_SPECIAL


def train(counts, ranks):
    words = [list(w.encode("utf-8")) for w in counts]
    weight = list(counts.values())
    token = [bytes([i]) for i in range(256)]
    known = set(token)
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, w in enumerate(words):
        for p in zip(w, w[1:]):
            pairs[p] += weight[i]
            where[p].add(i)
    while len(token) < ranks:
        best = max(pairs, key=lambda p: (pairs[p], -p[0], -p[1]))
        merged = token[best[0]] + token[best[1]]
        if merged in known:  # the same bytes reached by another merge: tiktoken knows only one
            del pairs[best]
            continue
        new = len(token)
        token.append(merged)
        known.add(merged)
        for i in list(where.pop(best)):
            w = words[i]
            for p in zip(w, w[1:]):
                pairs[p] -= weight[i]
            out, j = [], 0
            while j < len(w):
                if j + 1 < len(w) and w[j] == best[0] and w[j + 1] == best[1]:
                    out.append(new); j += 2
                else:
                    out.append(w[j]); j += 1
            words[i] = out
            for p in zip(out, out[1:]):
                pairs[p] += weight[i]
                where[p].add(i)
        pairs.pop(best, None)
    return token


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--work", default="data")
    p.add_argument("--out", default="../../models/kimi-nano")
    p.add_argument("--ranks", type=int, default=2048)
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    specials = regex.compile("|".join(regex.escape(s) for s in SPECIAL.values()))
    counts = collections.Counter()
    for name, times in (("sample.txt", 1), ("shakespeare_train.txt", 3)):
        for part in specials.split(open(os.path.join(a.work, name), encoding="utf-8").read()):
            for piece in SPLIT.findall(part):
                counts[piece] += times
    for piece in [w for w in counts if w.isdigit()]:
        del counts[piece]
    token = train(counts, a.ranks)
    with open(os.path.join(a.out, "tiktoken.model"), "wb") as f:
        for i, t in enumerate(token):
            f.write(base64.b64encode(t) + b" %d\n" % i)
    added = {str(a.ranks + i): dict(content=s, lstrip=False, normalized=False, rstrip=False, single_word=False,
                                    special=i not in NOT_SPECIAL) for i, s in SPECIAL.items()}
    config = dict(added_tokens_decoder=added,
                  additional_special_tokens=["<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|start_header_id|>", "<|end_header_id|>",
                                             "[EOT]", "<|im_system|>", "<|im_middle|>"],
                  bos_token="[BOS]", eos_token="[EOS]", pad_token="[PAD]", unk_token="[UNK]", clean_up_tokenization_spaces=False,
                  model_max_length=8192, tokenizer_class="TikTokenTokenizer")
    json.dump(config, open(os.path.join(a.out, "tokenizer_config.json"), "w"), indent=2)


if __name__ == "__main__":
    main()
