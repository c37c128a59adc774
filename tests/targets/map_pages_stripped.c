// The same program, static and without any symbols (targets.mk): nothing but its pages can be followed.
#include "map_pages.c"
