"""gpu_peer.py - how fast PyTorch decodes the same shapes on the same device, for comparison.

    gpu_peer.py [--shape 1.7b|8b|14b|tiny] [--runs N] [--cpu] [--plain WHY]

bf16 weights, random; batch 1, greedy, a static key/value cache; a whole decode step, sampling
included, is one CUDA graph, replayed for each token. The model is transformers' Qwen3 where that is
installed, else (or with --plain) decoder layers written here in plain torch; the output says which.
Prints JSON: tokens/s, the median of N runs of 64 tokens after two that are not counted, timed by
the host's clock around synchronised runs; bytes of weights that a token reads; and the share that
is of a plain copy's bandwidth, measured here. --cpu: without a graph, to try the script.
"""
import argparse
import json
import os
import statistics
import sys
import time

SHAPES = {  # as in model.c; tiny is for trying the script and is no shape of model.c
    "tiny": dict(hidden=64, inter=96, layers=2, heads=4, kv=2, dim=16, vocab=61, tied=True),
    "1.7b": dict(hidden=2048, inter=6144, layers=28, heads=16, kv=8, dim=128, vocab=151936, tied=True),
    "8b": dict(hidden=4096, inter=12288, layers=36, heads=32, kv=8, dim=128, vocab=151936, tied=False),
    "14b": dict(hidden=5120, inter=17408, layers=40, heads=40, kv=8, dim=128, vocab=151936,
                tied=False),
}
STEPS, CONTEXT, THETA, EPS = 64, 256, 1e6, 1e-6


def plain_model(torch, s, device, dtype):
    """step(token [1, 1], position [1]) -> logits [1, vocab], and its parameters."""
    F = torch.nn.functional
    half = s["dim"] // 2

    def random(*shape):
        return torch.randn(*shape, device=device, dtype=dtype) * 0.02

    q, kv = s["heads"] * s["dim"], s["kv"] * s["dim"]
    layers = [{
        "qkv": random(q + 2 * kv, s["hidden"]), "out": random(s["hidden"], q),
        "gateup": random(2 * s["inter"], s["hidden"]), "down": random(s["hidden"], s["inter"]),
        "norm1": random(s["hidden"]), "norm2": random(s["hidden"]),
        "norm_q": random(s["dim"]), "norm_k": random(s["dim"])
    } for _ in range(s["layers"])]
    embed = random(s["vocab"], s["hidden"])
    head = embed if s["tied"] else random(s["vocab"], s["hidden"])
    last = random(s["hidden"])
    cache = torch.zeros(s["layers"], 2, 1, s["kv"], CONTEXT, s["dim"], device=device, dtype=dtype)
    angle = torch.outer(torch.arange(CONTEXT, device=device, dtype=torch.float32),
                        THETA ** (-torch.arange(half, device=device, dtype=torch.float32) / half))
    cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
    places = torch.arange(CONTEXT, device=device)

    def turn(x, c, d):
        a, b = x[..., :half], x[..., half:]
        return torch.cat((a * c - b * d, b * c + a * d), -1)

    def norm(x, w):
        return F.rms_norm(x, (x.shape[-1],), w, EPS)

    def step(token, position):
        x = F.embedding(token[0], embed)
        c, d = cos.index_select(0, position), sin.index_select(0, position)
        seen = (places <= position)[None, None, None]
        for i, w in enumerate(layers):
            y = F.linear(norm(x, w["norm1"]), w["qkv"])
            a = norm(y[:, :q].view(1, s["heads"], 1, s["dim"]), w["norm_q"])
            k = norm(y[:, q:q + kv].view(1, s["kv"], 1, s["dim"]), w["norm_k"])
            cache[i, 0].index_copy_(2, position, turn(k, c, d))
            cache[i, 1].index_copy_(2, position, y[:, q + kv:].view(1, s["kv"], 1, s["dim"]))
            # The query heads of a key head are its queries: no keys are repeated.
            a = turn(a, c, d).view(1, s["kv"], s["heads"] // s["kv"], s["dim"])
            o = F.scaled_dot_product_attention(a, cache[i, 0], cache[i, 1], attn_mask=seen)
            x = x + F.linear(o.reshape(1, q), w["out"])
            g, u = F.linear(norm(x, w["norm2"]), w["gateup"]).chunk(2, -1)
            x = x + F.linear(F.silu(g) * u, w["down"])
        return F.linear(norm(x, last), head)

    linear = [w[k] for w in layers for k in ("qkv", "out", "gateup", "down")] + [head]
    return step, sum(w.numel() * w.element_size() for w in linear)


def transformers_model(torch, s, device, dtype):
    from transformers import Qwen3Config, Qwen3ForCausalLM, StaticCache
    config = Qwen3Config(
        hidden_size=s["hidden"], intermediate_size=s["inter"], num_hidden_layers=s["layers"],
        num_attention_heads=s["heads"], num_key_value_heads=s["kv"], head_dim=s["dim"],
        vocab_size=s["vocab"], tie_word_embeddings=s["tied"], max_position_embeddings=CONTEXT,
        rms_norm_eps=EPS, bos_token_id=None, eos_token_id=None, pad_token_id=None)
    config._attn_implementation = "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # the weights are made where and as they stay
    try:
        with torch.device(device):
            model = Qwen3ForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)
    model.to(device=device, dtype=dtype)
    # Its arguments have changed between versions.
    for given in (dict(config=config, max_cache_len=CONTEXT),
                  dict(config=config, max_batch_size=1, max_cache_len=CONTEXT, device=device,
                       dtype=dtype)):
        try:
            cache = StaticCache(**given)
            break
        except TypeError:
            cache = None
    if cache is None:
        raise RuntimeError("no known way to make a StaticCache")

    places = torch.arange(CONTEXT, device=device)

    def step(token, position):
        # A mask of the whole cache: it is made of tensors alone, so that a graph can hold it.
        mask = torch.where(places[None, None, None] <= position, 0.0, torch.finfo(dtype).min)
        given = dict(input_ids=token, attention_mask=mask.to(dtype), position_ids=position[None],
                     past_key_values=cache, use_cache=True)
        try:
            return model(cache_position=position, **given).logits[:, -1]
        except TypeError:
            return model(**given).logits[:, -1]

    linear = [p for n, p in model.named_parameters()
              if p.dim() == 2 and (s["tied"] or "embed_tokens" not in n)]
    return step, sum(p.numel() * p.element_size() for p in linear)


