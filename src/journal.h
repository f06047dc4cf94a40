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
// others are what the engine made of it and what a replay compares.
typedef enum {
    J_OPEN = 1,  // in: JSON: format, options, SHA-256 of model and texts, paths, time
    J_RESUME,    // in: JSON: a process went on with this journal; options that changed, time
    J_REQUEST,   // in: a sequence was asked for
    J_CANCEL,    // in: its client does not want it any more
    J_FEEDBACK,  // in: a sample to learn
    J_TOKENS,    // tokens of one turn, and the weight version that made them
    J_UPDATE,    // a new weight version, with the digest of what learned
    J_SNAPSHOT,  // a file with the state of learning, and its SHA-256
    J_STOP,      // in: the process ended in good order; the SHA-256 of the whole model
    J_SIGNATURE, // Ed25519, of the chain up to here
    J_KINDS
} journal_kind;
extern const char *const journal_kind_name[J_KINDS];

enum { JOURNAL_MAX = 1 << 26 }; // bytes of a payload at most

typedef struct {
    uint32_t kind, size;
    const uint8_t *data;  // [size]
    uint64_t at, end;     // where in the file it begins and where the next one does
    const uint8_t *chain; // [32] SHA-256 of the chain before it, and this record
} journal_record;

typedef struct journal journal;

// A new file, which must not exist; or one that goes on, whose torn tail is cut. Either is locked
// against a second process until journal_close(). wake: called by the journal's thread after each
// sync, or NULL. read: called with every record that is there, in order, or NULL; -1 of it ends.
typedef int (*journal_reader)(void *ctx, const journal_record *r, char err[ERR]);
journal *journal_create(const char *path, void (*wake)(void *), void *ctx, char err[ERR]);
journal *journal_open(const char *path, journal_reader read, void (*wake)(void *), void *ctx,
                      char err[ERR]);
// Waits until all that was appended is on the disk. -1: it is not (err says why).
int journal_close(journal *j, char err[ERR]);

// The place behind the record.
uint64_t journal_append(journal *j, journal_kind kind, const void *data, uint32_t size);
uint64_t journal_durable(journal *j); // everything before this place is on the disk
// Waits for a place to be durable. -1: the disk failed (one line, and the same one ever after).
int journal_wait(journal *j, uint64_t place, char err[ERR]);
int journal_failed(journal *j, char err[ERR]); // -1: the disk has failed
// The chain's newest hash [32] and the place behind it, appended (not yet durable perhaps).
uint64_t journal_head(journal *j, uint8_t chain[32]);

// Reads and checks a file without locking or changing it. *torn: bytes behind the last whole record
// (0: none). -1: the first damaged record by number and offset, or what read said.
int journal_read(const char *path, journal_reader read, void *ctx, uint64_t *torn, char err[ERR]);
#endif
