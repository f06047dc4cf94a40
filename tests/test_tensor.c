// test_tensor.c - the safetensors reader and writer against vectors/tensor.txt, and what a file
// system can do to them. Run in the repository's root: test_tensor [VECTORS]. tests/tensor.py uses
// two more forms: test_tensor list PATH, test_tensor copy PATH NEW.
#include "tensor.h"
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int passed, failed;
static char dir[] = "/tmp/assay-tensor-XXXXXX"; // all test files live here

static void check(int ok, const char *what, const char *found) {
    if (ok)
        passed++;
    else
        failed++;
    printf("%s tensor: %s%s%s\n", ok ? "ok" : "FAIL", what, ok ? "" : ": ", ok ? "" : found);
}

static char *in_dir(const char *name) {
    static char path[16][256]; // good for the next 15 calls
    static int i;
    char *p = path[i++ % 16];
    must(snprintf(p, 256, "%s/%s", dir, name) < 256);
    return p;
}

// Removes what stands in path, and path too when `self`; counts what it removed below path.
static int clear(const char *path, int self) {
    DIR *d = opendir(path);
    int n = 0;
    struct dirent *e;
    while (d && (e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        char *p;
        must(asprintf(&p, "%s/%s", path, e->d_name) >= 0);
        clear(p, 1);
        free(p);
        n++;
    }
    if (d) closedir(d);
    if (self) remove(path);
    return n;
}

static void put_escaped(FILE *f, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (s[i] == '\\' && s[i + 1] == 'x') {
            fputc((int)strtol((char[]){s[i + 2], s[i + 3], 0}, NULL, 16), f);
            i += 3;
        } else {
            fputc(s[i], f);
        }
}

// Makes the files of a recipe in `dir` (the grammar stands in vectors/gen/tensor.py).
// Returns the path to open: the folder, or its only file.
static char *make(char *recipe) {
    char *path = in_dir("file"), *save = NULL;
    FILE *f = NULL;
    for (char *tok = strtok_r(recipe, " ", &save); tok; tok = strtok_r(NULL, " ", &save)) {
        if (*tok == '@') {
            if (f) fclose(f);
            f = fopen(in_dir(tok + 1), "wb");
            path = dir;
            continue;
        }
        if (!f) must(f = fopen(path, "wb"));
        if (*tok == 'n') {
            uint64_t n = strtoull(tok + 1, NULL, 10);
            fwrite(&n, 8, 1, f);
        } else if (*tok == 'p') {
            char *text;
            long n = strtol(tok + 1, &text, 10);
            char *one;
            size_t size;
            FILE *m = open_memstream(&one, &size);
            put_escaped(m, text + 1, strlen(text + 1));
            fclose(m);
            for (long i = 0; i < n; i++) fwrite_unlocked(one, 1, size, f);
            free(one);
        } else {
            put_escaped(f, tok + 1, strlen(tok + 1));
        }
    }
    must(f && fclose(f) == 0);
    return path;
}

// The set as the vectors write it: ok NAME:TYPE:AxB:HEX ...
static char *listing(const tensor_set *s) {
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    fprintf(f, "ok");
    for (int i = 0; i < s->n; i++) {
        const tensor *t = &s->t[i];
        fputc(' ', f);
        for (const char *c = t->name; *c; c++)
            fprintf(f, *c > ' ' && *c <= '~' && *c != '\\' && *c != '|' ? "%c" : "\\x%02x",
                    (uint8_t)*c);
        fprintf(f, ":%s:", tensor_type_name(t->type));
        for (int d = 0; d < t->dims; d++) fprintf(f, "%s%ld", d ? "x" : "", t->dim[d]);
        fputc(':', f);
        for (int64_t k = 0; k < t->bytes; k++) fprintf(f, "%02x", ((const uint8_t *)t->data)[k]);
    }
    fclose(f);
    return text;
}

// A set and its order in the first file, as the header gives it.
typedef struct {
    tensor t;
    int64_t begin;
} placed;

static int by_begin(const void *a, const void *b) {
    const placed *s = a, *t = b;
    return s->begin != t->begin ? (s->begin > t->begin) - (s->begin < t->begin)
                                : (s->t.bytes > t->t.bytes) - (s->t.bytes < t->t.bytes);
}

// Writes a set of one file again, in the order of its data and in pieces of `piece` bytes.
static int copy(const tensor_set *s, const char *path, int64_t piece, char err[ERR]) {
    placed *order = must_alloc((size_t)s->n, sizeof *order);
    tensor *plan = must_alloc((size_t)s->n, sizeof *plan);
    const char *meta[16][2], *key;
    json_t *v;
    int metas = 0;
    for (int i = 0; i < s->n; i++) {
        json_t *entry = json_object_get(s->file[0].head, s->t[i].name);
        order[i].t = s->t[i];
        order[i].begin =
            json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 0));
    }
    qsort(order, (size_t)s->n, sizeof *order, by_begin);
    for (int i = 0; i < s->n; i++) plan[i] = order[i].t;
    json_object_foreach(json_object_get(s->file[0].head, "__metadata__"), key, v) {
        meta[metas][0] = key;
        meta[metas++][1] = tensor_meta(s, key);
    }
    tensor_writer w;
    int bad = tensor_write_open(&w, path, plan, s->n, meta, metas, err);
    for (int i = 0; i < s->n && !bad; i++)
        for (int64_t at = 0; at < plan[i].bytes && !bad; at += piece) {
            int64_t n = plan[i].bytes - at < piece ? plan[i].bytes - at : piece;
            bad = tensor_write(&w, (const char *)plan[i].data + at, n, err);
        }
    free(order);
    free(plan);
    return bad ? bad : tensor_write_close(&w, err);
}

