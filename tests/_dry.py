"""A step of practice at the shape of Qwen3-0.6B: random weights, the real vocabulary (chapter 36).

usage: _dry.py FOLDER [OPTION...]    options of `assay train`; the default is one group of two answers

Makes FOLDER/dense (1.2 GB, from seed 1) and FOLDER/tq4 if they are not there, practises one step and
prints how long each took and the most memory that it had.
"""

import os
import resource
import shutil
import subprocess
import sys
import time

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

import hf  # noqa: E402

ASSAY = os.environ.get("ASSAY", "build/assay")
TOKENIZER = os.environ.get("ASSAY_DATA", "../shared/data") + "/qwen3-tokenizer/tokenizer.json"
SHAPE = dict(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
             vocab_size=151936, max_position_embeddings=40960, bos_token_id=151643, eos_token_id=151645)  # fmt: skip
STEP = ["--batch", "2", "--group", "2", "--micro", "2", "--ctx", "160"]


def timed(*words):
    begun = time.time()
    if subprocess.run([ASSAY, *words]).returncode:
        sys.exit("FAIL dry: " + " ".join(words))
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print("%s: %.0f s, at most %.2f GiB so far" % (words[0], time.time() - begun, most), flush=True)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if not os.path.exists(TOKENIZER):
        return print("not run: dry: no " + TOKENIZER)
    dense, tq4, out = (sys.argv[1] + "/" + name for name in ("dense", "tq4", "practised"))
    if not os.path.exists(tq4):
        if not os.path.exists(dense + "/tokenizer.json"):  # the last file
            hf.write_hf(dense, hf.qwen3(**SHAPE), 1, "BF16")
            shutil.copy(TOKENIZER, dense)
        timed("quantize", dense, tq4)
    for path in (out, out + ".journal"):
        shutil.rmtree(path) if os.path.isdir(path) else os.path.exists(path) and os.remove(path)
    timed("train", tq4, "--task", "hamilton", "--out", out, "--steps", "1", "--warmup", "0", *(sys.argv[2:] or STEP))


if __name__ == "__main__":
    main()
