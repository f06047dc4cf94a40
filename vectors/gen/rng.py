#!/usr/bin/env python3
"""Makes vectors/rng.txt: python3 vectors/gen/rng.py > vectors/rng.txt

Philox4x32-10 written from the paper's description (Salmon, Moraes, Dror, Shaw, SC 2011), with the
round keys made beforehand. The first three cases are the known answers that the authors publish
with Random123 (kat_vectors, "philox4x32 10"); they are typed in, not computed, and compared.
"""
import struct

M = (0xD2511F53, 0xCD9E8D57)  # multipliers
W = (0x9E3779B9, 0xBB67AE85)  # Weyl increments of the key
PUBLISHED = [
    ("all zero", [0] * 2, [0] * 4, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("all ones", [0xFFFFFFFF] * 2, [0xFFFFFFFF] * 4, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("digits of pi", [0xA4093822, 0x299F31D0], [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def philox(key, counter):
    keys = [[(k + i * w) % 2 ** 32 for k, w in zip(key, W)] for i in range(10)]
    left, right = [counter[1], counter[3]], [counter[0], counter[2]]
    for k in keys:
        products = [m * r for m, r in zip(M, right)]
        high, low = [p >> 32 for p in products], [p & 0xFFFFFFFF for p in products]
        # the two halves change places: the high product of one meets the left word of the other
        right = [high[1] ^ left[0] ^ k[0], high[0] ^ left[1] ^ k[1]]
        left = [low[1], low[0]]
    return [right[0], left[0], right[1], left[1]]


def h(words):
    return " ".join("%08x" % w for w in words)


def main():
    print("# made by: python3 vectors/gen/rng.py > vectors/rng.txt")
    print("# id | reason | flags | arguments | results, all words in hex")
    print("# philox: key, counter -> block. words: seed, id, stream, first block, blocks -> the words.")
    print("# uniform: word -> bits of the float")
    for i, (reason, key, counter, answer) in enumerate(PUBLISHED):
        assert h(philox(key, counter)) == answer
        print("philox.%d | %s | published | %s %s | %s" % (i + 1, reason, h(key), h(counter), answer))
    more = [("only key word 0", [1, 0], [0] * 4, "-"), ("only key word 1", [0, 1], [0] * 4, "-")]
    more += [("only counter word %d" % j, [0, 0], [int(j == i) for i in range(4)], "-") for j in range(4)]
    more += [("round key 0 wraps", [0xFFFFFFFF, 0], [1, 2, 3, 4], "wrap"),
             ("round key 1 wraps", [0, 0xFFFFFFFF], [1, 2, 3, 4], "wrap"),
             ("top bits of the counter", [7, 11], [0x80000000] * 4, "-")]
    for i, (reason, key, counter, flags) in enumerate(more):
        print("philox.%d | %s | %s | %s %s | %s" % (i + 4, reason, flags, h(key), h(counter),
                                                    h(philox(key, counter))))
    streams = [("first block", 0, 0, 0, 0, 1, "-"), ("three blocks", 1, 2, 3, 0, 3, "-"),
               ("the same, from its second block", 1, 2, 3, 1, 2, "-"),
               ("last blocks", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFE, 2, "longest"),
               ("layer 0 q, scales", 1, 17, 1, 0, 2, "-"), ("no block", 5, 6, 7, 8, 0, "-")]
    for i, (reason, seed, ident, stream, first, blocks, flags) in enumerate(streams):
        words = [w for b in range(first, first + blocks) for w in philox([seed, ident], [b, 0, stream, 0])]
        print("words.%d | %s | %s | %x %x %x %x %x | %s" % (i + 1, reason, flags, seed, ident, stream, first,
                                                            blocks, h(words) or "none"))
    for i, (reason, w) in enumerate((("0", 0), ("low 8 bits are dropped", 255), ("least above 0", 256),
                                     ("half", 0x80000000), ("largest, below 1", 0xFFFFFFFF))):
        u = struct.pack(">f", (w >> 8) / 2 ** 24).hex()
        print("uniform.%d | %s | %s | %x | %s" % (i + 1, reason, "edge" if w in (0, 0xFFFFFFFF) else "-", w, u))


main()
