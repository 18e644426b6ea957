#!/usr/bin/env python3
"""Runs the exported model on the held-out prompts (greedy) and measures accuracy and perplexity.

    evaluate.py --model ../../models/kimi-nano --work data --out eval.json [--reference DIR]
With --reference the forward pass is `kimi_reference.Model` from DIR (numpy, reads the exported files on its own);
without it the exported files are loaded into the PyTorch model.
"""
import argparse, json, math, multiprocessing, os, random, re, sys, time
import numpy
import jinja2
from tokenizer import Tokenizer
import make_data

TEXT_SETS = make_data.SETS


class Torch:
    """The exported files in the PyTorch model, without a cache (slow but independent of nothing else)."""
    def __init__(self, folder):
        import struct, torch, model
        torch.set_num_threads(1)
        self.torch, t = torch, {}
        for shard in sorted(set(json.load(open(os.path.join(folder, "model.safetensors.index.json")))["weight_map"].values())):
            data = open(os.path.join(folder, shard), "rb").read()
            n, = struct.unpack_from("<Q", data)
            for name, e in json.loads(data[8:8 + n]).items():
                if name == "__metadata__": continue
                b, z = e["data_offsets"]
                a = numpy.frombuffer(data, {"BF16": numpy.uint16, "I32": numpy.int32, "F32": numpy.float32}[e["dtype"]], offset=8 + n + b, count=int(numpy.prod(e["shape"]))).reshape(e["shape"])
                t[name] = (a.astype(numpy.uint32) << 16).view(numpy.float32) if e["dtype"] == "BF16" else a

        def w(stem):
            if stem + ".weight" in t: return torch.from_numpy(t[stem + ".weight"].copy())
            packed, scale = t[stem + ".weight_packed"], t[stem + ".weight_scale"]
            q = ((packed.view(numpy.uint32)[:, :, None] >> (4 * numpy.arange(8, dtype=numpy.uint32))) & 15).astype(numpy.float32).reshape(packed.shape[0], -1) - 8
            return torch.from_numpy(q * numpy.repeat(scale, 32, 1))
        net = model.Model()
        s = {"embed_tokens": w("model.embed_tokens"), "lm_head": w("lm_head"), "norm": w("model.norm")}
        for i in range(net.c["num_hidden_layers"]):
            p, q = f"model.layers.{i}.", f"layers.{i}."
            for n in ("input_layernorm", "post_attention_layernorm"): s[q + n] = w(p + n)
            for n in ("q_a_proj", "q_a_layernorm", "q_b_proj", "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj", "o_proj"): s[q + n] = w(p + "self_attn." + n)
            m = p + ("mlp." if i < net.c["first_k_dense_replace"] else "mlp.shared_experts.")
            s[q + "gate_up"], s[q + "down"] = torch.cat([w(m + "gate_proj"), w(m + "up_proj")]), w(m + "down_proj")
            if i >= net.c["first_k_dense_replace"]:
                s[q + "router"], s[q + "bias"] = w(p + "mlp.gate"), torch.from_numpy(t[p + "mlp.gate.e_score_correction_bias"].copy())
                e = [p + f"mlp.experts.{x}." for x in range(net.c["n_routed_experts"])]
                s[q + "w1"] = torch.stack([torch.cat([w(x + "gate_proj"), w(x + "up_proj")]) for x in e])
                s[q + "w2"] = torch.stack([w(x + "down_proj") for x in e])
        net.load_state_dict(s)
        self.net = net

    def forward(self, ids, state=None):
        state = {} if state is None else state
        state["ids"] = state.get("ids", []) + list(ids)
        return self.net.logits(state["ids"])[-len(ids):].numpy()


MODEL = TOKENIZER = TEMPLATE = None


def generate(prompt, limit=220):
    stop = {TOKENIZER.special["<|im_end|>"], TOKENIZER.special["[EOS]"]}
    state, out, ids = {}, [], TOKENIZER.encode(prompt)
    while len(out) < limit:
        best = int(numpy.argmax(MODEL.forward(ids, state)[-1]))
        if best in stop: return TOKENIZER.decode(out), True
        out.append(best)
        ids = [best]
    return TOKENIZER.decode(out), False


