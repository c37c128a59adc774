// Two thousand functions that leak, each a block of its own size.
#include "truth.h"

enum { kSites = 2000 };

#define SITE(number)                                                                                                             \
    static LEAKING void leak_##number(void) {                                                                                    \
        TRUTH_HERE(site);                                                                                                        \
        truth_alloc(&site, malloc(truth_opaque(10000 + 1##number % 10000)), 10000 + 1##number % 10000);                          \
    }
#define NAME(number) leak_##number,

// number is written with four digits, and the 1 before it keeps the leading 0 from meaning octal.
#define TEN(m, p) m(p##0) m(p##1) m(p##2) m(p##3) m(p##4) m(p##5) m(p##6) m(p##7) m(p##8) m(p##9)
#define HUNDRED(m, p)                                                                                                            \
    TEN(m, p##0)                                                                                                                 \
    TEN(m, p##1) TEN(m, p##2) TEN(m, p##3) TEN(m, p##4) TEN(m, p##5) TEN(m, p##6) TEN(m, p##7) TEN(m, p##8) TEN(m, p##9)
#define THOUSAND(m, p)                                                                                                           \
    HUNDRED(m, p##0)                                                                                                             \
    HUNDRED(m, p##1)                                                                                                             \
    HUNDRED(m, p##2)                                                                                                             \
    HUNDRED(m, p##3)                                                                                                             \
    HUNDRED(m, p##4)                                                                                                             \
    HUNDRED(m, p##5)                                                                                                             \
    HUNDRED(m, p##6)                                                                                                             \
    HUNDRED(m, p##7)                                                                                                             \
    HUNDRED(m, p##8)                                                                                                             \
    HUNDRED(m, p##9)

THOUSAND(SITE, 0)
THOUSAND(SITE, 1)

static void (*const sites[kSites])(void) = {THOUSAND(NAME, 0) THOUSAND(NAME, 1)};

int main(int argc, char** argv) {
    truth_ready(argc, argv);
    for (int i = 0; i < kSites; i++) {
        sites[i]();
    }
    truth_finish(TRUTH_LIVE | TRUTH_CALLS);
}
