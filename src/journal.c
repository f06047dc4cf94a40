// journal.c - the file, its reader, its writer with a thread for the disk, and its export.
//
// A file is the magic and then records. A record: u32 size of the payload, u32 kind, u32 check (of
// the chain before it, size and kind), payload, and 32 bytes of chain. All little-endian.
#include "journal.h"
#include "num.h"
#include "tensor.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[] = "assay journal 1\n";
enum { MAGIC = sizeof magic - 1, HEAD = 12, CHAIN = 32, GATHER = 1 << 26 };

const char *const journal_kind_name[J_KINDS] = {
    "",       "open",     "resume", "request",   "cancel",  "feedback", "tokens",
    "update", "snapshot", "stop",   "signature", "rollout", "reward"};

// The fields of each payload: a letter for the type (width()), then the name. n is the number of
// ids of a list that follows behind all fields; p, s and j take what is left: pairs, name, JSON.
static const char *const fields[J_KINDS] = {
    [J_OPEN] = "jvalue",
    [J_RESUME] = "jvalue",
    [J_REQUEST] = "Uturn Uid Utime ftemperature itop_k ftop_p useed ustream itop imost nprompt",
    [J_CANCEL] = "Uturn Uid",
    [J_FEEDBACK] = "Uturn Uid fweight nprompt nanswer",
    [J_TOKENS] = "Uturn Uversion ptokens",
    [J_UPDATE] = "Uturn Uversion Ustep Iloss utargets fnorm hdigest",
    [J_SNAPSHOT] = "Uturn Uversion hsha256 sname",
    [J_STOP] = "jvalue",
    [J_SIGNATURE] = "hkey Hsignature",
    [J_ROLLOUT] = "Uturn Uversion ptokens",
    [J_REWARD] = "Uturn Uversion nmastered nanswers"};

static uint32_t width(char type) {
    if (type == 'h' || type == 'H') return type == 'h' ? 32 : 64;
    return strchr("psj", type) ? 0 : strchr("UI", type) ? 8 : 4;
}

static const char *next_field(const char *s) {
    s += strcspn(s, " ");
    return s + (*s == ' ');
}

static uint64_t get(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void put(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

// SHA-256 of the chain before, a record's size and kind [8], and its payload.
static void link_hash(uint8_t hash[32], const uint8_t before[32], const uint8_t head[8],
                      const void *data, size_t size) {
    crypto_hash_sha256_state s;
    crypto_hash_sha256_init(&s);
    crypto_hash_sha256_update(&s, before, 32);
    crypto_hash_sha256_update(&s, head, 8);
    if (size) crypto_hash_sha256_update(&s, data, size);
    crypto_hash_sha256_final(&s, hash);
}

// Whether a payload has the size and the counts of its kind.
static int payload_fits(uint32_t kind, const uint8_t *p, uint32_t size) {
    uint64_t left = size, lists = 0;
    const char *s = fields[kind], *last = s;
    for (; *s; last = s, s = next_field(s)) {
        if (left < width(*s)) return 0;
        if (*s == 'n') lists += 4 * get(p, 4); // of a negative one more than there can be
        p += width(*s), left -= width(*s);
    }
    if (*last == 's') return left > 0 && *p != '.' && !memchr(p, '/', left) && !memchr(p, 0, left);
    return *last == 'p' ? left % 8 == 0 : *last == 'j' || left == lists;
}

// At least n bytes of room, the first `used` kept.
static uint8_t *make_room(uint8_t *p, size_t *room, size_t used, size_t n) {
    if (n <= *room) return p;
    uint8_t *bigger = must_alloc(*room = n + n / 2, 1);
    if (used) memcpy(bigger, p, used);
    free(p);
    return bigger;
}

// ---- reading

typedef struct {
    FILE *f;
    char path[301];            // for messages
    uint64_t size, at, number; // of the file; behind the last good record; of good records
    uint8_t chain[32], *data;  // at `at`; the newest record's payload and chain
    size_t room;
} scan;

static void scan_close(scan *s) {
    fclose(s->f);
    free(s->data);
}

// 1: it is ours until it is closed. 0: another process has it, or *why.
static int lock_file(int fd, int *why) {
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!fcntl(fd, F_OFD_SETLK, &all)) return 1;
    *why = errno == EAGAIN || errno == EACCES ? 0 : errno;
    return 0;
}

// To write, it is locked before its size is asked: until then another process may append.
static int scan_open(scan *s, const char *path, int flags, char err[ERR]) {
    char start[MAGIC];
    struct stat st;
    int why = 0;
    *s = (scan){0};
    snprintf(s->path, sizeof s->path, "%s", path);
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK, 0600); // of a pipe it would wait
    int bad = fd < 0 || fstat(fd, &st), ours = !bad && flags & O_RDWR && S_ISREG(st.st_mode);
    if (bad) why = errno;
    if (ours && !lock_file(fd, &why)) bad = 1;
    if (!bad && (fstat(fd, &st) || !(s->f = fdopen(fd, flags & O_RDWR ? "r+" : "r"))))
        bad = 1, why = errno;
    if (!bad && ours && !st.st_nlink) bad = 1, why = ENOENT; // it was taken away before we had it
    if (bad) {
        fail(err, "%s: %s", s->path, why ? strerror(why) : "another process has it open");
        if (s->f)
            fclose(s->f);
        else if (fd >= 0)
            close(fd);
        return -1;
    }
    size_t n = S_ISREG(st.st_mode) ? fread(start, 1, MAGIC, s->f) : 0, same = 0;
    while (same < n && start[same] == magic[same]) same++;
    s->size = (uint64_t)st.st_size;
    s->at = n == MAGIC ? MAGIC : 0; // a shorter file was torn at its birth
    crypto_hash_sha256(s->chain, (const uint8_t *)magic, MAGIC);
    if (S_ISREG(st.st_mode) && same == n && !ferror(s->f)) return 0;
    scan_close(s);
    return fail(err, "%s: byte %zu: expected a journal, which begins with \"assay journal 1\"",
                s->path, same);
}

