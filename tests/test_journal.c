// test_journal.c - the journal against vectors/journal.txt; every bit flipped, every length; kills,
// full disks, a disk that fails, two processes. Run in the repository's root: test_journal [VECTORS].
// The calls that reach the disk are replaced by ones below, which can cut, delay and fail them.
// tests/journal.py uses one more form: test_journal sample NEW, which writes what it compares.
#include "journal.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sodium.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int passed, failed;
static char dir[] = "build/journal-XXXXXX", *path; // all files live there; the usual one

static void check(int ok, const char *what, const char *found) {
    if (ok)
        passed++;
    else
        failed++;
    printf("%s journal: %s%s%s\n", ok ? "ok" : "FAIL", what, ok ? "" : ": ", ok ? "" : found);
}

// ---- the disk

static atomic_int syncs, opening_syncs, real, hold, broken, piecewise;
static sem_t entered, gate;

int fdatasync(int fd) {
    syncs++;
    if (hold) {
        sem_post(&entered);
        while (sem_wait(&gate)) continue;
    }
    if (broken == -1) { // once
        broken = 0;
        return errno = EIO, -1;
    }
    if (broken && broken++ > 1) return errno = EIO, -1; // the first is that of the magic
    return real ? (int)syscall(SYS_fdatasync, fd) : 0;
}

int fsync(int fd) {
    opening_syncs++;
    return real ? (int)syscall(SYS_fsync, fd) : 0;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
    if (piecewise) {
        static int turn;
        if (turn++ % 3 == 0) return errno = EINTR, -1;
        if (n > 7 && at) n = 7;
    }
    return syscall(SYS_pwrite64, fd, p, n, at);
}

// ---- files

static void put_file(const char *name, const uint8_t *p, size_t n) {
    FILE *f = fopen(name, "wb");
    must(f && fwrite(p, 1, n, f) == n && !fclose(f));
}

static size_t get_file(const char *name, uint8_t *p, size_t room) {
    FILE *f = fopen(name, "rb");
    must(f);
    size_t n = fread(p, 1, room, f);
    fclose(f);
    return n;
}

static char *in_dir(const char *name) {
    char *p;
    must(asprintf(&p, "%s/%s", dir, name) > 0);
    return p;
}

typedef struct {
    uint64_t n, end;
    uint8_t chain[32];
    uint64_t at[64]; // of the first records
    journal *copy;   // gets the same records, signatures made anew by the secret key
    uint8_t secret[64];
    FILE *json;
} seen;

static int see(void *ctx, const journal_record *r, char err[ERR]) {
    seen *s = ctx;
    (void)err;
    if (s->n < 64) s->at[s->n] = r->at;
    must(r->number == ++s->n && r->end == r->at + 44 + r->size && (!s->end || s->end == r->at));
    s->end = r->end;
    memcpy(s->chain, r->chain, 32);
    if (s->copy && r->kind == J_SIGNATURE)
        journal_sign(s->copy, s->secret);
    else if (s->copy)
        journal_append(s->copy, (journal_kind)r->kind, r->data, r->size);
    char what[96];
    if (s->json) journal_json(r, s->json), journal_describe(r, what);
    return 0;
}

// The first record after a cut: a file that was opened and went on is whole.
static int goes_on(uint64_t records, char err[ERR]) {
    uint64_t torn;
    seen s = {0};
    journal *j = journal_open(path, NULL, NULL, NULL, NULL, err);
    if (!j) return 0;
    uint8_t cancel[16] = {1};
    journal_append(j, J_CANCEL, cancel, 16);
    if (journal_close(j, err) || journal_read(path, see, &s, &torn, err)) return 0;
    snprintf(err, ERR, "%llu records, %llu torn", (unsigned long long)s.n,
             (unsigned long long)torn);
    return s.n == records + 1 && !torn;
}

// ---- golden vectors

static int same_file(const uint8_t *p, size_t n) {
    uint8_t *now = must_alloc(n + 1, 1);
    int same = get_file(path, now, n + 1) == n && !memcmp(now, p, n);
    free(now);
    return same;
}