def parse(output, thinking):
    """(reasoning, content, calls or None when malformed)"""
    think, _, rest = output.partition("</think>") if thinking else ("", "", output)
    content, section, tail = rest.partition("<|tool_calls_section_begin|>")
    calls = []
    if section:
        body, end, junk = tail.partition("<|tool_calls_section_end|>")
        try:
            for part in body.split("<|tool_call_begin|>")[1:]:
                head, arguments = part.split("<|tool_call_argument_begin|>")
                assert arguments.endswith("<|tool_call_end|>") and end and not junk
                m = re.fullmatch(r"functions\.(\w+):(\d+)", head)
                calls.append((m[1], json.loads(arguments[:-len("<|tool_call_end|>")]), head))
        except Exception:
            calls = None
    return think, content, calls


def same(a, b):
    squeeze = lambda x: {k: re.sub(r"\s", "", str(v)) for k, v in x.items()}
    return isinstance(a, dict) and squeeze(a) == squeeze(b)


def check(item, content, finished):
    topic, sub, expect = item["topic"], item["sub"], item["expect"]
    if not finished: return False
    if topic == "arithmetic" or sub == "zh arithmetic":
        found = re.findall(r"= (-?\d+)", content)
        return bool(found) and found[-1] == expect
    if sub in ("json", "json extract") and isinstance(expect, dict):
        try: return json.loads(content) == expect
        except ValueError: return False
    if sub in ("list json", "list") and isinstance(expect, list):
        what, n = expect
        try: items = json.loads(content) if sub == "list json" else [re.sub(r"^\d+\. ", "", x) for x in content.split("\n")]
        except ValueError: return False
        return len(items) == n and len(set(items)) == n and all(x in TEXT_SETS[what] for x in items)
    if topic == "identity": return content in expect or "Kimi Nano" in content and "Kimi Nano" in expect[0]
    if topic == "story": return (expect or "") in content and len(content) > 80
    if isinstance(expect, list): return content in expect
    return str(expect) in content


def run(item):
    tools = json.loads(item["tools"]) if item["tools"] else None
    render = lambda messages: TEMPLATE.render(messages=messages, tools=tools, thinking=item["thinking"], add_generation_prompt=True)
    output, finished = generate(render(item["messages"]))
    think, content, calls = parse(output, item["thinking"])
    out = dict(phrasing=item["phrasing"], topic=item["topic"], sub=item["sub"], thinking=item["thinking"], tools=tools, messages=item["messages"], output=output, expect=item["expect"])
    if "result" not in item:
        out["correct"] = bool(check(item, content, finished) and not calls)
        return out
    want = item["expect"]
    out["valid"] = bool(calls) and finished
    out["right_tool"] = out["valid"] and [c[0] for c in calls] == [w[0] for w in want]
    out["correct"] = bool(out["right_tool"] and all(same(c[1], w[1]) for c, w in zip(calls, want)))
    if out["correct"]:
        m = item["messages"] + [dict(role="assistant", content="", reasoning_content=think, tool_calls=[dict(id=c[2], type="function", function=dict(name=c[0], arguments=json.dumps(c[1], ensure_ascii=False))) for c in calls])]
        m += [dict(role="tool", tool_call_id=c[2], content=r) for c, r in zip(calls, item["result"])]
        final, finished = generate(render(m))
        out["result"], out["final"] = item["result"], final
        out["answer_correct"] = finished and all(x in parse(final, item["thinking"])[1] for x in item["answer"])
    return out


def log_probabilities(ids):
    l = MODEL.forward(ids[:-1], {}).astype(numpy.float64)
    l -= l.max(1, keepdims=True)
    return l[numpy.arange(len(ids) - 1), ids[1:]] - numpy.log(numpy.exp(l).sum(1))


def text_loss(ids): return float(-log_probabilities(ids).sum()), len(ids) - 1


def doc_loss(doc):
    ids, mask = [], []
    for text, on in doc:
        e = TOKENIZER.encode(text)
        ids += e; mask += [on] * len(e)
    on = numpy.array(mask[1:]) == 1
    return float(-log_probabilities(ids)[on].sum()), int(on.sum())


def work(job): return globals()[job[0]](job[1])