enum { END = 0, RECORD = 1, DAMAGE = -1, UNREAD = -2 };

static int take(scan *s, void *p, size_t n, char err[ERR]) {
    if (fread(p, 1, n, s->f) == n) return 0;
    return fail(err, "%s: %s", s->path, ferror(s->f) ? strerror(errno) : "became shorter");
}

static int only_zeros(const scan *s, const uint8_t head[HEAD]) {
    int c = 0;
    for (int i = 0; i < HEAD; i++) c |= head[i];
    while (!c && (c = getc(s->f)) == 0) continue;
    return c == EOF && !ferror(s->f);
}

// What is wrong with a record's head, or NULL. hash: of what precedes the payload.
static const char *check_head(const journal_record *r, const uint8_t head[HEAD],
                              const uint8_t hash[32]) {
    if (memcmp(hash, head + 8, 4)) return "the chain does not hold at its head";
    if (r->kind < 1 || r->kind >= J_KINDS) return "no such kind";
    return r->size > JOURNAL_MAX ? "too large" : NULL;
}

// What is wrong with the rest of it. hash: of all of it.
static const char *check_body(const scan *s, const journal_record *r, const uint8_t hash[32]) {
    if (memcmp(hash, s->data + r->size, CHAIN)) return "the chain does not hold";
    if (!payload_fits(r->kind, s->data, r->size)) return "the payload does not fit its kind";
    if (r->kind != J_SIGNATURE) return NULL;
    return crypto_sign_verify_detached(s->data + 32, s->chain, 32, s->data) ? "wrong signature"
                                                                            : NULL;
}

