// lane.c - slots, pages, rows and draws.
#include "lane.h"

void lane_add(lane *l, sequence *s) {
    s->slot = -1, s->next = NULL;
    if (l->last)
        l->last->next = s;
    else
        l->first = s;
    l->last = s;
    l->waiting++;
}

// An answer to a task stays: the engine keeps it until it has been learned.
static void drop(sequence *s) {
    if (s->logp) return;
    free(s->token);
    free(s);
}

// Gives slot and pages back.
void lane_leave(lane *l, long i) {
    sequence *s = l->open[i];
    int32_t *page = l->r.page + s->slot * l->r.chunks;
    for (int64_t k = l->r.chunks - 1; k >= 0; k--)
        if (page[k] >= 0) l->page[--l->pages_used] = page[k], page[k] = -1;
    l->used[s->slot] = 0;
    memmove(l->open + i, l->open + i + 1, (size_t)(--l->running - i) * sizeof *l->open);
    drop(s);
}

void lane_cancel(lane *l, uint64_t id) {
    sequence *before = NULL;
    for (long i = 0; i < l->running; i++)
        if (l->open[i]->id == id) {
            lane_leave(l, i);
            return;
        }
    for (sequence *s = l->first; s; before = s, s = s->next)
        if (s->id == id) {
            *(before ? &before->next : &l->first) = s->next;
            if (l->last == s) l->last = before;
            l->waiting--;
            drop(s);
            return;
        }
}

void lane_empty(lane *l) {
    while (l->running) lane_leave(l, 0);
    while (l->first) lane_cancel(l, l->first->id);
}

// Who waits gets a slot when there is one, and pages for all of its keys; nobody overtakes.
static void admit(lane *l) {
    while (l->first && l->running < l->slots) {
        sequence *s = l->first;
        int64_t need = (s->n + s->most + l->r.keys - 1) / l->r.keys;
        if (l->pages_used + need > l->pages) return;
        s->slot = 0;
        while (l->used[s->slot]) s->slot++;
        l->used[s->slot] = 1;
        for (int64_t i = 0; i < need; i++)
            l->r.page[s->slot * l->r.chunks + i] = l->page[l->pages_used++];
        l->first = s->next;
        if (!l->first) l->last = NULL;
        l->waiting--;
        l->open[l->running++] = s;
    }
}

static void add_row(lane *l, const sequence *s, int64_t *rows) {
    int64_t at = s->fed; // the row's place in its sequence
    l->token[*rows] = s->token[at], l->pos[*rows] = (int32_t)at;
    l->seq[(*rows)++] = s->slot;
}

long lane_gather(lane *l, int64_t *rows, int64_t *all, uint64_t *prompts) {
    int64_t left = l->slice;
    long heads = 0;
    admit(l);
    *rows = *all = 0;
    for (long i = 0; i < l->running; i++) {
        sequence *s = l->open[i];
        for (; s->fed < s->n - 1 && left > 0; s->fed++, left--, ++*all)
            if (!s->told) add_row(l, s, rows);
    }
    *prompts += (uint64_t)*all;
    for (long i = 0; i < l->running; i++) {
        sequence *s = l->open[i];
        if (s->fed < s->n - 1) continue; // its prompt goes on in the next step
        if (!s->told) add_row(l, s, rows);
        *prompts += s->made == 0;
        s->fed++, ++*all;
        l->row[heads++] = s;
    }
    return heads;
}

int lane_draw(lane *l, const backend *by, int64_t rows, long heads, const float **logits,
              char err[ERR]) {
    int wanted = 0;
    long n = 0;
    for (long i = 0; i < heads; i++)
        if (!l->row[i]->told) {
            l->how[n++] = l->row[i]->how;
            wanted |= l->row[i]->top >= 0;
        }
    *logits = NULL;
    if (rows == 0) return 0;
    if (by->device && n == rows && !wanted) {
        ref_rows(&l->r, l->token, l->pos, l->seq, rows, 0);
        return by->decode(by->device, &l->r, l->how, l->known, 1, l->drawn, err);
    }
    int64_t from = n ? rows - n : rows - 1, vocab = l->r.m->c.vocab;
    if (ref_step(&l->r, l->token, l->pos, l->seq, rows, from, err)) return -1;
#pragma omp parallel for schedule(dynamic)
    for (long i = 0; i < n; i++)
        l->drawn[i] = sample_token(l->r.logits + i * vocab, l->known, &l->how[i],
                                   (uint32_t)l->pos[from + i] + 1);
    *logits = l->r.logits;
    return 0;
}

// Keys and values of a sequence fill whole pages.
long lane_pages(long context) {
    long keys = context < KEYS ? context : KEYS;
    return (context + keys - 1) / keys;
}

long lane_together(const model *m, long context, long most) {
    const model_config *c = &m->c;
    int64_t keys = lane_pages(context) * (context < KEYS ? context : KEYS);
    int64_t each = 2 * c->layers * c->kv_heads * c->head_dim * (c->kv_bf16 ? 2 : 4) * keys;
    int64_t fit = LANE_CACHE / each > 1 ? LANE_CACHE / each : 1;
    if (most > SLOTS) most = SLOTS;
    return fit < most ? (long)fit : most;
}

void lane_open(lane *l, const model *m, const backend *by, long slots, long slice, long context,
               long pages, int64_t known) {
    size_t rows = (size_t)(slots + slice);
    *l = (lane){.slots = slots, .slice = slice, .pages = pages, .known = known};
    ref_open_pages(&l->r, m, by->linear, (int64_t)rows, slots, context, pages);
    l->token = must_alloc(rows * 3, sizeof *l->token);
    l->pos = l->token + rows, l->seq = l->pos + rows;
    l->page = must_alloc((size_t)pages, sizeof *l->page);
    for (long i = 0; i < pages; i++) l->page[i] = (int32_t)i;
}

void lane_close(lane *l) {
    if (!l->slots) return;
    ref_close(&l->r);
    free(l->token);
    free(l->page);
}
