// tensor.c - reads and writes safetensors files; see tensor.h.
//
// A file is: the header's length (8 bytes, little-endian), the header (JSON, padded with spaces),
// the data. The header maps a name to {"dtype", "shape", "data_offsets": [begin, end]}, offsets
// counted from the start of the data, and "__metadata__" to an object of strings. The spans fill
// the data without gap or overlap. Every number of a header is hostile until it is checked here.
#include "tensor.h"
#include "num.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Bytes of JSON that are parsed at most: room for 250,000 tensors in one file.
enum { HEADER_MAX = 1 << 25 };

static const struct {
    const char *name;
    int64_t size; // bytes of an element
} types[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I8", 1},      {"U8", 1},
             {"F64", 8}, {"I64", 8}, {"U64", 8},  {"I32", 4},     {"U32", 4},
             {"I16", 2}, {"U16", 2}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
enum { TYPES = sizeof types / sizeof *types };

int64_t tensor_type_size(tensor_type type) { return types[type].size; }

const char *tensor_type_name(tensor_type type) { return types[type].name; }

// Maps DIR/NAME (DIR alone when name is NULL) and parses its JSON: the header behind an 8-byte
// length, or, of an index, all of the file.
static int open_file(tensor_file *f, const char *dir, const char *name, int index, char err[ERR]) {
    json_error_t e;
    struct stat st;
    must(asprintf(&f->path, "%s%s%s", dir, name ? "/" : "", name ? name : "") >= 0);
    // O_NONBLOCK: a named pipe must not hang us. It has no bytes, and a folder cannot be mapped.
    int fd = open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return fail(err, "%s: %s", f->path, strerror(errno));
    if (!fstat(fd, &st)) f->bytes = st.st_size;
    f->map = mmap(NULL, (size_t)f->bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (f->bytes < 8 || f->map == MAP_FAILED)
        return fail(err,
                    "%s: expected a file of 8 bytes or more, or a folder with model.safetensors",
                    f->path);
    uint64_t n = (uint64_t)f->bytes;
    if (!index) memcpy(&n, f->map, 8);
    f->data = index ? 0 : 8;
    if (n > HEADER_MAX || (int64_t)n > f->bytes - f->data)
        return fail(err, "%s: byte 0: %lu bytes of JSON; the file has %ld, and %d is the limit",
                    f->path, n, f->bytes - f->data, HEADER_MAX);
    const char *text = (const char *)f->map + f->data;
    if (n == 0 || *text != '{') return fail(err, "%s: byte %ld: { expected", f->path, f->data);
    f->head = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!f->head) return fail(err, "%s: byte %ld: %s", f->path, f->data + e.position, e.text);
    f->data += (int64_t)n;
    return 0;
}

// What an open_file() that failed half-way left is closed too: munmap() refuses NULL and -1.
static void close_file(tensor_file *f) {
    munmap(f->map, (size_t)f->bytes);
    json_decref(f->head);
    free(f->path);
}

// Sets type, dims, dim and bytes. product leaves zeros out, so that no part of it overflows either.
static int read_shape(tensor *t, const char *type, const json_t *shape) {
    int known = 0;
    while (known < TYPES && strcmp(types[known].name, type)) known++;
    if (known == TYPES || !json_is_array(shape) || json_array_size(shape) > MAX_DIMS) return -1;
    int64_t product = types[known].size;
    t->type = (tensor_type)known;
    t->bytes = 1;
    for (t->dims = 0; t->dims < (int)json_array_size(shape); t->dims++) {
        const json_t *v = json_array_get(shape, (size_t)t->dims);
        int64_t n = t->dim[t->dims] = json_integer_value(v);
        if (!json_is_integer(v) || n < 0) return -1;
        if (__builtin_mul_overflow(product, n ? n : 1, &product)) return -1;
        if (n == 0) t->bytes = 0;
    }
    t->bytes *= product;
    return 0;
}

// One header entry. Afterwards every field of t holds what tensor.h promises of it.
static int read_tensor(tensor *t, const tensor_file *f, json_t *v, char err[ERR]) {
    json_error_t e;
    json_t *shape;
    json_int_t from = 0, to = 0;
    int64_t room = f->bytes - f->data;
    const char *type = "?", *why = NULL;
    if (json_unpack_ex(v, &e, JSON_STRICT, "{s:s, s:o, s:[I, I]}", "dtype", &type, "shape", &shape,
                       "data_offsets", &from, &to))
        why = e.text;
    else if (read_shape(t, type, shape))
        why = "a known dtype and a shape of at most 8 integers >= 0, < 2^63 bytes, expected";
    else if (from < 0 || to < from || to > room || to - from != t->bytes)
        why = "data_offsets inside the data, a span as long as the bytes, expected";
    if (why)
        return fail(err, "%.200s: tensor \"%.80s\" (%.9s, %ld bytes, at %lld to %lld of %ld): %s",
                    f->path, t->name, type, t->bytes, from, to, room, why);
    t->data = f->map + f->data + from;
    return 0;
}

static int by_place(const void *a, const void *b) {
    const tensor *s = a, *t = b;
    int64_t d = (const char *)s->data - (const char *)t->data, e = d ? d : s->bytes - t->bytes;
    return (e > 0) - (e < 0);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tensor *)a)->name, ((const tensor *)b)->name);
}

