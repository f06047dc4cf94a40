// proofs/token.c - merge_word() against the naive procedure, exhaustively on small words.
//
// For random vocabularies over the letters a, b, c: every word of up to 9 letters. Prints one line;
// exit 1 if a word differs or the queue grows past its bound.
#include "../src/token.c"

enum { LETTERS = 3, LONGEST = 9, TABLES = 300, MERGES = 12 };

static uint32_t state = 1;

static uint32_t draw(uint32_t n) { // 0 .. n - 1
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % n;
}

// A tokenizer of the letters and of random joins of what is there already.
static tokenizer *make(void) {
    tokenizer *t = must_alloc(1, sizeof *t);
    json_t *merges = json_array();
    char token[LETTERS + MERGES][64] = {"a", "b", "c"}, err[ERR], both[160];
    int n = LETTERS;
    t->json = json_object();
    t->vocab = json_object();
    json_object_set_new(t->json, "vocab", t->vocab);
    for (int i = 0; i < LETTERS; i++) json_object_set_new(t->vocab, token[i], json_integer(i));
    for (int k = 0; k < 2 * MERGES; k++) {
        const char *a = token[draw((uint32_t)n)], *b = token[draw((uint32_t)n)];
        snprintf(both, sizeof both, "%s%s", a, b);
        if (strlen(both) > LONGEST) continue;
        int known = json_object_get(t->vocab, both) != NULL;
        if (!known && n == LETTERS + MERGES) continue;
        json_array_append_new(merges, json_pack("[s, s]", a, b));
        if (known) continue;
        memcpy(token[n], both, strlen(both) + 1);
        json_object_set_new(t->vocab, both, json_integer(n++));
    }
    t->unk = -1;
    t->longest = LONGEST;
    must(!read_merges(t, merges, err));
    json_decref(merges);
    return t;
}

static int32_t naive(const tokenizer *t, const char *word, int32_t n, int32_t *id) {
    for (int32_t i = 0; i < n; i++) id[i] = word[i] - 'a';
    for (;;) {
        int32_t best = -1, at = 0;
        for (int32_t i = 0; i + 1 < n; i++) {
            int32_t rank = merge_of(t, id[i], id[i + 1])->rank;
            if (rank >= 0 && (best < 0 || rank < best)) best = rank, at = i;
        }
        if (best < 0) return n;
        id[at] = merge_of(t, id[at], id[at + 1])->id;
        n--;
        for (int32_t i = at + 1; i < n; i++) id[i] = id[i + 1];
    }
}

int main(void) {
    long words = 0, bad = 0;
    for (int k = 0; k < TABLES; k++) {
        tokenizer *t = make();
        struct run r = {.t = t};
        for (int32_t n = 1, all = LETTERS; n <= LONGEST; n++, all *= LETTERS)
            for (int32_t code = 0; code < all; code++) {
                char word[LONGEST + 1] = "";
                int32_t want[LONGEST], m;
                for (int32_t i = 0, c = code; i < n; i++, c /= LETTERS)
                    word[i] = (char)('a' + c % 3);
                r.n = 0;
                merge_word(&r, spell(&r, (struct text){word, (size_t)n}));
                m = naive(t, word, n, want);
                bad += r.n != (size_t)m || memcmp(r.id, want, (size_t)m * sizeof *want);
                words++;
            }
        free(r.id), free(r.spelled), free(r.symbol), free(r.heap);
        token_close(t);
    }
    printf("%s token: %ld words over %d tables merge as the naive procedure does, %ld differ\n",
           bad ? "FAIL" : "ok", words, TABLES, bad);
    return bad != 0;
}
