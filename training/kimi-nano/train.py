#!/usr/bin/env python3
"""Trains Kimi Nano on the packed rows.

    train.py --minutes 50 --threads 2 [--resume]
The learning rate and the switch to quantization-aware training follow the elapsed training time, so that a run
always fits the given budget. A checkpoint is written every five minutes.
"""
import argparse, json, math, os, signal, time
import numpy
import torch
import model as kimi
from model import Model


def newton_schulz(g, steps=5):
    """Approximate orthogonalization of a stack of matrices [n, rows <= columns]."""
    x = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16()
    for _ in range(steps):
        a = torch.bmm(x, x.transpose(1, 2))
        b = -4.7750 * a + 2.0315 * torch.bmm(a, a)
        x = 3.4445 * x + torch.bmm(b, x)
    return x.float()


class Optimizer:
    """Muon for the matrices inside the blocks, AdamW for embeddings, head, router and norms."""
    def __init__(self, net, decay=0.05):
        self.decay, self.muon, self.adam, self.step_count = decay, {}, [], 0
        f, s = net.c["moe_intermediate_size"], net.c["intermediate_size"]
        for name, w in net.named_parameters():
            leaf = name.split(".")[-1]
            if w.dim() < 2 or leaf in ("embed_tokens", "lm_head", "router"):
                self.adam.append((name, w))
                continue
            split = 2 if leaf in ("w1", "gate_up") else 1  # gate and up are matrices of their own
            rows, columns = w.shape[-2] // split, w.shape[-1]
            shape = (min(rows, columns), max(rows, columns))
            self.muon.setdefault(shape, []).append((name, w, rows, columns))
        self.m = {n: torch.zeros_like(w) for n, w in net.named_parameters()}
        self.v = {n: torch.zeros_like(w) for n, w in self.adam}

    def state(self): return dict(m=self.m, v=self.v, step=self.step_count)

    def load(self, s): self.m, self.v, self.step_count = s["m"], s["v"], s["step"]

    @torch.no_grad()
    def step(self, lr):
        self.step_count += 1
        t = self.step_count
        for n, w in self.adam:
            g = w.grad
            self.m[n].lerp_(g, 0.1)
            self.v[n].lerp_(g * g, 0.02)
            update = (self.m[n] / (1 - 0.9 ** t)) / ((self.v[n] / (1 - 0.98 ** t)).sqrt() + 1e-10)
            rate = lr * 0.25 if n.endswith("router") else lr
            if w.dim() > 1: w.mul_(1 - rate * self.decay)
            w.add_(update, alpha=-rate)
        for (a, b), group in self.muon.items():
            parts = []
            for n, w, rows, columns in group:
                self.m[n].lerp_(w.grad, 0.05)
                u = w.grad.lerp(self.m[n], 0.95).view(-1, rows, columns)
                parts.append(u if rows == a else u.transpose(1, 2))
            u = newton_schulz(torch.cat(parts)) * (0.2 * math.sqrt(b))
            at = 0
            for (n, w, rows, columns), x in zip(group, parts):
                x = u[at:at + x.shape[0]]
                at += x.shape[0]
                w.mul_(1 - lr * self.decay).add_((x if rows == a else x.transpose(1, 2)).reshape(w.shape), alpha=-lr)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--work", default="data")
    p.add_argument("--data", default="", help="packed rows, train.npz of --work by default")
    p.add_argument("--minutes", type=float, default=50)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--batch", type=int, default=6, help="rows per step")
    p.add_argument("--lr", type=float, default=4e-3)
    p.add_argument("--quantize-from", type=float, default=0.65, help="fraction of the time after which INT4 fake quantization is on")
    p.add_argument("--gamma", type=float, default=0.003, help="step of the router bias update")
    p.add_argument("--skip-plain", type=float, default=0.0, help="share of the plain-text rows to leave out")
    p.add_argument("--steps", type=int, default=10**9)
    p.add_argument("--stop-at", default="", help="HH:MM local time at which the run must have ended")
    p.add_argument("--name", default="nano")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--resume", action="store_true")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    data = numpy.load(a.data or os.path.join(a.work, "train.npz"))
    tokens, learn, start = data["tokens"], data["learn"], data["start"]
    if a.skip_plain:
        plain = learn.mean(1) > 0.95
        keep = ~plain | (numpy.random.RandomState(1).rand(len(plain)) >= a.skip_plain)
        tokens, learn, start = tokens[keep], learn[keep], start[keep]
        print("rows", len(plain), "plain", int(plain.sum()), "kept", int(keep.sum()), flush=True)
    net = Model()
    opt = Optimizer(net)
    path = os.path.join(a.work, a.name + ".pt")
    spent, row, step, seen = 0.0, 0, 0, 0
    if a.resume and os.path.exists(path):
        c = torch.load(path)
        net.load_state_dict(c["net"]); opt.load(c["opt"])
        spent, row, step, seen = c["spent"], c["row"], c["step"], c["seen"]
    total = a.minutes * 60
    if a.stop_at:
        h, m = map(int, a.stop_at.split(":"))
        now = time.localtime()
        total = min(total, spent + (h - now.tm_hour) * 3600 + (m - now.tm_min) * 60 - now.tm_sec)
    log = open(os.path.join(a.work, a.name + ".log"), "a")

    def save():
        torch.save(dict(net=net.state_dict(), opt=opt.state(), spent=spent, row=row, step=step, seen=seen), path + ".new")
        os.replace(path + ".new", path)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))  # ends the run after the current step, with a checkpoint
    begin, saved, mean, printed, spent_at = time.time() - spent, time.time(), None, seen, spent
    while step < a.steps and not stop:
        spent = time.time() - begin
        done = spent / total
        if done >= 1:
            break
        net.quantized = done >= a.quantize_from
        lr = a.lr * min(1.0, (step + 1) / 80) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * done)))
        pick = numpy.arange(row, row + a.batch) % len(tokens)
        row += a.batch
        ids = torch.from_numpy(tokens[pick].astype(numpy.int64))
        st = torch.from_numpy(start[pick].astype(numpy.int32))
        learned = learn[pick].copy()
        learned[:, 0] = 0
        at = numpy.nonzero(learned.reshape(-1))[0]
        where, target = torch.from_numpy(at - 1), torch.from_numpy(tokens[pick].reshape(-1)[at].astype(numpy.int32))
        loss = net.loss(ids, st, where, target)
        loss.backward()
        opt.step(lr)
        for w in net.parameters(): w.grad = None
        gamma = a.gamma * (1 - done)
        worst = 0.0
        for m in net.layers[1:]:
            worst = max(worst, (m.load.max() / m.load.mean()).item())
            m.bias += gamma * torch.sign(m.load.mean() - m.load)
            m.load.zero_()
        step += 1
        seen += ids.numel()
        value = loss.item()
        mean = value if mean is None else mean + 0.05 * (value - mean)
        if step % 20 == 0 or step <= 5:
            line = f"step {step} time {time.time() - begin:.0f}s tokens {seen / 1e6:.2f}M loss {mean:.4f} lr {lr:.5f} load {worst:.2f} int4 {int(net.quantized)} tok/s {(seen - printed) / (time.time() - begin - spent_at):.0f}" \
                if step > 20 else f"step {step} loss {value:.4f} time {time.time() - begin:.1f}s"
            spent_at, printed = time.time() - begin, seen
            print(line, flush=True)
            log.write(line + "\n"); log.flush()
        if time.time() - saved > 300:
            spent = time.time() - begin
            save()
            saved = time.time()
    spent = time.time() - begin
    save()
    json.dump(dict(steps=step, tokens=seen, seconds=round(spent), loss=round(mean, 4), rows=len(tokens), config=kimi.CONFIG), open(os.path.join(a.work, a.name + ".json"), "w"), indent=1)


if __name__ == "__main__":
    main()