// Appends the tensors of a file to s->t, which has room, and checks that they fill its data: sorted
// by place, each begins where the one before it ends, and the last one ends with the file.
static int list_file(tensor_set *s, int file, char err[ERR]) {
    const tensor_file *f = &s->file[file];
    const uint8_t *end = f->map + f->data;
    tensor *t = s->t + s->n, *last = t;
    const char *name;
    json_t *v;
    json_object_foreach(f->head, name, v) {
        if (!strcmp(name, "__metadata__")) continue;
        *last = (tensor){.name = name, .file = file};
        if (read_tensor(last++, f, v, err)) return -1;
    }
    s->n = (int)(last - s->t);
    qsort(t, (size_t)(last - t), sizeof *t, by_place);
    for (; t < last && t->data == end; t++) end += t->bytes;
    if (t < last || end < f->map + f->bytes)
        return fail(err, "%.200s: byte %ld: gap or overlap: %s \"%.80s\" expected here", f->path,
                    end - f->map, t < last ? "tensor" : "end of the file", t < last ? t->name : "");
    return 0;
}

// The index of a sharded folder maps each tensor's name to the file beside it that holds it.
static int open_shards(tensor_set *s, tensor_file *index, const char *dir, char err[ERR]) {
    const char *name;
    json_t *v;
    if (open_file(index, dir, "model.safetensors.index.json", 1, err)) return -1;
    json_t *map = json_object_get(index->head, "weight_map");
    s->file = must_alloc(json_object_size(map), sizeof *s->file);
    json_object_foreach(map, name, v) {
        const char *file = json_string_value(v);
        int i = 0;
        if (!file || *file == '.' || strchr(file, '/'))
            return fail(err, "%.200s: weight_map: \"%.100s\": a file beside the index expected",
                        index->path, name);
        while (i < s->files && strcmp(s->file[i].path + strlen(dir) + 1, file)) i++;
        if (i == s->files && open_file(&s->file[s->files++], dir, file, 0, err)) return -1;
        if (!json_object_get(s->file[i].head, name))
            return fail(err, "%.200s: tensor \"%.100s\" expected here", s->file[i].path, name);
    }
    return s->files ? 0 : fail(err, "%s: weight_map: an object with tensors expected", index->path);
}

// Lists the tensors of the open files and sorts them by name.
static int list_files(tensor_set *s, char err[ERR]) {
    size_t room = 0;
    for (int i = 0; i < s->files; i++) room += json_object_size(s->file[i].head);
    must(room < INT32_MAX); // that many parsed entries do not fit a memory
    s->t = must_alloc(room, sizeof *s->t);
    for (int i = 0; i < s->files; i++)
        if (list_file(s, i, err)) return -1;
    qsort(s->t, (size_t)s->n, sizeof *s->t, by_name);
    for (tensor *t = s->t; t < s->t + s->n; t++) {
        if (t > s->t && !by_name(t - 1, t))
            return fail(err, "%.200s: tensor \"%.80s\" is in %.200s too", s->file[t->file].path,
                        t->name, s->file[t[-1].file].path);
        if ((uintptr_t)t->data % (uintptr_t)types[t->type].size == 0) continue;
        t->copy = must_alloc(1, (size_t)t->bytes);
        t->data = memcpy(t->copy, t->data, (size_t)t->bytes);
    }
    return 0;
}

int tensor_open(tensor_set *s, const char *path, char err[ERR]) {
    tensor_file index = {0};
    char *single, *many;
    int bad;
    *s = (tensor_set){0};
    must(asprintf(&single, "%s/model.safetensors", path) >= 0);
    must(asprintf(&many, "%s.index.json", single) >= 0);
    if (access(single, F_OK) && !access(many, F_OK)) {
        bad = open_shards(s, &index, path, err);
    } else { // `single` is there only when path is a folder; then it is the one to open
        s->file = must_alloc(1, sizeof *s->file);
        s->files = 1;
        bad = open_file(s->file, access(single, F_OK) ? path : single, NULL, 0, err);
    }
    free(single);
    free(many);
    close_file(&index);
    if (!bad) bad = list_files(s, err);
    for (char *c = err; bad && *c; c++)
        if ((uint8_t)*c < ' ' || *c == 127) *c = '?'; // one line, whatever the names hold
    if (bad) tensor_close(s);
    return bad;
}

