/*
 * Counts what an interpreter does, into a file that another process looks at: calls of Python functions, calls of
 * C functions from Python, and blocks of memory that were asked for. Loaded by guarded.py; needs no header of Python.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} Allocator; /* PyMemAllocatorEx */

enum { DOMAINS = 3 }; /* raw, memory, objects */
enum { CALL = 0, C_CALL = 4 }; /* PyTrace_CALL, PyTrace_C_CALL */

void PyMem_GetAllocator(int domain, Allocator *);
void PyMem_SetAllocator(int domain, Allocator *);
void PyEval_SetProfile(int (*)(void *, void *, int, void *), void *);

static struct {
    uint64_t calls, c_calls, allocations;
} *counts;
static Allocator before[DOMAINS];

static void count(uint64_t *which) {
    __atomic_fetch_add(which, 1, __ATOMIC_RELAXED);
}

static void *counted_malloc(void *context, size_t size) {
    Allocator *own = context;
    count(&counts->allocations);
    return own->malloc(own->context, size);
}

static void *counted_calloc(void *context, size_t number, size_t size) {
    Allocator *own = context;
    count(&counts->allocations);
    return own->calloc(own->context, number, size);
}

static void *counted_realloc(void *context, void *block, size_t size) {
    Allocator *own = context;
    count(&counts->allocations);
    return own->realloc(own->context, block, size);
}

static void plain_free(void *context, void *block) {
    Allocator *own = context;
    own->free(own->context, block);
}

static int seen(void *self, void *frame, int what, void *argument) {
    (void)self, (void)frame, (void)argument;
    if (what == CALL) count(&counts->calls);
    if (what == C_CALL) count(&counts->c_calls);
    return 0;
}

/* Write the counts into the first bytes of the file; 0: it cannot be had. */
int open_counts(const char *path) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return 0;
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return counts != MAP_FAILED;
}

/* Count the blocks that all threads ask for. */
void count_allocations(void) {
    for (int domain = 0; domain < DOMAINS; domain++) {
        PyMem_GetAllocator(domain, &before[domain]);
        Allocator counted = {&before[domain], counted_malloc, counted_calloc, counted_realloc, plain_free};
        PyMem_SetAllocator(domain, &counted);
    }
}

/* Count the calls of this thread. */
void count_calls(void) {
    PyEval_SetProfile(seen, NULL);
}
