// token.h - text to token ids and back, as a Hugging Face tokenizer.json describes it.
//
// Two kinds of byte-pair encoding: byte level with a regular expression that cuts words (Qwen,
// Llama 3), and SentencePiece style with byte fallback (Llama 2, Gemma). A tokenizer is read only
// after token_open(), so threads may share it. Chapter 4.
#ifndef TOKEN_H
#define TOKEN_H
#include "assay.h"

typedef struct tokenizer tokenizer;

// The chat family, told by the tokens that exist.
enum { CHAT_NONE, CHAT_ML, CHAT_LLAMA3, CHAT_GEMMA, CHAT_LLAMA2 };

// The state of one decoding; zero it to begin: token_stream s = {0}.
typedef struct {
    uint8_t byte[4]; // an unfinished UTF-8 sequence of 1 to 3 bytes that waits for the rest
    uint8_t held;    // bytes of byte[] in use, 0..3
    uint8_t begun;   // 1: the first character has been written, or taken by the decoder's Strip
} token_stream;

// Reads dir/tokenizer.json. NULL and one line in err: file, field, what was found.
tokenizer *token_open(const char *dir, char err[ERR]);
void token_close(tokenizer *t);

int32_t token_count(const tokenizer *t);                // ids are 0 .. count - 1
int32_t token_id(const tokenizer *t, const char *text); // the id of this exact token, or -1
size_t token_room(const tokenizer *t);                  // bytes that token_decode() needs in out

// The ids of text[len] in a new array *ids; returns how many. special = 1 adds what the
// post-processor adds (a beginning-of-text token). -1 and *ids = NULL: text is not UTF-8 (err says
// at which byte) or the regular expression gave up. len < 2^31.
int64_t token_encode(const tokenizer *t, const char *text, size_t len, int special, int32_t **ids,
                     char err[ERR]);

// Writes the text that id completes to out[cap >= token_room()], with a NUL, and returns its bytes
// (the text may hold NULs of its own). What is written is valid UTF-8; invalid bytes become U+FFFD.
// id = -1 writes what is still held. skip_special = 1: special tokens write nothing.
size_t token_decode(const tokenizer *t, token_stream *s, int32_t id, int skip_special, char *out,
                    size_t cap);

// The bytes that a token stands for, to out[cap >= token_room()]; returns how many.
size_t token_bytes(const tokenizer *t, int32_t id, char *out, size_t cap);

int token_family(const tokenizer *t); // CHAT_...

// The conversation in the family's own template, up to where the assistant speaks next, as a new
// string *text, to be encoded with special = 0. roles: system (first only), then user and
// assistant by turns, user last. -1 and err: another role or order, or no known family.
int token_chat(const tokenizer *t, const char *const roles[], const char *const contents[], int n,
               char **text, char err[ERR]);
#endif