def advance(step, token, position):
    """One token in place: what is captured."""
    token.copy_(step(token, position).argmax(-1, keepdim=True))
    position.add_(1)


def captured(torch, step, token, position):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            advance(step, token, position)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        advance(step, token, position)
    return graph.replay


def measured(go, token, position, runs, wait):
    """Tokens/s of each run that counts."""
    speeds = []
    for _ in range(runs + 2):
        token.fill_(7)
        position.zero_()
        wait()
        start = time.perf_counter()
        for _ in range(STEPS):
            go()
        wait()
        speeds.append(STEPS / (time.perf_counter() - start))
    return speeds[2:]


def copy_bandwidth(torch, device, wait, size):
    """Bytes a second, read and written, of the best of ten copies."""
    a = torch.zeros(size, device=device, dtype=torch.uint8)
    b, best = torch.empty_like(a), 0.0
    for _ in range(10):
        wait()
        start = time.perf_counter()
        b.copy_(a)
        wait()
        best = max(best, 2 * size / (time.perf_counter() - start))
    return best


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--shape", choices=SHAPES, default="1.7b")
    args.add_argument("--runs", type=int, default=7)
    args.add_argument("--cpu", action="store_true")
    args.add_argument("--plain", metavar="WHY", help="without transformers, for this reason")
    args = args.parse_args()
    try:
        import torch
    except ImportError:
        print(json.dumps({"not_run": "torch is not installed"}))
        return 77
    if not args.cpu and not torch.cuda.is_available():
        print(json.dumps({"not_run": "torch has no CUDA device"}))
        return 77
    device = "cpu" if args.cpu else "cuda"
    dtype = torch.float32 if args.cpu else torch.bfloat16
    wait = (lambda: None) if args.cpu else torch.cuda.synchronize
    torch.manual_seed(1)
    make = transformers_model if args.plain is None else plain_model
    with torch.inference_mode():
        try:
            step, weights = make(torch, SHAPES[args.shape], device, dtype)
            token = torch.full((1, 1), 7, device=device, dtype=torch.long)
            position = torch.zeros(1, device=device, dtype=torch.long)
            go = ((lambda: advance(step, token, position)) if args.cpu else
                  captured(torch, step, token, position))
            speeds = measured(go, token, position, args.runs, wait)
        except Exception as e:  # whatever a version of a library does not do
            why = f"{make.__name__}: {type(e).__name__}: {str(e)[:200]}"
            if args.plain is not None:
                print(json.dumps({"not_run": why}))
                return 1
            # A failed capture may leave the device unusable to this process: begin anew.
            sys.stdout.flush()
            os.execv(sys.executable, [sys.executable, *sys.argv, "--plain", why])
        plain = copy_bandwidth(torch, device, wait, 1 << (24 if args.cpu else 31))
    speed = statistics.median(speeds)
    print(json.dumps({
        "what": "transformers Qwen3ForCausalLM" if args.plain is None else "plain torch layers",
        "transformers_not_used": args.plain, "torch": torch.__version__, "shape": args.shape,
        "device": "cpu" if args.cpu else torch.cuda.get_device_name(),
        "dtype": str(dtype).split(".")[1], "graph": not args.cpu, "tokens_a_run": STEPS,
        "runs": len(speeds), "tokens_per_s": round(speed, 2),
        "slowest": round(min(speeds), 2), "fastest": round(max(speeds), 2),
        "weight_bytes_per_token": weights, "weights_GB_per_s": round(weights * speed / 1e9, 2),
        "copy_GB_per_s_read_and_written": round(plain / 1e9, 2),
        "share_of_copy": round(weights * speed / plain, 4)}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