static int same_files(const char *a, const char *b) {
    FILE *f = fopen(a, "rb"), *g = fopen(b, "rb");
    int c = 0, d = 0;
    while (f && g && c == d && c != EOF) c = fgetc(f), d = fgetc(g);
    if (f) fclose(f);
    if (g) fclose(g);
    return f && g && c == d;
}

static int aligned(const tensor_set *s) {
    for (int i = 0; i < s->n; i++)
        if ((uintptr_t)s->t[i].data % (uintptr_t)tensor_type_size(s->t[i].type)) return 0;
    return 1;
}

// Every prefix of the file is refused.
static int prefixes(const char *path) {
    struct stat st;
    char err[ERR];
    tensor_set s;
    must(stat(path, &st) == 0);
    for (off_t n = st.st_size - 1; n >= 0; n--) {
        must(truncate(path, n) == 0);
        if (tensor_open(&s, path, err) == 0) return 0;
    }
    return 1;
}

static void one_vector(char *line) {
    char *field[5] = {line}, err[ERR] = "", found[2 * ERR] = "";
    for (int i = 1; i < 5; i++) {
        field[i] = strstr(field[i - 1], " | ");
        must(field[i]);
        *field[i] = 0;
        field[i] += 3;
    }
    const char *id = field[0], *flags = field[2], *want = field[4];
    tensor_set s;
    clear(dir, 0);
    char *path = make(field[3]);
    int bad = tensor_open(&s, path, err), ok;
    if (bad) {
        ok = !strncmp(want, "err ", 4) && strstr(err, want + 4) && !strchr(err, '\n') &&
             !strncmp(err, dir, strlen(dir));
        snprintf(found, sizeof found, "%s", err);
    } else {
        char *text = listing(&s), *new = in_dir("new");
        ok = !strcmp(text, want) && aligned(&s);
        snprintf(found, sizeof found, "%.900s", text);
        for (int64_t piece = 1; strstr(flags, "write") && piece < 1000 && ok; piece *= 7) {
            ok = !copy(&s, new, piece, err) && same_files(path, new);
            snprintf(found, sizeof found, "our writer gives another file (%s)", err);
        }
        for (int i = 0; i < s.n && ok; i++) ok = tensor_find(&s, s.t[i].name) == &s.t[i];
        if (tensor_find(&s, "no such tensor")) ok = 0;
        free(text);
        tensor_close(&s);
    }
    check(ok, id, found);
    if (strstr(flags, "truncate")) check(prefixes(path), "every prefix of plain is refused", "");
}

