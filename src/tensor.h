// tensor.h - safetensors files: named, typed arrays, read through mmap and written as a stream.
//
// Interface: tensor_open() takes one file, or a folder with model.safetensors or with
// model.safetensors.index.json and its shards, and lists every tensor, sorted by name.
// tensor_write_open(), tensor_write() and tensor_write_close() write one file without ever holding
// it: nothing stands under its name until all of it is on the disk.
// Obligations: a file is not changed while it is open (a file cut short under a mapping is SIGBUS);
// names, data and metadata live until tensor_close(); integers and floats are little-endian, as
// this machine's are. Source: the safetensors format description (chapter 3).
#ifndef TENSOR_H
#define TENSOR_H
#include "assay.h"

// Assay computes with the first five types. The others of the format with whole bytes per element
// (I64, BOOL, F8_E4M3, ...) have the numbers from T_LISTED on: they are listed with name and size,
// so that a file which also holds a table of I64 positions opens. Code that uses a tensor checks.
typedef enum { T_F32, T_F16, T_BF16, T_I8, T_U8, T_LISTED } tensor_type;

typedef struct {
    const char *name; // UTF-8 without a NUL
    tensor_type type;
    int dims, file;        // 0..MAX_DIMS (0: a single element); index into tensor_set.file
    int64_t dim[MAX_DIMS]; // each >= 0; the element size times any of them, zeros left out, < 2^63
    const void *data;      // row-major, read-only; the address is a multiple of the element size
    int64_t bytes;         // element size times all of dim
    void *copy;            // data, when it lies in the file at an odd place; else NULL
} tensor;

typedef struct {
    char *path;
    uint8_t *map;        // the whole file, read-only
    int64_t bytes, data; // its size; where the data after the header begins
    struct json_t *head; // the parsed header; owns names and metadata
} tensor_file;

typedef struct {
    tensor *t;         // [n], ascending by strcmp of the names, which all differ
    tensor_file *file; // [files]
    int n, files;
} tensor_set;

// 0, or -1 with the error line; after -1 there is nothing to close.
int tensor_open(tensor_set *s, const char *path, char err[ERR]);
void tensor_close(tensor_set *s);
const tensor *tensor_find(const tensor_set *s, const char *name); // NULL: there is none
// The text of a key of the (first) file's __metadata__; NULL: there is none.
const char *tensor_meta(const tensor_set *s, const char *key);
int64_t tensor_type_size(tensor_type type); // bytes of an element
const char *tensor_type_name(tensor_type type);
// out[i] = element first + i, exactly. Only F32, F16, BF16, and only inside the tensor: must().
void tensor_to_f32(const tensor *t, int64_t first, int64_t count, float *out);
// Lets the system take the tensor's memory back; a later read brings it from the file again.
void tensor_release(const tensor *t);

typedef struct {
    char *path, *part; // the file's name, and PATH.part, where it stands until it is complete
    FILE *file;        // of PATH.part; NULL: closed
    int64_t left;      // bytes of data still to come
} tensor_writer;

int tensor_sync_name(const char *path); // syncs the folder that holds path; -1: errno
// plan[n] gives name, type, dims and dim, in file order (data, bytes and file are not read);
// meta[metas] are pairs of key and value. The disk space is reserved here, so that a full disk is
// found before the work. Each function returns 0, or -1 with the error line; after -1 the writer is
// closed and the temporary file gone. The plan need not outlive the call.
int tensor_write_open(tensor_writer *w, const char *path, const tensor *plan, int n,
                      const char *const meta[][2], int metas, char err[ERR]);
// The next bytes of the data; calls and tensors need not begin or end together.
int tensor_write(tensor_writer *w, const void *data, int64_t bytes, char err[ERR]);
// Every byte must have come. fsync, rename to PATH, fsync of the folder.
int tensor_write_close(tensor_writer *w, char err[ERR]);
void tensor_write_abort(tensor_writer *w); // gives up; harmless on a closed writer
#endif
