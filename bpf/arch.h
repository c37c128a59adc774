/* What differs between architectures at a function's entry and return. */
#ifndef MEMTRACE_ARCH_H
#define MEMTRACE_ARCH_H

/* The arguments by number, 1 to 6; number 0 gives 0. Number 7 is one more register that a probe behind the entry may find an argument
 * in (user/kernel/placement.hpp). An array and not a switch: no branch, and fixed offsets for the verifier. */
struct mt_arguments {
    __u64 value[8];
};

#if defined(__TARGET_ARCH_x86)

/* `ret` takes the return address off the stack. */
#define MT_RETURN_POPS 8

static __always_inline __u64 mt_stack_pointer(struct pt_regs* ctx) {
    return ctx->sp;
}
static __always_inline __u64 mt_frame_pointer(struct pt_regs* ctx) {
    return ctx->bp;
}
static __always_inline __u64 mt_base_pointer(struct pt_regs* ctx) {
    return ctx->bx;
}
static __always_inline __u64 mt_return_value(struct pt_regs* ctx) {
    return ctx->ax;
}

/* The word at `sp` at a function's entry; 0 where it cannot be read. */
static __always_inline __u64 mt_word_at(__u64 sp) {
    __u64 word = 0;
    bpf_probe_read_user(&word, sizeof(word), (void*)sp);
    return word;
}
static __always_inline __u64 mt_return_address(struct pt_regs* ctx) {
    return mt_word_at(ctx->sp);
}

static __always_inline struct mt_arguments mt_arguments_of(struct pt_regs* ctx) {
    return (struct mt_arguments){{0, ctx->di, ctx->si, ctx->dx, ctx->cx, ctx->r8, ctx->r9, ctx->ax}};
}

#elif defined(__TARGET_ARCH_arm64)

#define MT_RETURN_POPS 0

#define MT_REGS(ctx) ((struct user_pt_regs*)(ctx))
static __always_inline __u64 mt_stack_pointer(struct pt_regs* ctx) {
    return MT_REGS(ctx)->sp;
}
static __always_inline __u64 mt_frame_pointer(struct pt_regs* ctx) {
    return MT_REGS(ctx)->regs[29];
}
static __always_inline __u64 mt_return_value(struct pt_regs* ctx) {
    return MT_REGS(ctx)->regs[0];
}
static __always_inline __u64 mt_word_at(__u64 sp) {
    __u64 word = 0;
    bpf_probe_read_user(&word, sizeof(word), (void*)sp);
    return word;
}
static __always_inline __u64 mt_return_address(struct pt_regs* ctx) {
    return MT_REGS(ctx)->regs[30];
}
static __always_inline struct mt_arguments mt_arguments_of(struct pt_regs* ctx) {
    __u64* x = MT_REGS(ctx)->regs;
    return (struct mt_arguments){{0, x[0], x[1], x[2], x[3], x[4], x[5], 0}};
}

#else
#error "unknown architecture"
#endif

static __always_inline __u64 mt_argument(const struct mt_arguments* arguments, __u32 number) {
    return arguments->value[number & 7];
}

#endif
