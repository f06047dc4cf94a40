// journal.h - an append-only file of records, each chained to all before it by SHA-256.
//
// A record is on the disk before anything that follows from it leaves the program: who appends gets
// a place, and journal_durable() says up to which place the file has been written and synced.
// Appending never waits for the disk; one thread of the journal writes and syncs what has gathered
// (group commit). Offsets, the torn tail and what a flipped bit does: chapter 13.
#ifndef JOURNAL_H
#define JOURNAL_H
#include "assay.h"

// Kinds of records. Those marked "in" come from outside and are what a replay is fed with; the
// others are what the engine made of it and what a replay compares. Below each its payload with
// byte offsets: little-endian, packed. Ids are int32, n and answers at least 0.
typedef enum {
    J_OPEN = 1, // in: JSON: format, options, SHA-256 of model and texts, paths, time
    J_RESUME,   // in: JSON: a process went on with this journal: turn, version, time
    J_REQUEST,  // in: a sequence was asked for
                //   0 u64 turn, 8 u64 id, 16 u64 unix time in ms, 24 f32 temperature, 28 i32 top_k,
                //   32 f32 top_p, 36 u32 seed, 40 u32 stream, 44 i32 top: log-probabilities (-1:
                //   none), 48 i32 most: tokens, 52 i32 n, 56 ids of the prompt [n]
    J_CANCEL,   // in: its client does not want it any more
                //   0 u64 turn, 8 u64 id
    J_FEEDBACK, // in: a sample to learn
                //   0 u64 turn, 8 u64 id, 16 f32 weight, 20 i32 n, 24 i32 answers,
                //   28 ids of the prompt [n] and of the answer [answers]
    J_TOKENS,   // tokens of one turn, and the weight version that made them
                //   0 u64 turn, 8 u64 version, 16 to the end: pairs of u32 low half of the
                //   request's id, i32 token
    J_UPDATE,   // a new weight version, with the digest of what learned
                //   0 u64 turn, 8 u64 version, 16 u64 step, 24 i64 loss: sum over the targets in
                //   units of 2^-36 nats, 32 u32 targets, 36 f32 norm, 40 digest [32]
    J_SNAPSHOT, // a file with the state of learning, and its SHA-256
                //   0 u64 turn, 8 u64 version, 16 SHA-256 [32], 48 to the end: name without folder,
                //   not empty, no '.' in front
    J_STOP,     // in: JSON: the process ended in good order; the SHA-256 of the whole model
    J_SIGNATURE, // Ed25519, of the chain up to here
                 //   0 public key [32], 32 signature of the 32 bytes of the chain before [64]
    J_ROLLOUT,   // tokens of one turn of practice: as J_TOKENS, ids are places in the batch
    J_REWARD,    // what the answers of a step were found to have
                 //   0 u64 turn, 8 u64 version, 16 i32 skills, 20 i32 words: three for each
                 //   answer, 24 bits of the qualities mastered after it i32 [skills], then of each
    //   answer i32 skill (+ 256: it has its form), bits of the qualities passed, tokens
    J_KINDS
} journal_kind;
extern const char *const journal_kind_name[J_KINDS];

enum {
    JOURNAL_MAX = 1 << 26, // bytes of a payload at most
    J_REQUEST_HEAD = 56,   // of payloads, before their lists
    J_FEEDBACK_HEAD = 28,
    J_REWARD_HEAD = 24,
    J_UPDATE_SIZE = 72,
    J_SNAPSHOT_HEAD = 48
};

typedef struct {
    uint32_t kind, size;
    const uint8_t *data;  // [size], laid out as its kind says
    uint64_t at, end;     // where in the file it begins and where the next one does
    const uint8_t *chain; // [32] SHA-256 of the chain before it, and this record
    uint64_t number;      // 1, 2, ..
} journal_record;

typedef struct journal journal;

// A new file, which must not exist; or one that goes on, whose torn tail is cut. Either is locked
// against a second process until journal_close(). wake: called by the journal's thread after each
// sync and when the disk fails, or NULL; it must not close the journal. read: called with every
// record that is there, in order, or NULL; -1 of it ends.
typedef int (*journal_reader)(void *ctx, const journal_record *r, char err[ERR]);
journal *journal_create(const char *path, void (*wake)(void *), void *ctx, char err[ERR]);
journal *journal_open(const char *path, journal_reader read, void *reader, void (*wake)(void *),
                      void *ctx, char err[ERR]);
// Waits until all that was appended is on the disk. -1: it is not (err says why).
int journal_close(journal *j, char err[ERR]);

// The place behind the record.
uint64_t journal_append(journal *j, journal_kind kind, const void *data, uint32_t size);
// The same with a signature of all before it, by a secret key of libsodium (seed, public key).
uint64_t journal_sign(journal *j, const uint8_t secret[64]);
uint64_t journal_durable(journal *j); // everything before this place is on the disk
// Waits for a place to be durable. -1: the disk failed (one line, and the same one ever after).
int journal_wait(journal *j, uint64_t place, char err[ERR]);
int journal_failed(journal *j, char err[ERR]); // -1: the disk has failed
// The chain's newest hash [32] and the place behind it, appended (not yet durable perhaps).
uint64_t journal_head(journal *j, uint8_t chain[32]);

// Reads and checks a file without locking or changing it. *torn: bytes behind the last whole record
// (0: none), or NULL. -1: the first damaged record by number and offset, or what read said.
int journal_read(const char *path, journal_reader read, void *ctx, uint64_t *torn, char err[ERR]);
// Cuts a file behind its last good record, whatever follows; *lost: bytes. -1: nothing was cut.
int journal_cut(const char *path, uint64_t *lost, char err[ERR]);

// One line about a payload for people; the record as a line of JSON.
void journal_describe(const journal_record *r, char what[96]);
void journal_json(const journal_record *r, FILE *f);

// A new pair of keys in hex: PATH, which only its owner may read, and PATH.pub. Neither may exist.
int journal_keygen(const char *path, char err[ERR]);
// A key of a file: 64 bytes of a secret one, 32 of a public one.
int journal_key(const char *path, uint8_t *key, size_t size, char err[ERR]);
#endif
