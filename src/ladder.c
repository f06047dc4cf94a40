// ladder.c - measures quantised models against dense ones.
#include "ladder.h"
#include "num.h"
#include <errno.h>
#include <jansson.h>

// ---- measuring

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// mean, the value below which a share p of v lies, and smallest of v [n]; sorts v.
static void summarise(double *v, int64_t n, double p, double *mean, double *at, double *smallest) {
    *mean = 0;
    for (int64_t i = 0; i < n; i++) *mean += v[i] / (double)n;
    qsort(v, (size_t)n, sizeof *v, by_value);
    *at = v[(int64_t)(p * (double)(n - 1))];
    if (smallest) *smallest = v[0];
}

// x / sqrt(y z) in doubles: cosines and their like.
static double cosine(double xy, double xx, double yy) {
    return xx > 0 && yy > 0 ? xy / (__builtin_sqrt(xx) * __builtin_sqrt(yy)) : 1;
}

// ln sum e^z, by float exponentials summed in double, and the largest id.
static double log_sum(const float *z, int64_t n, int64_t *top) {
    double sum = 0;
    *top = 0;
    for (int64_t i = 1; i < n; i++)
        if (z[i] > z[*top]) *top = i;
    for (int64_t i = 0; i < n; i++) sum += (double)num_exp(z[i] - z[*top]);
    return (double)z[*top] + (double)num_log((float)sum);
}

// Position i: cosine, centred cosine, KL(a || b); returns whether the best tokens agree.
static int compare(const float *a, const float *b, int64_t n, double out[3]) {
    double ab = 0, aa = 0, bb = 0, sa = 0, sb = 0, kl = 0, N = (double)n;
    int64_t ta, tb;
    for (int64_t i = 0; i < n; i++) {
        double x = a[i], y = b[i];
        ab += x * y, aa += x * x, bb += y * y, sa += x, sb += y;
    }
    double la = log_sum(a, n, &ta), lb = log_sum(b, n, &tb);
    for (int64_t i = 0; i < n; i++)
        kl += (double)num_exp((float)(a[i] - la)) * (((double)a[i] - la) - ((double)b[i] - lb));
    out[0] = cosine(ab, aa, bb);
    out[1] = cosine(ab - sa * sb / N, aa - sa * sa / N, bb - sb * sb / N);
    out[2] = kl;
    return ta == tb;
}

// Bytes and bits of the linear layers; a dense one counts as bf16.
static void weigh(ladder_row *row, const model *m) {
    int64_t weights = 0, b[4];
    for (int64_t l = 0; l < m->c.layers; l++)
        for (int i = 0; i < W_COUNT; i++) {
            const tq_matrix *w = &m->layer[l].w[i];
            weights += w->rows * w->cols;
            row->bytes += w->kind == KIND_F32 ? 2 * w->rows * w->cols : tq_bytes(w, b);
        }
    row->bits = 8 * (double)row->bytes / (double)weights;
}

int ladder_measure(ladder_row *row, const model *dense, const model *m, linear_fn linear,
                   const convert_texts *t, char err[ERR]) {
    int64_t n = t->seqs * t->len, vocab = m->c.vocab, agree = 0;
    int64_t count = (1 << 26) / (t->len * vocab) + 1; // texts at once: 256 MB of logits or one
    if (count > t->seqs) count = t->seqs;
    double *raw = must_alloc((size_t)n * 3, sizeof *raw), *centred = raw + n, *kl = centred + n;
    ref_run a, b;
    int bad = 0;
    ref_open(&a, dense, ref_linear, count * t->len, count, t->len);
    ref_open(&b, m, linear, count * t->len, count, t->len);
    for (int64_t s = 0; s < t->seqs && !bad; s += count) {
        int64_t k = t->seqs - s < count ? t->seqs - s : count;
        bad = convert_step(&a, t, s, k, err) || convert_step(&b, t, s, k, err);
        if (bad) break;
#pragma omp parallel for reduction(+ : agree)
        for (int64_t i = 0; i < k * t->len; i++) {
            double v[3];
            agree += compare(a.logits + i * vocab, b.logits + i * vocab, vocab, v);
            raw[s * t->len + i] = v[0], centred[s * t->len + i] = v[1], kl[s * t->len + i] = v[2];
        }
    }
    ref_close(&a);
    ref_close(&b);
    if (!bad) {
        summarise(raw, n, 0.01, &row->raw[0], &row->raw[1], &row->raw[2]);
        summarise(centred, n, 0.01, &row->centred[0], &row->centred[1], &row->centred[2]);
        summarise(kl, n, 0.99, &row->kl[0], &row->kl[1], NULL);
        row->top1 = (double)agree / (double)n;
        row->positions = n;
        weigh(row, m);
    }
    free(raw);
    return bad;
}

