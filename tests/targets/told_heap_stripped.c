// As told_heap, static and stripped: no function of an allocator is to be found in it.
#include "told_heap.c"