// The next record into *r, or END: what is left, if anything, is a torn tail.
static int scan_next(scan *s, journal_record *r, char err[ERR]) {
    uint8_t head[HEAD], hash[32];
    uint64_t left = s->size - s->at;
    if (!s->at || left < HEAD) return END;
    if (take(s, head, HEAD, err)) return UNREAD;
    *r = (journal_record){(uint32_t)get(head + 4, 4), (uint32_t)get(head, 4), .at = s->at};
    link_hash(hash, s->chain, head, NULL, 0);
    const char *wrong = check_head(r, head, hash);
    if (wrong ? only_zeros(s, head) : left < HEAD + r->size + CHAIN) return END;
    if (!wrong) {
        s->data = make_room(s->data, &s->room, 0, r->size + CHAIN);
        if (take(s, s->data, r->size + CHAIN, err)) return UNREAD;
        link_hash(hash, s->chain, head, s->data, r->size);
        wrong = check_body(s, r, hash);
    }
    if (wrong) {
        fail(err, "%s: record %llu at byte %llu: %s (kind %u, %u bytes)", s->path,
             (unsigned long long)s->number + 1, (unsigned long long)s->at, wrong, r->kind, r->size);
        return DAMAGE;
    }
    memcpy(s->chain, hash, CHAIN);
    r->data = s->data, r->chain = s->chain, r->number = ++s->number;
    s->at = r->end = s->at + HEAD + r->size + CHAIN;
    return RECORD;
}

// Every record to read, if that is not NULL.
static int scan_all(scan *s, journal_reader read, void *ctx, char err[ERR]) {
    journal_record r;
    int got;
    while ((got = scan_next(s, &r, err)) == RECORD)
        if (read && read(ctx, &r, err)) return UNREAD;
    return got;
}

int journal_read(const char *path, journal_reader read, void *ctx, uint64_t *torn, char err[ERR]) {
    scan s;
    if (scan_open(&s, path, O_RDONLY, err)) return -1;
    int got = scan_all(&s, read, ctx, err);
    if (torn) *torn = s.size - s.at;
    scan_close(&s);
    return got == END ? 0 : -1;
}

// ---- opening to write

static int write_all(int fd, const uint8_t *p, size_t n, uint64_t at) {
    while (n) {
        ssize_t got = pwrite(fd, p, n, (off_t)at);
        if (got < 0 && errno != EINTR) return -1;
        if (got > 0) p += got, n -= (size_t)got, at += (uint64_t)got;
    }
    return fdatasync(fd);
}

// The file ends at s->at (a new one: behind the magic), and all of it is on the disk: a record that
// a killed process wrote may be in memory only.
static int settle(scan *s, const char *path, char err[ERR]) {
    int fd = fileno(s->f), bad = ftruncate(fd, (off_t)s->at);
    if (!bad && !s->at) bad = write_all(fd, (const uint8_t *)magic, s->at = MAGIC, 0);
    bad = bad || fsync(fd) || tensor_sync_name(path);
    return bad ? fail(err, "%s: %s", s->path, strerror(errno)) : 0;
}

int journal_cut(const char *path, uint64_t *lost, char err[ERR]) {
    scan s;
    *lost = 0;
    if (scan_open(&s, path, O_RDWR, err)) return -1;
    int bad = scan_all(&s, NULL, NULL, err) == UNREAD;
    if (!bad) *lost = s.size - s.at, bad = settle(&s, path, err);
    scan_close(&s);
    return bad ? -1 : 0;
}

// ---- writing

struct journal {
    scan s;                    // its file; chain and size go on as records are appended
    char failed[ERR];          // the error line, once there is one
    pthread_mutex_t lock;      // of all below and of s
    pthread_cond_t work, done; // something to write, or stop; something was written, or failed
    uint8_t *buf;              // [used] of records that wait for the thread
    size_t used, room;
    uint64_t durable;
    int stop;
    void (*wake)(void *);
    void *ctx;
    pthread_t thread;
};

// The journal's thread: takes all that has gathered, writes it at the end of the file and syncs.
static void *commit_all(void *arg) {
    journal *j = arg;
    uint8_t *spare = NULL;
    size_t room = 0;
    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (!j->used && !j->stop) pthread_cond_wait(&j->work, &j->lock);
        if (!j->used) break;
        uint8_t *full = j->buf;
        size_t n = j->used, full_room = j->room;
        j->buf = spare, j->room = room, j->used = 0;
        spare = full, room = full_room;
        pthread_mutex_unlock(&j->lock);
        int bad = write_all(fileno(j->s.f), spare, n, j->durable), why = errno;
        pthread_mutex_lock(&j->lock);
        if (bad)
            fail(j->failed, "%s: %s", j->s.path, strerror(why)), j->used = 0;
        else
            j->durable += n;
        pthread_cond_broadcast(&j->done);
        pthread_mutex_unlock(&j->lock);
        if (j->wake) j->wake(j->ctx);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    free(spare);
    return NULL;
}