void tensor_close(tensor_set *s) {
    for (int i = 0; i < s->n; i++) free(s->t[i].copy);
    for (int i = 0; i < s->files; i++) close_file(&s->file[i]);
    free(s->file);
    free(s->t);
    *s = (tensor_set){0};
}

const tensor *tensor_find(const tensor_set *s, const char *name) {
    return bsearch(&(tensor){.name = name}, s->t, (size_t)s->n, sizeof *s->t, by_name);
}

const char *tensor_meta(const tensor_set *s, const char *key) {
    return json_string_value(json_object_get(json_object_get(s->file->head, "__metadata__"), key));
}

void tensor_to_f32(const tensor *t, int64_t first, int64_t count, float *out) {
    const float *f = t->data;
    const uint16_t *h = t->data;
    must(t->type == T_F32 || t->type == T_F16 || t->type == T_BF16);
    must(first >= 0 && count >= 0 && first <= t->bytes / types[t->type].size - count);
    for (int64_t i = first; i < first + count; i++)
        *out++ = t->type == T_F32   ? f[i]
                 : t->type == T_F16 ? num_from_f16(h[i])
                                    : num_from_bf16(h[i]);
}

void tensor_release(const tensor *t) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)t->data + page - 1;
    uintptr_t to = (uintptr_t)t->data + (uintptr_t)t->bytes;
    from -= from % page, to -= to % page; // whole pages of this tensor alone
    if (!t->copy && from < to) madvise((void *)from, to - from, MADV_DONTNEED);
}

int tensor_sync_name(const char *path) {
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_CLOEXEC), bad = fd < 0 || fsync(fd), why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    return bad ? -1 : 0;
}

// Closes the writer with an error.
static int give_up(tensor_writer *w, const char *why, char err[ERR]) {
    fail(err, "%s: %s", w->part, why);
    tensor_write_abort(w);
    return -1;
}

int tensor_write_open(tensor_writer *w, const char *path, const tensor *plan, int n,
                      const char *const meta[][2], int metas, char err[ERR]) {
    json_t *head = json_object(), *about = json_object();
    json_int_t end = 0;
    int bad = 0;
    *w = (tensor_writer){0};
    must(asprintf(&w->path, "%s", path) >= 0 && asprintf(&w->part, "%s.part", path) >= 0);
    for (int i = 0; i < metas; i++) json_object_set_new(about, meta[i][0], json_string(meta[i][1]));
    json_object_set_new(head, "__metadata__", about);
    for (int i = 0; i < n; i++) {
        int64_t bytes = types[plan[i].type].size;
        json_t *shape = json_array();
        for (int d = 0; d < plan[i].dims; d++) {
            must(!__builtin_mul_overflow(bytes, plan[i].dim[d], &bytes) && bytes >= 0);
            json_array_append_new(shape, json_integer(plan[i].dim[d]));
        }
        must(!__builtin_add_overflow(end, bytes, &end));
        json_object_set_new(head, plan[i].name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", types[plan[i].type].name,
                                      "shape", shape, "data_offsets", end - bytes, end));
    }
    char *text = json_dumps(head, JSON_COMPACT);
    uint64_t size = (strlen(text) + 7) / 8 * 8; // the format asks that the data begin at 8 k
    w->left = end;
    if (json_object_size(head) != 1 + (size_t)n || json_object_size(about) != (size_t)metas)
        bad = give_up(w, "tensor names that differ and are UTF-8", err);
    else if (!(w->file = fopen(w->part, "wbe")) ||
             (fallocate(fileno(w->file), 0, 0, 8 + (int64_t)size + end) && errno != EOPNOTSUPP) ||
             fwrite(&size, 8, 1, w->file) != 1 || fprintf(w->file, "%-*s", (int)size, text) < 0)
        bad = give_up(w, strerror(errno), err);
    json_decref(head);
    free(text);
    return bad;
}

int tensor_write(tensor_writer *w, const void *data, int64_t bytes, char err[ERR]) {
    if (bytes > w->left) return give_up(w, "more bytes than planned", err);
    w->left -= bytes;
    if (fwrite(data, 1, (size_t)bytes, w->file) == (size_t)bytes) return 0;
    return give_up(w, strerror(errno), err);
}

int tensor_write_close(tensor_writer *w, char err[ERR]) {
    if (w->left) return give_up(w, "fewer bytes than planned", err);
    if (fflush(w->file) || fsync(fileno(w->file)) || rename(w->part, w->path))
        return give_up(w, strerror(errno), err);
    int bad = tensor_sync_name(w->path) ? fail(err, "%s: %s", w->path, strerror(errno)) : 0;
    tensor_write_abort(w);
    return bad;
}

void tensor_write_abort(tensor_writer *w) {
    if (w->file) {
        fclose(w->file);
        unlink(w->part); // after the rename there is none
    }
    free(w->path);
    free(w->part);
    *w = (tensor_writer){0};
}
