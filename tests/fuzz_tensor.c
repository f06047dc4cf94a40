// fuzz_tensor.c - libFuzzer target of the safetensors reader. Each input is read three times: as a
// whole file; as a header up to its first newline and data, with the right length in front, so that
// a mutation need not guess eight bytes; and as the index of a folder with one good shard. Whatever
// opens must keep the promises of tensor.h. Seeds: vectors/gen/tensor.py --corpus DIR.
#include "tensor.h"
#include <sys/mman.h>
#include <unistd.h>

static int memory = -1, shard = -1;           // memfds: the input; the good shard
static char dir[] = "/tmp/assay-fuzz-XXXXXX"; // the folder with links to both
static char input[64], sink;                  // path of the input; keeps reads alive

static void link_to(const char *name, int fd) {
    char from[64], to[64];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    snprintf(to, sizeof to, "%s/%s", dir, name);
    must(symlink(from, to) == 0);
}

static void remove_links(void) {
    char path[64];
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/a.st", dir);
    unlink(path);
    rmdir(dir);
}

static void start(void) {
    static const char good[] = "\x37\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[2],"
                               "\"data_offsets\":[0,2]}}    \1\2";
    memory = memfd_create("input", 0);
    shard = memfd_create("shard", 0);
    must(memory >= 0 && shard >= 0 && mkdtemp(dir));
    must(write(shard, good, sizeof good - 1) == sizeof good - 1);
    snprintf(input, sizeof input, "/proc/self/fd/%d", memory);
    link_to("model.safetensors.index.json", memory);
    link_to("a.st", shard);
    atexit(remove_links);
}

static void open_and_touch(const char *path) {
    char err[ERR];
    tensor_set s;
    memset(err, 'x', sizeof err);
    if (tensor_open(&s, path, err)) {
        must(memchr(err, 0, sizeof err) && !strchr(err, '\n') && !strncmp(err, path, 9));
        return;
    }
    int64_t bytes = 0, room = 0;
    for (int i = 0; i < s.files; i++) room += s.file[i].bytes - s.file[i].data;
    for (int i = 0; i < s.n; i++) {
        const tensor *t = &s.t[i];
        int64_t size = tensor_type_size(t->type), n = size, part = size;
        for (int d = 0; d < t->dims; d++) {
            must(!__builtin_mul_overflow(part, t->dim[d] ? t->dim[d] : 1, &part));
            n *= t->dim[d];
        }
        must(n == t->bytes && (uintptr_t)t->data % (uintptr_t)size == 0);
        must(tensor_find(&s, t->name) == t && t->dims <= MAX_DIMS && tensor_type_name(t->type));
        for (int64_t k = 0; k < n; k++) sink ^= ((const char *)t->data)[k];
        float x;
        for (int64_t k = 0; t->type <= T_BF16 && k < n / size; k++) tensor_to_f32(t, k, 1, &x);
        bytes += n;
    }
    must(bytes == room); // no gap, no overlap
    tensor_meta(&s, "format");
    tensor_close(&s);
}

static void put(const void *data, size_t n) { must(write(memory, data, n) == (ssize_t)n); }

static void rewind_input(void) {
    must(ftruncate(memory, 0) == 0 && lseek(memory, 0, SEEK_SET) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (memory < 0) start();
    const uint8_t *line = n ? memchr(data, '\n', n) : NULL;
    uint64_t head = line ? (uint64_t)(line - data) : n;
    rewind_input();
    put(data, n);
    open_and_touch(input);
    open_and_touch(dir);
    rewind_input();
    put(&head, 8);
    put(data, head);
    if (line) put(line + 1, n - head - 1);
    open_and_touch(input);
    return 0;
}