// A thread that no signal is delivered to: handlers belong to the program's own.
static void start_thread(journal *j) {
    sigset_t all, old;
    sigfillset(&all);
    must(!pthread_mutex_init(&j->lock, NULL) && !pthread_cond_init(&j->work, NULL) &&
         !pthread_cond_init(&j->done, NULL) && !pthread_sigmask(SIG_SETMASK, &all, &old));
    must(!pthread_create(&j->thread, NULL, commit_all, j));
    must(!pthread_sigmask(SIG_SETMASK, &old, NULL));
}

static journal *begin(const char *path, int flags, journal_reader read, void *reader,
                      void (*wake)(void *), void *ctx, char err[ERR]) {
    journal *j = must_alloc(1, sizeof *j);
    int ours = !scan_open(&j->s, path, O_RDWR | flags, err);
    if (ours && scan_all(&j->s, read, reader, err) == END && !settle(&j->s, path, err)) {
        j->durable = j->s.size = j->s.at;
        j->wake = wake, j->ctx = ctx;
        start_thread(j);
        return j;
    }
    if (ours && flags) unlink(path); // it was never whole
    if (ours) scan_close(&j->s);
    free(j);
    return NULL;
}

journal *journal_create(const char *path, void (*wake)(void *), void *ctx, char err[ERR]) {
    return begin(path, O_CREAT | O_EXCL, NULL, NULL, wake, ctx, err);
}

journal *journal_open(const char *path, journal_reader read, void *reader, void (*wake)(void *),
                      void *ctx, char err[ERR]) {
    return begin(path, 0, read, reader, wake, ctx, err);
}

int journal_close(journal *j, char err[ERR]) {
    pthread_mutex_lock(&j->lock);
    j->stop = 1;
    pthread_cond_signal(&j->work);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    int bad = journal_failed(j, err);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->work);
    pthread_cond_destroy(&j->done);
    scan_close(&j->s); // and with the file the lock
    free(j->buf);
    free(j);
    return bad;
}

// The lock, when there is room for more; who appends faster than the disk writes waits here.
static void lock_with_room(journal *j) {
    pthread_mutex_lock(&j->lock);
    while (j->used > GATHER && !*j->failed) pthread_cond_wait(&j->done, &j->lock);
}

// Gives up the lock. After a failure records are swallowed: their places never become durable.
static uint64_t append_unlock(journal *j, uint32_t kind, const void *data, uint32_t size) {
    uint8_t head[HEAD], hash[32];
    put(head, size);
    put(head + 4, kind);
    link_hash(hash, j->s.chain, head, NULL, 0);
    memcpy(head + 8, hash, 4);
    link_hash(j->s.chain, j->s.chain, head, data, size);
    size_t n = HEAD + size + CHAIN;
    if (!*j->failed) {
        j->buf = make_room(j->buf, &j->room, j->used, j->used + n);
        uint8_t *p = j->buf + j->used;
        memcpy(p, head, HEAD);
        if (size) memcpy(p + HEAD, data, size);
        memcpy(p + HEAD + size, j->s.chain, CHAIN);
        j->used += n;
        pthread_cond_signal(&j->work);
    }
    uint64_t place = j->s.size += n;
    pthread_mutex_unlock(&j->lock);
    return place;
}

uint64_t journal_append(journal *j, journal_kind kind, const void *data, uint32_t size) {
    must(kind > 0 && kind < J_KINDS && size <= JOURNAL_MAX && payload_fits(kind, data, size));
    lock_with_room(j);
    return append_unlock(j, kind, data, size);
}

uint64_t journal_sign(journal *j, const uint8_t secret[64]) {
    uint8_t payload[96];
    lock_with_room(j);
    memcpy(payload, secret + 32, 32);
    crypto_sign_detached(payload + 32, NULL, j->s.chain, 32, secret);
    return append_unlock(j, J_SIGNATURE, payload, sizeof payload);
}

uint64_t journal_durable(journal *j) {
    pthread_mutex_lock(&j->lock);
    uint64_t place = j->durable;
    pthread_mutex_unlock(&j->lock);
    return place;
}