static void vectors(const char *path) {
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    int n = 0;
    while (f && getline(&line, &size, f) > 0) {
        line[strcspn(line, "\n")] = 0;
        if (*line == '#') continue;
        one_vector(line);
        n++;
    }
    if (f) fclose(f);
    free(line);
    check(n > 0, "the vectors are there", path);
}

static void expect(const char *what, int bad, const char *err, const char *part) {
    check(bad && strstr(err, part), what, bad ? err : "no error");
}

// Things that a recipe cannot say.
static void places(void) {
    tensor_set s;
    char err[ERR] = "", *p = in_dir("thing");
    clear(dir, 0);
    expect("nothing there", tensor_open(&s, p, err), err, "thing: No such file or directory");
    expect("empty folder", tensor_open(&s, dir, err), err, "or a folder with model.safetensors");
    expect("device", tensor_open(&s, "/dev/zero", err), err,
           "/dev/zero: expected a file of 8 bytes");
    must(mkfifo(p, 0600) == 0);
    expect("named pipe, without waiting", tensor_open(&s, p, err), err, "a file of 8 bytes");
    unlink(p);
    must(mkdir(in_dir("model.safetensors"), 0700) == 0);
    expect("a folder where the file should be", tensor_open(&s, dir, err), err,
           "model.safetensors: expected a file of 8 bytes");
    clear(dir, 0);
    must(symlink("model.safetensors", in_dir("model.safetensors")) == 0);
    expect("a link to itself", tensor_open(&s, in_dir("model.safetensors"), err), err,
           "symbolic links");
    clear(dir, 0);
    fclose(fopen(p, "wb"));
    must(chmod(p, 0) == 0);
    must(chmod(dir, 0755) == 0 && (geteuid() || seteuid(65534) == 0)); // root reads everything
    expect("unreadable", tensor_open(&s, p, err), err, "Permission denied");
    must(seteuid(getuid()) == 0);
    char *deep = must_alloc(5000, 1);
    memset(deep, 'x', 4999);
    expect("a path too long", tensor_open(&s, deep, err), err, "xxx");
    free(deep);
}

// A file of 2^33 bytes and some, sparse: 64-bit places.
static void big(void) {
    tensor_set s;
    char err[ERR] = "", *p = in_dir("big"), head[256];
    int64_t n = ((int64_t)1 << 33) + 2;
    clear(dir, 0);
    FILE *f = fopen(p, "wb");
    int len = snprintf(head, sizeof head,
                       "{\"a\":{\"dtype\":\"U8\",\"shape\":[%ld],\"data_offsets\":[0,%ld]},"
                       "\"b\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[%ld,%ld]}}",
                       n, n, n, n + 2);
    uint64_t size = (uint64_t)len;
    fwrite(&size, 8, 1, f);
    fwrite(head, 1, size, f);
    int sparse = !fflush(f) && !ftruncate(fileno(f), 8 + len + n + 2) &&
                 pwrite(fileno(f), "\x80\x3f", 2, 8 + len + n) == 2;
    fclose(f);
    if (!sparse) {
        puts("not run: tensor: 8 GB sparse file: the file system refuses it");
        return;
    }
    float x = 0;
    int bad = tensor_open(&s, p, err);
    if (!bad) tensor_to_f32(tensor_find(&s, "b"), 0, 1, &x);
    check(!bad && x == 1 && tensor_find(&s, "a")->bytes == n, "a file of more than 8 GB", err);
    if (!bad) tensor_close(&s);
}

