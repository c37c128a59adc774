// Stacks by number: at_the_end() is called by as many different ways as there are numbers of `bits` bits. For one source file of a program.
#pragma once

#include "truth.h"

static LEAKING void at_the_end(void); // of the program

static void go_by(unsigned way, int bits);

// Two of them, so that each bit of `way` is a place in the stack.
static LEAKING void left(unsigned way, int bits) {
    go_by(way, bits);
    truth_opaque(0);
}
static LEAKING void right(unsigned way, int bits) {
    go_by(way, bits);
    truth_opaque(0);
}
static LEAKING void go_by(unsigned way, int bits) {
    if (bits == 0) {
        at_the_end();
    } else if (way & 1) {
        left(way >> 1, bits - 1);
    } else {
        right(way >> 1, bits - 1);
    }
    truth_opaque(0);
}