static void accepted(const char *what, const uint8_t *data, size_t n, int write) {
    char err[ERR] = "", *name = in_dir("copy");
    uint64_t torn;
    seen s = {0};
    uint8_t seed[32], public[32];
    for (int i = 0; i < 32; i++) seed[i] = (uint8_t)i;
    crypto_sign_seed_keypair(public, s.secret, seed);
    if (write) {
        s.copy = journal_create(name, NULL, NULL, err);
        must(s.copy && !journal_read(path, see, &s, &torn, err));
        int bad = journal_close(s.copy, err);
        must(rename(name, path) == 0);
        check(!bad && same_file(data, n), what, "the writer makes other bytes");
    } else
        must(!journal_read(path, see, &s, &torn, err));
    check(goes_on(s.n, err), what, err);
    free(name);
}

static void refused(const char *what, const uint8_t *data, size_t n, const char *line) {
    char err[ERR] = "";
    uint64_t lost, torn;
    seen s = {0};
    journal *j = journal_open(path, NULL, NULL, NULL, NULL, err);
    check(!j && !strcmp(err, line) && same_file(data, n), what, j ? "opened to write" : err);
    if (j) journal_close(j, err);
    int cut = journal_cut(path, &lost, err), magic = strstr(line, "expected a journal") != NULL;
    if (magic)
        check(cut && same_file(data, n), what, "cut, though it is no journal");
    else
        check(!cut && !journal_read(path, see, &s, &torn, err) && !torn && lost > 0 &&
                  (s.end ? s.end : 16) + lost == n && goes_on(s.n, err),
              what, err);
}

static void vectors(const char *name) {
    FILE *f = fopen(name, "r");
    if (!f) check(0, name, "cannot be opened; run this in the repository's root");
    static char line[65536], hex[60000];
    static uint8_t data[30000];
    char id[32], reason[128], flags[32], want[256];
    while (f && fgets(line, sizeof line, f)) {
        char found[2 * ERR], err[ERR] = "", chain[65], what[200];
        size_t n = 0;
        uint64_t torn;
        seen s = {0};
        if (line[0] == '#') continue;
        must(sscanf(line, "%31s | %127[^|]| %31[^|]| %59999s | %255[^\n]", id, reason, flags, hex,
                    want) == 5);
        must(*hex == '-' || !sodium_hex2bin(data, sizeof data, hex, strlen(hex), NULL, &n, NULL));
        put_file(path, data, n);
        crypto_hash_sha256(s.chain, (const uint8_t *)"assay journal 1\n", 16);
        int bad = journal_read(path, see, &s, &torn, err);
        sodium_bin2hex(chain, sizeof chain, s.chain, 32);
        snprintf(found, sizeof found, "ok %llu %llu %s", (unsigned long long)s.n,
                 (unsigned long long)torn, chain);
        if (bad) snprintf(found, sizeof found, "err %s", err + strlen(path) + 2);
        reason[strlen(reason) - 1] = 0;
        snprintf(what, sizeof what, "%s: %s", id, reason);
        check(!strcmp(found, want), what, found);
        if (bad)
            refused(what, data, n, err);
        else
            accepted(what, data, n, strstr(flags, "write") != NULL);
    }
    if (f) fclose(f);
}

// ---- every bit, every length

// A journal with each kind, written by the API: its bytes, [16384].
static size_t sample(const char *name, uint8_t *data) {
    char err[ERR], open[] = "{\"text\":\"\xc3\xa9\"}";
    uint8_t p[128] = {0}, seed[32], public[32], secret[64];
    journal *j = journal_create(name, NULL, NULL, err);
    must(j);
    for (int i = 0; i < 128; i++) p[i] = (uint8_t)(i < 64 ? i : 0);
    for (int i = 0; i < 32; i++) seed[i] = (uint8_t)i;
    memcpy(p + 52, "\2\0\0\0", 4);
    journal_append(j, J_OPEN, open, sizeof open - 1);
    journal_append(j, J_REQUEST, p, 64);
    journal_append(j, J_TOKENS, p, 56);
    journal_append(j, J_CANCEL, p, 16);
    memcpy(p + 20, "\1\0\0\0\2\0\0\0", 8);
    journal_append(j, J_FEEDBACK, p, 40);
    journal_append(j, J_UPDATE, p, 72);
    memcpy(p + 48, "state.1", 7);
    journal_append(j, J_SNAPSHOT, p, 55);
    journal_append(j, J_RESUME, "{}", 2);
    journal_append(j, J_ROLLOUT, p, 24);
    memcpy(p + 16, "\1\0\0\0\3\0\0\0", 8);
    journal_append(j, J_REWARD, p, 40);
    crypto_sign_seed_keypair(public, secret, seed);
    journal_sign(j, secret);
    journal_append(j, J_STOP, "{}", 2);
    must(!journal_close(j, err));
    return get_file(name, data, 16384);
}

