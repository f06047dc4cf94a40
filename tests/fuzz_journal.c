// fuzz_journal.c - libFuzzer target of the journal's reader and export. Each input is read twice: as a
// file, and as payloads (kind, u16 size, bytes) that are framed and chained here, so that a mutation
// need not guess SHA-256. Whatever is read must keep the promises of journal.h, and its export must
// be JSON. Seeds: vectors/gen/journal.py --corpus DIR.
#include "journal.h"
#include <jansson.h>
#include <sodium.h>
#include <sys/mman.h>
#include <unistd.h>

static int memory = -1;
static char path[64];

typedef struct {
    uint64_t n, end;
} seen;

static int see(void *ctx, const journal_record *r, char err[ERR]) {
    seen *s = ctx;
    char what[96], *text = NULL;
    size_t size = 0;
    (void)err;
    must(r->kind >= 1 && r->kind < J_KINDS && r->size <= JOURNAL_MAX && r->number == ++s->n);
    must(r->at == (s->end ? s->end : 16) && r->end == r->at + 44 + r->size);
    s->end = r->end;
    memset(what, 1, sizeof what);
    journal_describe(r, what);
    must(memchr(what, 0, sizeof what));
    for (const char *c = what; *c; c++) must(*c >= 32 && *c < 127);
    FILE *f = open_memstream(&text, &size);
    must(f);
    journal_json(r, f);
    fclose(f);
    must(size && text[size - 1] == '\n' && !memchr(text, '\n', size - 1));
    json_t *v = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    must(v || strstr(text, ":18446") || size > 100); // jansson has no number above 2^63
    json_decref(v);
    free(text);
    return 0;
}

static void read_file(uint64_t size) {
    char err[ERR];
    seen s = {0};
    uint64_t torn = 0;
    memset(err, 'x', sizeof err);
    if (journal_read(path, see, &s, &torn, err))
        must(memchr(err, 0, sizeof err) && !strchr(err, '\n') && !strncmp(err, path, strlen(path)));
    else
        must(s.end + torn == size || (!s.n && torn <= size));
}

static void put(const void *p, size_t n) { must(write(memory, p, n) == (ssize_t)n); }

static void empty(void) { must(!ftruncate(memory, 0) && lseek(memory, 0, SEEK_SET) == 0); }

static void record(uint8_t chain[32], uint32_t kind, const uint8_t *p, uint32_t size) {
    uint8_t hash[32];
    uint32_t head[2] = {size, kind};
    crypto_hash_sha256_state s, whole;
    crypto_hash_sha256_init(&s);
    crypto_hash_sha256_update(&s, chain, 32);
    crypto_hash_sha256_update(&s, (uint8_t *)head, 8);
    whole = s;
    crypto_hash_sha256_final(&s, hash);
    crypto_hash_sha256_update(&whole, p, size);
    crypto_hash_sha256_final(&whole, chain);
    put(head, 8);
    put(hash, 4);
    put(p, size);
    put(chain, 32);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const uint8_t magic[] = "assay journal 1\n";
    uint8_t chain[32];
    if (memory < 0) {
        must((memory = memfd_create("input", 0)) >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    }
    empty();
    put(data, n);
    read_file(n);
    empty();
    put(magic, 16);
    crypto_hash_sha256(chain, magic, 16);
    uint64_t end = 16;
    while (n > 3) {
        uint32_t size = (uint32_t)(data[1] | data[2] << 8);
        if (size > n - 3) size = (uint32_t)n - 3;
        record(chain, data[0], data + 3, size);
        data += 3 + size, n -= 3 + size, end += 44 + size;
    }
    put(data, n); // a torn tail, unless it is zero bytes
    read_file(end + n);
    return 0;
}
