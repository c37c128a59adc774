// As told_plain, and fires no otel_memory:free.
#define ALLOC_ONLY
#include "told_plain.c"