static void bits(void) {
    static uint8_t data[16384];
    char err[ERR] = "", want[ERR], missed[ERR] = "";
    unlink(path);
    size_t n = sample(path, data);
    uint64_t torn, wrong = 0;
    seen s = {0};
    must(!journal_read(path, see, &s, &torn, err) && s.n == 12 && s.end == n);
    int fd = open(path, O_WRONLY);
    for (size_t at = 0, k = 0; at < n; at++) {
        if (k < 12 && at == s.at[k]) k++;
        if (k)
            snprintf(want, ERR, "%s: record %zu at byte %llu: the chain does not hold", path, k,
                     (unsigned long long)s.at[k - 1]);
        else
            snprintf(want, ERR, "%s: byte %zu: expected a journal", path, at);
        for (int bit = 0; bit < 8; bit++) {
            uint8_t flipped = (uint8_t)(data[at] ^ 1 << bit);
            must(syscall(SYS_pwrite64, fd, &flipped, 1, at) == 1);
            if (journal_read(path, NULL, NULL, &torn, err) && !strncmp(err, want, strlen(want)))
                continue;
            if (!wrong++) snprintf(missed, ERR, "bit %d of byte %zu: %.300s", bit, at, err);
        }
        must(syscall(SYS_pwrite64, fd, data + at, 1, at) == 1);
    }
    close(fd);
    printf("# %zu bits\n", 8 * n);
    check(!wrong, "each bit of a small journal, flipped, is found and named", missed);
}

static void lengths(void) {
    static uint8_t data[16384], now[16384];
    char err[ERR] = "", missed[ERR] = "";
    unlink(path);
    size_t n = sample(path, data), wrong = 0;
    uint64_t torn;
    seen s = {0};
    must(!journal_read(path, see, &s, &torn, err));
    s.at[12] = n;
    for (size_t cut = 0, whole = 0; cut < n; cut++) {
        while (cut >= s.at[whole + 1]) whole++; // records in front of the cut
        size_t keep = cut < 16 ? 0 : s.at[whole];
        put_file(path, data, cut);
        int ok = !journal_read(path, NULL, NULL, &torn, err) && torn == cut - keep &&
                 get_file(path, now, sizeof now) == cut && goes_on(whole, err) &&
                 get_file(path, now, sizeof now) == (keep ? keep : 16) + 60 &&
                 !memcmp(now, data, keep ? keep : 16);
        if (!ok && !wrong++) snprintf(missed, ERR, "%zu bytes: %.300s", cut, err);
    }
    printf("# %zu lengths\n", n);
    check(!wrong, "cut off at each length: the whole records stay, and it goes on", missed);
}

// ---- group commit

static atomic_int wakes;
static void count_wake(void *ctx) { wakes += *(int *)ctx == 5; }

static void group(void) {
    char err[ERR] = "";
    int five = 5;
    uint8_t cancel[16] = {1}, chain[32];
    uint64_t torn, first, place = 0;
    unlink(path);
    opening_syncs = wakes = 0;
    journal *j = journal_create(path, count_wake, &five, err);
    must(j);
    check(opening_syncs == 2, "a new journal syncs file and folder", "");
    syncs = 0;
    hold = 1;
    first = journal_append(j, J_CANCEL, cancel, 16);
    must(!sem_wait(&entered));
    for (int i = 0; i < 1000; i++) place = journal_append(j, J_CANCEL, cancel, 16);
    check(journal_durable(j) == 16 && journal_head(j, chain) == place && !wakes && first == 76,
          "appending does not wait for the disk; nothing is durable before the sync", "");
    hold = 0;
    must(!sem_post(&gate));
    check(!journal_wait(j, place, err) && journal_durable(j) == place && place == 16 + 1001 * 60,
          "all that was appended becomes durable", err);
    check(syncs == 2, "what gathers while one sync runs is one more sync", "");
    must(!journal_close(j, err));
    check(wakes == 2, "each sync wakes", "");
    opening_syncs = 0;
    seen s = {0};
    j = journal_open(path, see, &s, NULL, NULL, err);
    check(j && opening_syncs == 2 && s.n == 1001 && journal_durable(j) == place &&
              !memcmp(s.chain, chain, 32),
          "an old one syncs too, before what it holds counts as durable", err);
    must(!journal_close(j, err) && !journal_read(path, NULL, NULL, &torn, err) && !torn);
}