static void widen(void) {
    float f[3] = {1.5f, -2, 1e-45f}, out[3];
    uint16_t h[3] = {0x3c00, 0x8001, 0x7bff}, b[3] = {0x3f80, 0xc000, 0x0001};
    uint32_t bits[3];
    tensor t = {.type = T_F32, .dims = 1, .dim = {3}, .data = f, .bytes = 12};
    tensor_to_f32(&t, 1, 2, out);
    check(out[0] == -2 && out[1] == 1e-45f, "to_f32 of F32", "");
    t = (tensor){.type = T_F16, .dims = 1, .dim = {3}, .data = h, .bytes = 6};
    tensor_to_f32(&t, 0, 3, out);
    check(out[0] == 1 && out[1] == -0x1p-24f && out[2] == 65504, "to_f32 of F16", "");
    t = (tensor){.type = T_BF16, .dims = 1, .dim = {3}, .data = b, .bytes = 6};
    tensor_to_f32(&t, 0, 3, out);
    memcpy(bits, out, sizeof bits);
    check(out[0] == 1 && out[1] == -2 && bits[2] == 0x10000, "to_f32 of BF16", "");
    tensor_to_f32(&t, 3, 0, out); // nothing, at the end: allowed
    const int64_t wrong[][2] = {{-1, 1}, {0, -1}, {3, 1}, {1, INT64_MAX}, {INT64_MAX, 1}, {0, 4}};
    int stopped = 0, status;
    for (int i = 0; i < 6; i++) {
        fflush(stdout);
        if (fork() == 0) {
            fclose(stderr);
            tensor_to_f32(&t, wrong[i][0], wrong[i][1], out);
            _exit(0);
        }
        stopped += wait(&status) > 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    }
    check(stopped == 6, "to_f32 outside the tensor stops the program", "");
}

static const tensor *plan_u8(const char *name, int64_t n) {
    static tensor t[2];
    t[0] = (tensor){.name = name, .type = T_U8, .dims = 1, .dim = {n}};
    t[1] = (tensor){.name = "second", .type = T_F32, .dims = 0};
    return t;
}

static void expect_gone(const char *what, int bad, const char *err, const char *part) {
    expect(what, bad, err, part);
    check(clear(dir, 0) == 0, what, "a file was left behind");
}

static void writer(void) {
    tensor_writer w;
    char err[ERR] = "", *p = in_dir("out"), *data = must_alloc(1 << 16, 1);
    struct rlimit no = {4096, RLIM_INFINITY}, any = {RLIM_INFINITY, RLIM_INFINITY};
    clear(dir, 0);
    must(!tensor_write_open(&w, p, plan_u8("a", 10), 2, NULL, 0, err));
    check(access(p, F_OK) != 0, "nothing under the name before the end", "");
    must(!tensor_write(&w, data, 13, err)); // across the two tensors
    expect_gone("a byte is missing", tensor_write_close(&w, err), err, "out.part: fewer bytes");
    must(!tensor_write_open(&w, p, plan_u8("a", 10), 2, NULL, 0, err));
    expect_gone("a byte too many", tensor_write(&w, data, 15, err), err, "more bytes");
    tensor_write_abort(&w); // harmless
    must(!tensor_write_open(&w, p, plan_u8("a", 10), 2, NULL, 0, err));
    tensor_write_abort(&w);
    check(clear(dir, 0) == 0, "abort leaves no file", "");
    expect_gone("a name twice", tensor_write_open(&w, p, plan_u8("second", 1), 2, NULL, 0, err),
                err, "names that differ");
    expect_gone("a name not UTF-8", tensor_write_open(&w, p, plan_u8("\xff", 1), 2, NULL, 0, err),
                err, "UTF-8");
    expect_gone("the reserved name",
                tensor_write_open(&w, p, plan_u8("__metadata__", 1), 2, NULL, 0, err), err,
                "names that differ");
    const char *const twice[][2] = {{"k", "1"}, {"k", "2"}}, *const odd[][2] = {{"k", "\xff"}};
    expect_gone("a metadata key twice", tensor_write_open(&w, p, plan_u8("a", 1), 2, twice, 2, err),
                err, "differ");
    expect_gone("metadata not UTF-8", tensor_write_open(&w, p, plan_u8("a", 1), 2, odd, 1, err),
                err, "UTF-8");
    expect_gone("no such folder",
                tensor_write_open(&w, in_dir("none/out"), plan_u8("a", 1), 2, NULL, 0, err), err,
                "none/out.part: No such file or directory");
    must(mkdir(p, 0700) == 0);
    must(!tensor_write_open(&w, p, plan_u8("a", 10), 2, NULL, 0, err));
    must(!tensor_write(&w, data, 14, err));
    int bad = tensor_write_close(&w, err);
    check(rmdir(p) == 0, "the folder in the way is left alone", strerror(errno));
    expect_gone("a folder in the way", bad, err, "out.part: Is a directory");

    signal(SIGXFSZ, SIG_IGN); // a limit on file size acts like a full disk
    setrlimit(RLIMIT_FSIZE, &no);
    bad = tensor_write_open(&w, p, plan_u8("a", 1 << 16), 2, NULL, 0, err);
    setrlimit(RLIMIT_FSIZE, &any);
    expect_gone("no room, at the start", bad, err, "out.part: File too large");
    must(!tensor_write_open(&w, p, plan_u8("a", 1 << 16), 2, NULL, 0, err));
    setrlimit(RLIMIT_FSIZE, &no);
    bad = tensor_write(&w, data, 1 << 16, err);
    setrlimit(RLIMIT_FSIZE, &any);
    expect_gone("no room, in a large write", bad, err, "out.part: File too large");
    must(!tensor_write_open(&w, p, plan_u8("a", 5000), 2, NULL, 0, err));
    setrlimit(RLIMIT_FSIZE, &no);
    for (int i = bad = 0; i < 5004 && !bad; i++) bad = tensor_write(&w, data, 1, err);
    if (!bad) bad = tensor_write_close(&w, err);
    setrlimit(RLIMIT_FSIZE, &any);
    expect_gone("no room, in small writes", bad, err, "out.part: File too large");

    if (mount("none", dir, "tmpfs", 0, "size=64k")) {
        printf("not run: tensor: full disk: mount: %s\n", strerror(errno));
    } else {
        bad = tensor_write_open(&w, p, plan_u8("a", 1 << 20), 2, NULL, 0, err);
        expect_gone("full disk", bad, err, "out.part: No space left on device");
        umount2(dir, MNT_DETACH);
    }
    free(data);
}