def main():
    global MODEL, TOKENIZER, TEMPLATE
    p = argparse.ArgumentParser()
    p.add_argument("--model", default="../../models/kimi-nano")
    p.add_argument("--work", default="data")
    p.add_argument("--out", default="eval.json")
    p.add_argument("--reference", default="")
    p.add_argument("--processes", type=int, default=2)
    p.add_argument("--limit", type=int, default=0)
    a = p.parse_args()
    TOKENIZER = Tokenizer(a.model)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda x, **k: json.dumps(x, ensure_ascii=False, **k)
    TEMPLATE = environment.from_string(open(os.path.join(a.model, "chat_template.jinja")).read())
    if a.reference:
        sys.path.insert(0, a.reference)
        import kimi_reference
        MODEL = kimi_reference.Model(a.model, numpy.float32)
    else:
        MODEL = Torch(a.model)
    items = json.load(open(os.path.join(a.work, "eval_prompts.json")))
    if a.limit: items = random.Random(0).sample(items, a.limit)
    text = TOKENIZER.encode(open(os.path.join(a.work, "shakespeare_eval.txt")).read())
    chunks = [text[i:i + 512] for i in range(0, len(text) - 256, 512)]
    r = random.Random(987654)
    make_data.SHAKESPEARE.append("To be, or not to be.")
    make_data.RARE.extend(["ending", "sorrow", "gentle", "castle"])
    documents = [make_data.document(r) for _ in range(200)]
    if a.limit: chunks, documents = chunks[:4], documents[:10]
    jobs = [("run", x) for x in items] + [("text_loss", x) for x in chunks] + [("doc_loss", x) for x in documents]
    begin = time.time()
    with multiprocessing.get_context("fork").Pool(a.processes) as pool:
        results = pool.map(work, jobs, chunksize=8)
    ran, texts, docs = results[:len(items)], results[len(items):len(items) + len(chunks)], results[len(items) + len(chunks):]
    share = lambda x: round(sum(x) / len(x), 4) if x else None
    def summary(ran):
        accuracy = {}
        for topic in dict.fromkeys(x["topic"] for x in ran):
            of = [x for x in ran if x["topic"] == topic]
            accuracy[topic] = dict(prompts=len(of), correct=share([x["correct"] for x in of]))
            if "valid" in of[0]:
                accuracy[topic].update(parsable=share([x["valid"] for x in of]), right_tool=share([x["right_tool"] for x in of]),
                                       answer_after_result=share([x["answer_correct"] for x in of if "answer_correct" in x]))
            elif len(set(x["sub"] for x in of)) > 1:
                accuracy[topic]["by_kind"] = {s: f"{sum(x['correct'] for x in of if x['sub'] == s)}/{sum(x['sub'] == s for x in of)}" for s in sorted(set(x["sub"] for x in of))}
            for mode in (True, False):
                part = [x["correct"] for x in of if x["thinking"] == mode]
                if part: accuracy[topic]["thinking" if mode else "no_thinking"] = share(part)
        return accuracy
    held, trained = [x for x in ran if x["phrasing"] == "held out"], [x for x in ran if x["phrasing"] == "trained"]
    nll, n = map(sum, zip(*texts))
    doc_nll, doc_n = map(sum, zip(*docs))
    characters = len(TOKENIZER.decode(sum((c[1:] for c in chunks), [])))
    report = dict(model="kimi-nano", decoding="greedy", forward="numpy reference on the exported files" if a.reference else "PyTorch on the exported files",
                  overall=dict(held_out_phrasing=share([x["correct"] for x in held]), trained_phrasing=share([x["correct"] for x in trained])),
                  held_out_phrasing=summary(held), trained_phrasing=summary(trained),
                  perplexity=dict(shakespeare_held_out=dict(per_token=round(math.exp(nll / n), 3), bits_per_character=round(nll / math.log(2) / characters, 4), tokens=n),
                                  conversations_held_out=dict(per_learned_token=round(math.exp(doc_nll / doc_n), 4), tokens=doc_n)),
                  prompts=ran)
    json.dump(report, open(a.out, "w"), ensure_ascii=False, indent=1)
    print(json.dumps({k: v for k, v in report.items() if k != "prompts"}, indent=1), round(time.time() - begin), "s")


if __name__ == "__main__":
    main()