static void *append_many(void *ctx) {
    journal *j = ctx;
    char err[ERR];
    uint8_t p[4016] = {0};
    for (uint32_t i = 0; i < 500; i++) {
        uint64_t place = journal_append(j, J_TOKENS, p, 16 + 8 * (i % 500));
        if (i % 50 == 0) must(!journal_wait(j, place, err) && journal_durable(j) >= place);
    }
    return NULL;
}

static void together(void) {
    char err[ERR] = "";
    pthread_t t[4];
    seen s = {0};
    uint64_t torn;
    unlink(path);
    piecewise = 1;
    journal *j = journal_create(path, NULL, NULL, err);
    for (int i = 0; i < 4; i++) must(j && !pthread_create(t + i, NULL, append_many, j));
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    int bad = journal_close(j, err);
    piecewise = 0;
    check(!bad && !journal_read(path, see, &s, &torn, err) && s.n == 2000 && !torn,
          "four threads append; writes are interrupted and cut short", err);
}

// Larger than what gathers in memory: appending waits, and goes on.
static void large(void) {
    char err[ERR] = "";
    uint8_t *p = must_alloc(JOURNAL_MAX, 1);
    seen s = {0};
    uint64_t torn;
    unlink(path);
    journal *j = journal_create(path, NULL, NULL, err);
    for (int i = 0; i < 3; i++) journal_append(j, J_STOP, p, JOURNAL_MAX);
    check(!journal_close(j, err) && !journal_read(path, see, &s, &torn, err) && s.n == 3 &&
              s.end == 16 + 3 * (44 + (uint64_t)JOURNAL_MAX),
          "records of the largest size", err);
    unlink(path);
    free(p);
}

// ---- faults

// Appends until the disk fails, which it must: one line, which stays; then the file goes on.
static void fails(const char *what, const char *why, void (*heal)(void)) {
    char err[ERR] = "", again[ERR] = "", third[ERR] = "", want[ERR];
    uint8_t p[1016] = {0};
    int bad = 0;
    uint64_t torn, place = 0, durable;
    seen s = {0};
    unlink(path);
    journal *j = journal_create(path, NULL, NULL, err);
    must(j);
    for (int i = 0; i < 2000 && !bad; i++) {
        place = journal_append(j, J_TOKENS, p, sizeof p);
        bad = journal_wait(j, place, err);
    }
    snprintf(want, ERR, "%s: %s", path, why);
    check(bad && !strcmp(err, want), what, err);
    durable = journal_durable(j);
    if (heal) heal(); // too late
    place = journal_append(j, J_TOKENS, p, sizeof p);
    check(durable < place && journal_wait(j, place, again) &&
              journal_wait(j, durable, again) == 0 && journal_failed(j, third) &&
              !strcmp(again, err) && !strcmp(third, err) && journal_durable(j) == durable,
          what, "appending after the failure");
    bad = journal_close(j, again);
    check(bad && !strcmp(again, err), what, "closing after the failure");
    bad = journal_read(path, see, &s, &torn, err);
    check(!bad && (s.end ? s.end : 16) >= durable && goes_on(s.n, err), what, err);
}

static void unlimit(void) {
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
}
static void unbreak(void) { broken = 0; }
static void make_room(void) {
    char *fill = in_dir("fill");
    unlink(fill);
    free(fill);
}

// A group gathers while the one before it fails: it is not tried, though the disk would take it now.
static void nothing_after(void) {
    char err[ERR] = "", again[ERR] = "";
    uint8_t cancel[16] = {1};
    unlink(path);
    journal *j = journal_create(path, NULL, NULL, err);
    must(j);
    syncs = 0;
    hold = 1;
    broken = -1;
    journal_append(j, J_CANCEL, cancel, 16);
    must(!sem_wait(&entered));
    uint64_t place = journal_append(j, J_CANCEL, cancel, 16);
    hold = 0;
    must(!sem_post(&gate));
    check(journal_wait(j, place, err) && strstr(err, "Input/output error") &&
              journal_durable(j) == 16,
          "what gathered behind a group that failed fails too", err);
    check(journal_close(j, again) && !strcmp(again, err) && syncs == 1,
          "no sync is tried after one that failed", again);
}