int journal_wait(journal *j, uint64_t place, char err[ERR]) {
    pthread_mutex_lock(&j->lock);
    must(place <= j->s.size);
    while (j->durable < place && !*j->failed) pthread_cond_wait(&j->done, &j->lock);
    int bad = j->durable < place ? fail(err, "%s", j->failed) : 0;
    pthread_mutex_unlock(&j->lock);
    return bad;
}

int journal_failed(journal *j, char err[ERR]) {
    pthread_mutex_lock(&j->lock);
    int bad = *j->failed ? fail(err, "%s", j->failed) : 0;
    pthread_mutex_unlock(&j->lock);
    return bad;
}

uint64_t journal_head(journal *j, uint8_t chain[32]) {
    pthread_mutex_lock(&j->lock);
    memcpy(chain, j->s.chain, 32);
    uint64_t place = j->s.size;
    pthread_mutex_unlock(&j->lock);
    return place;
}

// ---- export

static void put_hex(const uint8_t *p, size_t n, FILE *f) {
    fputc('"', f);
    for (size_t i = 0; i < n; i++) fprintf(f, "%02x", p[i]);
    fputc('"', f);
}

// n words: int32, or pairs of uint32 and int32.
static void put_list(const uint8_t *p, uint64_t n, int pairs, FILE *f) {
    fputc('[', f);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t v = (uint32_t)get(p + 4 * i, 4);
        const char *comma = i ? "," : "", *open = pairs && i % 2 == 0 ? "[" : "";
        fprintf(f, "%s%s%lld%s", comma, open, pairs && i % 2 == 0 ? (long long)v : (int32_t)v,
                pairs && i % 2 ? "]" : "");
    }
    fputc(']', f);
}

// JSON text as it is; other text as a string, or in hex if it is not UTF-8.
static void put_text(const uint8_t *p, size_t n, int json, FILE *f) {
    json_t *v = json ? json_loadb((const char *)p, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!v) v = json_stringn((const char *)p, n);
    if (v) {
        json_dumpf(v, f, JSON_COMPACT | JSON_ENCODE_ANY);
        json_decref(v);
    } else {
        fputs("{\"hex\":", f);
        put_hex(p, n, f);
        fputc('}', f);
    }
}

void journal_json(const journal_record *r, FILE *f) {
    const uint8_t *p = r->data, *end = p + r->size, *list = p;
    for (const char *s = fields[r->kind]; *s; s = next_field(s)) list += width(*s);
    fprintf(f, "{\"record\":%llu,\"at\":%llu,\"kind\":\"%s\",\"size\":%u,\"chain\":",
            (unsigned long long)r->number, (unsigned long long)r->at, journal_kind_name[r->kind],
            r->size);
    put_hex(r->chain, 32, f);
    for (const char *s = fields[r->kind]; *s; p += width(*s), s = next_field(s)) {
        uint64_t v = strchr("hHpsj", *s) ? 0 : get(p, (int)width(*s));
        double x = (double)num_float((uint32_t)v);
        fprintf(f, ",\"%.*s\":", (int)strcspn(s, " ") - 1, s + 1);
        switch (*s) {
        case 'U':
        case 'u': fprintf(f, "%llu", (unsigned long long)v); break;
        case 'I': fprintf(f, "%lld", (long long)v); break;
        case 'i': fprintf(f, "%d", (int32_t)v); break;
        case 'f': fprintf(f, x - x == 0 ? "%.9g" : "\"%g\"", x); break;
        case 'n':
            put_list(list, v, 0, f);
            list += 4 * v;
            break;
        case 'p': put_list(p, (uint64_t)(end - p) / 4, 1, f); break;
        case 's':
        case 'j': put_text(p, (size_t)(end - p), *s == 'j', f); break;
        default: put_hex(p, width(*s), f);
        }
    }
    fputs("}\n", f);
}

// Qualities passed of an answer, on average.
static double mean_passed(const journal_record *r) {
    uint64_t skills = get(r->data + 16, 4), words = get(r->data + 20, 4), passed = 0;
    for (uint64_t i = 1; i < words; i += 3)
        passed +=
            (uint64_t)__builtin_popcountll(get(r->data + J_REWARD_HEAD + 4 * (skills + i), 4));
    return words < 3 ? 0 : (double)passed / (double)(words / 3);
}

