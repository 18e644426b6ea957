#!/usr/bin/env python3
"""Exports a training checkpoint in the layout of Kimi-K2-Thinking: routed experts as compressed-tensors INT4, the rest BF16.

    export.py --checkpoint data/nano.pt --out ../../models/kimi-nano
"""
import argparse, json, os, shutil, struct
import numpy
import torch
from model import CONFIG, Model

WIDTH = {"F32": 4, "I32": 4, "BF16": 2}


def bf16(t):
    """float32 -> uint16 bit patterns, round to nearest even."""
    u = numpy.ascontiguousarray(t.detach().numpy(), dtype=numpy.float32).view(numpy.uint32)
    return ((u + 0x7fff + ((u >> 16) & 1)) >> 16).astype(numpy.uint16)


def int4(t):
    """[out, in] float32 -> packed int32 [out, in/8] (low nibble first, value + 8), scale bits [out, in/32]."""
    w = t.detach().numpy().astype(numpy.float32)
    rows, columns = w.shape
    g = w.reshape(rows, columns // 32, 32)
    scale = bf16(torch.from_numpy(numpy.abs(g).max(-1) * numpy.float32(0.13333334)))
    s = (scale.astype(numpy.uint32) << 16).view(numpy.float32)[:, :, None]
    inverse = numpy.where(s > 0, numpy.float32(1) / numpy.where(s > 0, s, 1), 0)
    q = (numpy.clip(numpy.rint(g * inverse), -8, 7).astype(numpy.int32) + 8).astype(numpy.uint32)
    packed = numpy.bitwise_or.reduce(q.reshape(rows, columns // 8, 8) << (4 * numpy.arange(8, dtype=numpy.uint32)), axis=2)
    return packed.astype(numpy.uint32).view(numpy.int32), scale


def tensors(net):
    out = {}
    c = net.c

    def put(name, t): out[name + ".weight"] = ("BF16", bf16(t))

    def mlp(stem, gate_up, down):
        half = gate_up.shape[0] // 2
        put(stem + ".gate_proj", gate_up[:half]); put(stem + ".up_proj", gate_up[half:]); put(stem + ".down_proj", down)
    put("model.embed_tokens", net.embed_tokens)
    for i, m in enumerate(net.layers):
        p = f"model.layers.{i}"
        put(p + ".input_layernorm", m.input_layernorm)
        for n in ("q_a_proj", "q_a_layernorm", "q_b_proj", "kv_a_proj_with_mqa", "kv_a_layernorm", "kv_b_proj", "o_proj"):
            put(f"{p}.self_attn.{n}", getattr(m, n))
        put(p + ".post_attention_layernorm", m.post_attention_layernorm)
        if i < c["first_k_dense_replace"]:
            mlp(p + ".mlp", m.gate_up, m.down)
            continue
        put(p + ".mlp.gate", m.router)
        out[p + ".mlp.gate.e_score_correction_bias"] = ("F32", m.bias.numpy().astype(numpy.float32))
        f = c["moe_intermediate_size"]
        for e in range(c["n_routed_experts"]):
            for n, w in (("gate_proj", m.w1[e, :f]), ("up_proj", m.w1[e, f:]), ("down_proj", m.w2[e])):
                packed, scale = int4(w)
                stem = f"{p}.mlp.experts.{e}.{n}"
                out[stem + ".weight_packed"] = ("I32", packed)
                out[stem + ".weight_scale"] = ("BF16", scale)
                out[stem + ".weight_shape"] = ("I32", numpy.array(w.shape, numpy.int32))
        mlp(p + ".mlp.shared_experts", m.gate_up, m.down)
    put("model.norm", net.norm)
    put("lm_head", net.lm_head)
    return out


def write(path, part):
    part = dict(sorted(part.items(), key=lambda kv: (-WIDTH[kv[1][0]], kv[0])))
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (kind, a) in part.items():
        header[name] = dict(dtype=kind, shape=list(a.shape), data_offsets=[offset, offset + a.nbytes])
        offset += a.nbytes
    blob = json.dumps(header, separators=(",", ":")).encode()
    blob += b" " * (-len(blob) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(blob)) + blob)
        for _, a in part.values():
            f.write(numpy.ascontiguousarray(a).tobytes())
    return offset


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--checkpoint", default="data/nano.pt")
    p.add_argument("--out", default="../../models/kimi-nano")
    a = p.parse_args()
    net = Model()
    net.load_state_dict(torch.load(a.checkpoint)["net"])
    every = tensors(net)
    half = CONFIG["num_hidden_layers"] // 2
    first = [n for n in every if n.startswith("model.embed") or n.startswith("model.layers.") and int(n.split(".")[2]) < half + 1]
    shards = [{n: every[n] for n in first}, {n: every[n] for n in every if n not in set(first)}]
    weights, total = {}, 0
    for i, part in enumerate(shards):
        name = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        total += write(os.path.join(a.out, name), part)
        weights.update({n: name for n in part})

    def dump(name, value):
        with open(os.path.join(a.out, name), "w") as f:
            json.dump(value, f, indent=2)
            f.write("\n")
    dump("model.safetensors.index.json", dict(metadata=dict(total_size=total), weight_map=dict(sorted(weights.items()))))
    base = CONFIG["vocab_size"] - 256
    quantization = dict(
        config_groups=dict(group_0=dict(input_activations=None, output_activations=None, targets=["Linear"], weights=dict(
            actorder=None, block_structure=None, dynamic=False, group_size=32, num_bits=4, observer="minmax", observer_kwargs={},
            strategy="group", symmetric=True, type="int"))),
        format="pack-quantized",
        ignore=["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
        kv_cache_scheme=None, quant_method="compressed-tensors", quantization_status="compressed")
    config = dict(
        architectures=["DeepseekV3ForCausalLM"], model_type="kimi_k2", attention_bias=False, attention_dropout=0.0,
        bos_token_id=base, eos_token_id=base + 2, pad_token_id=base + 255, ep_size=1, hidden_act="silu", initializer_range=0.02,
        moe_layer_freq=1, n_group=1, topk_group=1, norm_topk_prob=True, num_nextn_predict_layers=0,
        num_key_value_heads=CONFIG["num_attention_heads"], pretraining_tp=1, scoring_func="sigmoid", seq_aux=True,
        tie_word_embeddings=False, topk_method="noaux_tc", torch_dtype="bfloat16", use_cache=True, quantization_config=quantization)
    config.update(CONFIG)
    first_keys = ("architectures", "model_type")
    dump("config.json", {**{k: config[k] for k in first_keys}, **{k: config[k] for k in sorted(config) if k not in first_keys}})
    dump("generation_config.json", dict(eos_token_id=base + 2, max_length=CONFIG["max_position_embeddings"]))
    shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "chat_template.jinja"), a.out)
    print(len(every), "tensors,", total, "bytes")


if __name__ == "__main__":
    main()