static void disks(void) {
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){50000, RLIM_INFINITY});
    fails("a file that may not grow", "File too large", unlimit);
    broken = 1;
    fails("a sync that fails", "Input/output error", unbreak);
    nothing_after();
    if (mount("none", dir, "tmpfs", 0, "size=128k")) {
        printf("not run: journal: full disk: mount: %s\n", strerror(errno));
        return;
    }
    char *fill = in_dir("fill"), err[ERR] = "";
    put_file(fill, (uint8_t[4096]){0}, 4096);
    fails("a full disk", "No space left on device", make_room);
    unlink(path);
    FILE *f = fopen(fill, "w");
    while (!fflush(f) && fputc(0, f) != EOF) continue;
    fclose(f);
    journal *j = journal_create(path, NULL, NULL, err);
    check(!j && strstr(err, "No space left on device") && access(path, F_OK),
          "a full disk: no journal begins, and no file is left", err);
    umount2(dir, MNT_DETACH);
    free(fill);
}

static void expect(const char *what, journal *j, const char *err, const char *want) {
    check(!j && strstr(err, want) && !strchr(err, '\n'), what, j ? "opened" : err);
}

static void places(void) {
    char err[ERR] = "", *none = in_dir("none/file"), *pipe_name = in_dir("pipe");
    uint64_t torn, lost;
    unlink(path);
    journal *j = journal_create(path, NULL, NULL, err);
    must(j);
    expect("a journal that is there", journal_create(path, NULL, NULL, err), err, "File exists");
    expect("open twice", journal_open(path, NULL, NULL, NULL, NULL, err), err,
           "another process has it open");
    fflush(stdout);
    pid_t child = fork();
    if (!child)
        _exit(journal_open(path, NULL, NULL, NULL, NULL, err) != NULL ||
              !strstr(err, "another process has it open"));
    int status;
    waitpid(child, &status, 0);
    check(status == 0, "open in two processes", "opened, or another message");
    check(journal_cut(path, &lost, err) && strstr(err, "another process"), "no cut in use", err);
    check(!journal_read(path, NULL, NULL, &torn, err), "reading needs no lock", err);
    must(!journal_close(j, err) && (j = journal_open(path, NULL, NULL, NULL, NULL, err)) != NULL);
    check(!journal_close(j, err), "closing gives the lock up", err);
    expect("no such file", journal_open(none, NULL, NULL, NULL, NULL, err), err, "No such file");
    expect("a folder", journal_open(dir, NULL, NULL, NULL, NULL, err), err, "Is a directory");
    check(journal_read(dir, NULL, NULL, &torn, err) && strstr(err, "expected a journal"),
          "reading a folder", err);
    must(!mkfifo(pipe_name, 0600));
    check(journal_read(pipe_name, NULL, NULL, &torn, err) && strstr(err, "expected a journal"),
          "a pipe is not waited for", err);
    unlink(path);
    must(chmod(dir, 0555) == 0 && (geteuid() || seteuid(65534) == 0)); // root may write anywhere
    expect("a folder that cannot be written", journal_create(path, NULL, NULL, err), err,
           "Permission denied");
    must(seteuid(getuid()) == 0 && chmod(dir, 0755) == 0);
    unlink(pipe_name);
    free(none);
    free(pipe_name);
}

static int refuse_third(void *ctx, const journal_record *r, char err[ERR]) {
    (void)ctx;
    return r->number == 3 ? fail(err, "no third") : 0;
}

