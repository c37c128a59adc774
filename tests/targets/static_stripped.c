// The same program without any symbols (targets.mk strips it): there is no malloc that a tracer could find, and it has to say so.
#include "static_malloc.c"
