#!/usr/bin/env python3
"""Tokenizes the documents and packs them into rows of fixed length.

    pack_data.py --work data --model ../../models/kimi-nano
writes train.npz with  tokens uint16 [rows, T], learn uint8 [rows, T] (loss on this token), start int16 [rows, T]
(position of the first token of the document). Gaps and extra rows hold plain Shakespeare text.
"""
import argparse, json, os, random
import numpy
from tokenizer import Tokenizer


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--work", default="data")
    p.add_argument("--model", default="../../models/kimi-nano")
    p.add_argument("--length", type=int, default=1024)
    p.add_argument("--plain", type=float, default=0.1, help="share of rows that are plain text only")
    a = p.parse_args()
    T, r, tokenizer = a.length, random.Random(2), Tokenizer(a.model)
    paragraphs = [tokenizer.encode(x + "\n\n") for x in open(os.path.join(a.work, "shakespeare_train.txt")).read().split("\n\n")]

    def plain(n):
        i, out = r.randrange(len(paragraphs)), []
        while len(out) < n:
            out += paragraphs[i % len(paragraphs)]
            i += 1
        return out[:n]
    tokens, learn, start, open_rows = [], [], [], []

    def close(row):
        ids, mask, at = row
        while len(ids) < T:
            n = T - len(ids)
            at += [len(ids)] * n
            ids += plain(n)
            mask += [0] + [1] * (n - 1)
        tokens.append(numpy.array(ids, numpy.uint16)); learn.append(numpy.array(mask, numpy.uint8)); start.append(numpy.array(at, numpy.int16))
        if r.random() < a.plain / (1 - a.plain):
            n, at = 0, []
            cuts = [0, T] if r.random() < .5 else [0, T // 2, T]
            ids, mask = [], []
            for b, e in zip(cuts, cuts[1:]):
                ids += plain(e - b); mask += [0] + [1] * (e - b - 1); at += [b] * (e - b)
            tokens.append(numpy.array(ids, numpy.uint16)); learn.append(numpy.array(mask, numpy.uint8)); start.append(numpy.array(at, numpy.int16))
    for line in open(os.path.join(a.work, "docs.jsonl")):
        ids, mask = [], []
        for text, on in json.loads(line):
            e = tokenizer.encode(text)
            ids += e; mask += [on] * len(e)
        if len(ids) > T:
            continue
        fits = [x for x in open_rows if len(x[0]) + len(ids) <= T]
        if fits:
            row = max(fits, key=lambda x: len(x[0]))
        else:
            if len(open_rows) >= 24:
                fullest = max(open_rows, key=lambda x: len(x[0]))
                open_rows.remove(fullest)
                close(fullest)
            row = ([], [], [])
            open_rows.append(row)
        row[2].extend([len(row[0])] * len(ids)); row[0].extend(ids); row[1].extend(mask)
    order = list(range(len(tokens)))
    r.shuffle(order)
    numpy.savez(os.path.join(a.work, "train.npz"), tokens=numpy.stack([tokens[i] for i in order]), learn=numpy.stack([learn[i] for i in order]), start=numpy.stack([start[i] for i in order]))
    print(len(order), "rows of", T, "learned share", numpy.mean([x.mean() for x in learn]))


if __name__ == "__main__":
    main()