static void callers(void) {
    static uint8_t data[16384];
    char err[ERR] = "";
    uint64_t torn;
    unlink(path);
    size_t n = sample(path, data);
    int bad = journal_read(path, refuse_third, NULL, &torn, err);
    check(bad && !strcmp(err, "no third"), "a reader may end the reading", err);
    expect("a reader may refuse", journal_open(path, refuse_third, NULL, NULL, NULL, err), err,
           "no third");
    check(same_file(data, n), "a journal that was refused is unchanged", "");
    int status, stopped = 0;
    for (int i = 0; i < 4; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            fclose(stderr);
            journal *j = journal_open(path, NULL, NULL, NULL, NULL, err);
            if (i == 0) journal_append(j, (journal_kind)0, "", 0);
            if (i == 1) journal_append(j, J_KINDS, "", 0);
            if (i == 2) journal_append(j, J_CANCEL, "too short", 9);
            if (i == 3) journal_wait(j, 1 << 20, err);
            _exit(0);
        }
        waitpid(child, &status, 0);
        stopped += WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    }
    check(stopped == 4, "what no caller may do stops the program", "");
}

// ---- kills

static int count_turn(void *ctx, const journal_record *r, char err[ERR]) {
    uint64_t *turn = ctx, found;
    memcpy(&found, r->data, 8);
    if (found != *turn) return fail(err, "turn %llu", (unsigned long long)found);
    return ++*turn, 0;
}

// Goes on with the journal, and says each place that is durable, until it is killed.
static void write_until_killed(int to, unsigned seed) {
    char err[ERR];
    uint8_t p[4016] = {0};
    uint64_t turn = 0, place;
    journal *j = journal_open(path, count_turn, &turn, NULL, NULL, err);
    real = seed % 4 == 0;
    piecewise = seed % 4 == 1; // else it is memory that a kill leaves alone
    for (; j; turn++) {
        seed = seed * 1664525 + 1013904223;
        memcpy(p, &turn, 8);
        place = journal_append(j, J_TOKENS, p, 16 + (seed >> 20 & 255) * 8);
        if (seed >> 28 == 0 && (journal_wait(j, place, err) || write(to, &place, 8) != 8)) break;
        place = journal_durable(j);
        if (write(to, &place, 8) != 8) break;
    }
    _exit(1);
}

static void kills(void) {
    char err[ERR] = "", missed[ERR] = "";
    int lost = 0, broken_off = 0, acknowledged = 0;
    uint64_t place, torn, turn = 0;
    unlink(path);
    journal *j = journal_create(path, NULL, NULL, err);
    must(j && !journal_close(j, err));
    for (unsigned i = 0; i < 200; i++) {
        int ends[2], status;
        seen s = {0};
        must(!pipe(ends));
        fflush(stdout);
        pid_t child = fork();
        if (!child) write_until_killed(ends[1], i);
        close(ends[1]);
        place = 0;
        usleep(i * 7919 % 9000);
        if (i % 2) // no child is quicker than the test: some kills come after a place is durable
            must(read(ends[0], &place, 8) == 8);
        kill(child, SIGKILL);
        for (uint64_t next; read(ends[0], &next, 8) == 8;) place = next > place ? next : place;
        close(ends[0]);
        waitpid(child, &status, 0);
        must(WIFSIGNALED(status));
        turn = 0;
        if (journal_read(path, count_turn, &turn, &torn, err) ||
            journal_read(path, see, &s, &torn, err) || (s.end ? s.end : 16) < place) {
            if (!lost++)
                snprintf(missed, ERR, "kill %u: durable %llu, whole %llu: %.200s", i,
                         (unsigned long long)place, (unsigned long long)s.end, err);
        }
        broken_off += torn > 0, acknowledged += place > 16;
    }
    printf("# 200 kills: %d after a place was durable, %d left a torn tail, %llu records\n",
           acknowledged, broken_off, (unsigned long long)turn);
    check(!lost && acknowledged >= 100, "200 kills lose nothing that was durable", missed);
}

int main(int argc, char **argv) {
    static uint8_t data[16384];
    must(sodium_init() >= 0);
    if (argc == 3 && !strcmp(argv[1], "sample")) return !sample(argv[2], data);
    alarm(500); // what waits for a sync that never comes would wait for ever
    setvbuf(stdout, NULL, _IOLBF, 0);
    must(!mkdir("build", 0777) || errno == EEXIST);
    must(mkdtemp(dir) && !chmod(dir, 0755) && !sem_init(&entered, 0, 0) && !sem_init(&gate, 0, 0));
    path = in_dir("file");
    vectors(argc > 1 ? argv[1] : "vectors/journal.txt");
    bits();
    lengths();
    group();
    together();
    large();
    callers();
    places();
    disks();
    kills();
    unlink(path);
    rmdir(dir);
    free(path);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