// A second run over the same file: what was there is replaced only by what is complete.
static void replace(void) {
    tensor_writer w;
    tensor_set s;
    char err[ERR] = "", *p = in_dir("out");
    clear(dir, 0);
    const char *const meta[][2] = {{"format", "tq4"}, {"note", "a/b \"c\" \n"}};
    for (int i = 0; i < 2; i++) {
        must(!tensor_write_open(&w, p, plan_u8("a", 4), 2, meta, 2, err));
        must(!tensor_write(&w, i ? "\5\6\7\10\0\0\0\0" : "\1\2\3\4\0\0\0\0", 8, err));
        if (i)
            tensor_write_abort(&w);
        else
            must(!tensor_write_close(&w, err));
    }
    int bad = tensor_open(&s, p, err);
    check(!bad && !memcmp(tensor_find(&s, "a")->data, "\1\2\3\4", 4),
          "an aborted run changes nothing", err);
    if (bad) return;
    const char *note = tensor_meta(&s, "note");
    check(note && !strcmp(note, meta[1][1]) && !tensor_meta(&s, "absent"), "metadata", "");
    tensor_close(&s);
}

int main(int argc, char **argv) {
    char err[ERR] = "";
    tensor_set s;
    if (argc >= 3 && (!strcmp(argv[1], "list") || !strcmp(argv[1], "copy"))) {
        if (tensor_open(&s, argv[2], err)) return puts(err), 1;
        char *text = listing(&s);
        if (argc == 3) puts(text);
        free(text);
        if (argc > 3 && copy(&s, argv[3], 1000, err)) return puts(err), 1;
        tensor_close(&s);
        return 0;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    must(mkdtemp(dir));
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    vectors(argc > 1 ? argv[1] : "vectors/tensor.txt");
    clock_gettime(CLOCK_MONOTONIC, &b);
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("# all vectors: %ld s, at most %ld MB\n", b.tv_sec - a.tv_sec, use.ru_maxrss / 1024);
    places();
    big();
    widen();
    writer();
    replace();
    clear(dir, 1);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
