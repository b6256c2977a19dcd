/* The kernels of datasets/nests.py in C: program KERNEL N REPETITIONS prints seconds per repetition, the best of several rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#define K __attribute__((noinline, noclone))
typedef double *restrict out_t;
typedef const double *restrict in_t;
static volatile double sink;

K void copy(long n, out_t a, in_t b) { for (long i = 0; i < n; i++) a[i] = b[i]; }
K void triad(long n, out_t a, in_t b, in_t c, double s) { for (long i = 0; i < n; i++) a[i] = b[i] + s * c[i]; }
K void dot(long n, in_t a, in_t b) { double s = 0; for (long i = 0; i < n; i++) s += a[i] * b[i]; sink = s; }
K void divide(long n, out_t a, in_t b, in_t c) { for (long i = 0; i < n; i++) a[i] = b[i] / c[i]; }
K void horner(long n, out_t a, in_t b, double s)
{
    for (long i = 0; i < n; i++) { double x = b[i], y = s; y = y * x + s; y = y * x + s; y = y * x + s; y = y * x + s; y = y * x + s; y = y * x + s; y = y * x + s; y = y * x + s; a[i] = y; }
}
/* the asm keeps the branch a branch: the compiler would else make a conditional move of it */
K void positive_sum(long n, in_t a) { double s = 0; for (long i = 0; i < n; i++) if (a[i] > 0) { __asm__ volatile(""); s += a[i]; } sink = s; }
K void strided_sum(long n, in_t a) { double s = 0; for (long i = 0; i < n; i++) s += a[i * 8]; sink = s; }
K void transpose(long n, out_t a, in_t b) { for (long i = 0; i < n; i++) for (long j = 0; j < n; j++) a[i * n + j] = b[j * n + i]; }
K void matvec(long n, out_t y, in_t A, in_t x)
{
    for (long i = 0; i < n; i++) { double s = 0; for (long j = 0; j < n; j++) s += A[i * n + j] * x[j]; y[i] = s; }
}
K void matmul_ijk(long n, out_t C, in_t A, in_t B)
{
    for (long i = 0; i < n; i++) for (long j = 0; j < n; j++) { double s = C[i * n + j]; for (long k = 0; k < n; k++) s += A[i * n + k] * B[k * n + j]; C[i * n + j] = s; }
}
K void matmul_ikj(long n, out_t C, in_t A, in_t B)
{
    for (long i = 0; i < n; i++) for (long k = 0; k < n; k++) { double a = A[i * n + k]; for (long j = 0; j < n; j++) C[i * n + j] += a * B[k * n + j]; }
}
K void matmul_ikj_tiled(long n, out_t C, in_t A, in_t B)
{
    enum { T = 32 };
    for (long I = 0; I < n; I += T) for (long L = 0; L < n; L += T) for (long J = 0; J < n; J += T)
        for (long i = I; i < I + T; i++) for (long k = L; k < L + T; k++) { double a = A[i * n + k]; for (long j = J; j < J + T; j++) C[i * n + j] += a * B[k * n + j]; }
}
K void jacobi(long n, out_t b, in_t a, double s)
{
    for (long i = 1; i < n - 1; i++) for (long j = 1; j < n - 1; j++)
        b[i * n + j] = s * (a[i * n + j] + a[(i - 1) * n + j] + a[(i + 1) * n + j] + a[i * n + j - 1] + a[i * n + j + 1]);
}
K void stencil3d(long n, out_t b, in_t a, double c0, double c1)
{
    for (long i = 1; i < n - 1; i++) for (long j = 1; j < n - 1; j++) for (long k = 1; k < n - 1; k++) {
        long at = (i * n + j) * n + k;
        b[at] = c0 * a[at] + c1 * (a[at - 1] + a[at + 1] + a[at - n] + a[at + n] + a[at - n * n] + a[at + n * n]);
    }
}
/* the window is a parameter: a constant one would be unrolled */
K void conv2d(long n, long m, out_t o, in_t in, in_t w)
{
    for (long i = 0; i <= n - m; i++) for (long j = 0; j <= n - m; j++) {
        double s = 0;
        for (long y = 0; y < m; y++) for (long x = 0; x < m; x++) s += in[(i + y) * n + j + x] * w[y * m + x];
        o[i * (n - m + 1) + j] = s;
    }
}

static long elements(const char *k, long n)
{
    if (!strcmp(k, "strided_sum")) return 8 * n;
    if (!strcmp(k, "stencil3d")) return n * n * n;
    return !strcmp(k, "transpose") || !strncmp(k, "mat", 3) || !strcmp(k, "jacobi") || !strcmp(k, "conv2d") ? n * n : n;
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    const char *k = argv[1];
    long n = atol(argv[2]), repetitions = atol(argv[3]), size = elements(k, n), rounds = argc > 4 ? atol(argv[4]) : 1;
    /* three arrays, each at its own offset within a page: equal offsets would collide in one set */
    double *a = aligned_alloc(4096, (size * 8 / 4096 + 3) * 4096), *b = (double *)aligned_alloc(4096, (size * 8 / 4096 + 3) * 4096) + 168, *c = (double *)aligned_alloc(4096, (size * 8 / 4096 + 3) * 4096) + 336;
    unsigned long long x = 88172645463325252ull;
    for (long i = 0; i < size; i++) {
        x ^= x << 13; x ^= x >> 7; x ^= x << 17;
        a[i] = 1.0; b[i] = (double)(x >> 11) / 9007199254740992.0 + 0.5; c[i] = 1.0 + b[i];
    }
    if (!strcmp(k, "positive_sum")) for (long i = 0; i < size; i++) b[i] -= 1.0;
    double best = 1e30;
    for (long round = 0; round < rounds; round++) {
        struct timespec t0, t1;
        clock_gettime(CLOCK_MONOTONIC, &t0);
        for (long r = 0; r < repetitions; r++) {
            if (!strcmp(k, "copy")) copy(n, a, b);
            else if (!strcmp(k, "triad")) triad(n, a, b, c, 0.5);
            else if (!strcmp(k, "dot")) dot(n, b, c);
            else if (!strcmp(k, "divide")) divide(n, a, b, c);
            else if (!strcmp(k, "horner")) horner(n, a, b, 0.25);
            else if (!strcmp(k, "positive_sum")) positive_sum(n, b);
            else if (!strcmp(k, "strided_sum")) strided_sum(n, b);
            else if (!strcmp(k, "transpose")) transpose(n, a, b);
            else if (!strcmp(k, "matvec")) matvec(n, a, b, c);
            else if (!strcmp(k, "matmul_ijk")) matmul_ijk(n, a, b, c);
            else if (!strcmp(k, "matmul_ikj")) matmul_ikj(n, a, b, c);
            else if (!strcmp(k, "matmul_ikj_tiled")) matmul_ikj_tiled(n, a, b, c);
            else if (!strcmp(k, "jacobi")) jacobi(n, a, b, 0.2);
            else if (!strcmp(k, "stencil3d")) stencil3d(n, a, b, 0.5, 0.1);
            else if (!strcmp(k, "conv2d")) conv2d(n, argc > 5 ? atol(argv[5]) : 3, a, b, c);
            else return 3;
        }
        clock_gettime(CLOCK_MONOTONIC, &t1);
        double s = (t1.tv_sec - t0.tv_sec + 1e-9 * (t1.tv_nsec - t0.tv_nsec)) / repetitions;
        if (s < best) best = s;
    }
    printf("%.9e\n", best);
    return 0;
}