void journal_describe(const journal_record *r, char what[96]) {
    const uint8_t *p = r->data;
    unsigned long long version = r->size < 16 ? 0 : get(p + 8, 8); // or the id
    int text = (int)(r->size < 95 ? r->size : 95);
    double targets = r->kind == J_UPDATE ? (double)get(p + 32, 4) : 1;
    switch (r->kind) {
    case J_REQUEST:
        snprintf(what, 96, "id %llu, prompt of %d, at most %d tokens", version,
                 (int32_t)get(p + 52, 4), (int32_t)get(p + 48, 4));
        break;
    case J_CANCEL: snprintf(what, 96, "id %llu", version); break;
    case J_FEEDBACK:
        snprintf(what, 96, "id %llu, prompt of %d, answer of %d tokens, weight %.3g", version,
                 (int32_t)get(p + 20, 4), (int32_t)get(p + 24, 4),
                 (double)num_float((uint32_t)get(p + 16, 4)));
        break;
    case J_TOKENS:
    case J_ROLLOUT:
        snprintf(what, 96, "version %llu, %u tokens", version, (r->size - 16) / 8);
        break;
    case J_UPDATE:
        snprintf(what, 96, "version %llu, loss %.4f, norm %.3g", version,
                 (double)(int64_t)get(p + 24, 8) * 0x1p-36 / (targets > 0 ? targets : 1),
                 (double)num_float((uint32_t)get(p + 36, 4)));
        break;
    case J_REWARD:
        snprintf(what, 96, "version %llu, %u answers, %.2f qualities each", version,
                 (uint32_t)get(p + 20, 4) / 3, mean_passed(r));
        break;
    case J_SNAPSHOT:
        snprintf(what, 96, "version %llu, %.*s", version, (int)r->size - 48, p + 48);
        break;
    case J_SIGNATURE: snprintf(what, 96, "by key %08llx", (unsigned long long)get(p, 4)); break;
    default: snprintf(what, 96, "%.*s", text, (const char *)p);
    }
    for (char *c = what; *c; c++)
        if (*c < 32 || *c > 126) *c = '?';
}

// ---- keys

static int save_key(const char *path, const uint8_t *key, size_t size, int mode, char err[ERR]) {
    char hex[129];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return fail(err, "%.300s: %s", path, strerror(errno));
    sodium_bin2hex(hex, sizeof hex, key, size);
    int bad =
        dprintf(fd, "%s\n", hex) != (int)(2 * size + 1) || fsync(fd) || tensor_sync_name(path);
    int why = errno;
    sodium_memzero(hex, sizeof hex);
    close(fd);
    if (!bad) return 0;
    unlink(path);
    return fail(err, "%.300s: %s", path, strerror(why));
}

int journal_keygen(const char *path, char err[ERR]) {
    uint8_t public[32], secret[64];
    char pub[4096];
    must(sodium_init() >= 0);
    crypto_sign_keypair(public, secret);
    if ((size_t)snprintf(pub, sizeof pub, "%s.pub", path) >= sizeof pub)
        return fail(err, "%.300s: the name is too long", path);
    int bad = save_key(pub, public, 32, 0666, err);
    if (!bad && (bad = save_key(path, secret, 64, 0600, err))) unlink(pub);
    sodium_memzero(secret, sizeof secret);
    return bad;
}

int journal_key(const char *path, uint8_t *key, size_t size, char err[ERR]) {
    char hex[132];
    FILE *f = fopen(path, "r");
    if (!f) return fail(err, "%.300s: %s", path, strerror(errno));
    size_t n = fread(hex, 1, sizeof hex, f), got = 0;
    const char *end = hex;
    fclose(f);
    int bad = sodium_hex2bin(key, size, hex, n, NULL, &got, &end) || got != size ||
              (end != hex + n && (*end != '\n' || end + 1 != hex + n));
    sodium_memzero(hex, sizeof hex);
    return bad ? fail(err, "%.300s: expected a key of %zu hex digits", path, 2 * size) : 0;
}