// The noise floor: the dense path with weights and inputs rounded to bf16, sums as before.
static void bf16_linear(const tq_matrix *m, const tq_acts *a, const float *x, int64_t rows,
                        float *y) {
    (void)a;
    float *in = must_alloc((size_t)(rows * m->cols), sizeof *in);
    for (int64_t i = 0; i < rows * m->cols; i++) in[i] = num_from_bf16(num_to_bf16(x[i]));
#pragma omp parallel
    {
        float *w = must_alloc((size_t)m->cols, sizeof *w);
#pragma omp for schedule(static)
        for (int64_t r = 0; r < m->rows; r++) {
            tq_widen(m, r, w);
            for (int64_t i = 0; i < m->cols; i++) w[i] = num_from_bf16(num_to_bf16(w[i]));
            for (int64_t t = 0; t < rows; t++)
                y[t * m->rows + r] = num_lane_dot(w, in + t * m->cols, m->cols);
        }
        free(w);
    }
    free(in);
}

static int rung_row(ladder_row *row, const model *dense, tq_rung rung, const ladder_options *o,
                    const convert_texts *test, char err[ERR]) {
    distil_model q;
    if (distil_open(&q, dense, rung, o->calib, err)) return -1;
    int bad = rung == RUNG_DISTIL && distil_train(&q, dense, o->linear, o->tile, o->steps,
                                                  o->calib->token[0], o->learn, err);
    bad = bad || ladder_measure(row, dense, &q.m, o->linear, test, err);
    distil_close(&q);
    return bad;
}

int ladder_run(ladder_row *rows, const model *dense, const ladder_options *o,
               const convert_texts *test, char err[ERR]) {
    int n = o->steps ? RUNGS + 2 : RUNGS + 1;
    for (int i = 0; i < n; i++) {
        ladder_row *row = &rows[i];
        *row = (ladder_row){0};
        snprintf(row->name, sizeof row->name, "%s",
                 i == 0   ? "dense bf16"
                 : i == 1 ? "int8 everywhere"
                          : tq_rung_name[i - 2]);
        int bad = i == 0 ? ladder_measure(row, dense, dense, bf16_linear, test, err)
                         : rung_row(row, dense, i == 1 ? RUNGS : (tq_rung)(i - 2), o, test, err);
        if (bad) return -1;
        if (o->say) o->say(row);
    }
    return n;
}

// ---- reports

int ladder_save_json(const char *path, const ladder_row *rows, int n, char err[ERR]) {
    json_t *all = json_array();
    for (int i = 0; i < n; i++) {
        const ladder_row *r = &rows[i];
        json_array_append_new(
            all, json_pack("{s:s, s:[f,f,f], s:[f,f,f], s:[f,f], s:f, s:f, s:I, s:I}", "rung",
                           r->name, "raw_cosine", r->raw[0], r->raw[1], r->raw[2], "centred_cosine",
                           r->centred[0], r->centred[1], r->centred[2], "kl", r->kl[0], r->kl[1],
                           "top1", r->top1, "bits", r->bits, "bytes", (json_int_t)r->bytes,
                           "positions", (json_int_t)r->positions));
    }
    FILE *f = convert_create(path);
    if (f) json_dumpf(all, f, JSON_INDENT(1));
    json_decref(all);
    return convert_commit(f, path, err);
}

// A bar per rung: mean KL on a logarithmic axis from 1e-6 to 10.
int ladder_save_svg(const char *path, const ladder_row *rows, int n, char err[ERR]) {
    FILE *f = convert_create(path);
    if (!f) return convert_commit(f, path, err);
    fprintf(f,
            "<svg xmlns='http://www.w3.org/2000/svg' width='760' height='%d' "
            "font-family='sans-serif' font-size='13'>\n<text x='10' y='20'>Mean KL divergence from "
            "the dense model, nats (logarithmic)</text>\n",
            60 + 26 * n);
    for (int d = -6; d <= 1; d++)
        fprintf(f,
                "<path d='M%d 32v%d' stroke='#ccc'/><text x='%d' y='%d' fill='#666'>1e%d</text>\n",
                150 + 70 * (d + 6), 26 * n, 142 + 70 * (d + 6), 48 + 26 * n, d);
    for (int i = 0; i < n; i++) {
        double kl = rows[i].kl[0] > 1e-6 ? rows[i].kl[0] : 1e-6;
        double w = 70 * ((double)num_log((float)kl) / 2.302585092994046 + 6);
        fprintf(f,
                "<text x='10' y='%d'>%s</text><rect x='150' y='%d' width='%.1f' height='18' "
                "fill='#47a'/><text x='%.1f' y='%d'>%.5f</text>\n",
                50 + 26 * i, rows[i].name, 36 + 26 * i, w, 156 + w, 50 + 26 * i, rows[i].kl[0]);
    }
    fprintf(f, "</svg>\n");
    return convert_commit(f, path, err);
}
