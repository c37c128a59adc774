/* The stack of a thread that is in the kernel, for a system call or a page fault. Other than at a function's entry nothing says where
 * the innermost return address lies: this looks for it. */
#ifndef MEMTRACE_USER_STACK_H
#define MEMTRACE_USER_STACK_H

#include "bpf/walk.h"

/* How far up a stack frameless callers are looked for. A page fault has a word's time: the functions that only touch memory push
 * nothing. A wrapper of a system call may keep something, and be called by another. */
#define MT_SCANNED_WORDS 16
#define MT_FAULT_WORDS 1
#define MT_FRAMELESS_CALLERS 2

#if defined(__TARGET_ARCH_x86)

/* A function is shorter than this; hardly any is. */
#define MT_FUNCTION_BYTES (1u << 16)
#define MT_FAR_BYTES (1ll << 20)
#define MT_NO_CALL (~0ull)
#define MT_CALL_SOMEWHERE (~0ull - 1) /* through a register, into another object */

static __always_inline __s32 displacement(const __u8* bytes) {
    return (__s32)((__u32)bytes[0] | (__u32)bytes[1] << 8 | (__u32)bytes[2] << 16 | (__u32)bytes[3] << 24);
}

/* How far behind the beginning of the called function `ip` lies, if the word at `at` follows a call that can have led there; MT_NO_CALL
 * where it follows none. A return address is known by that: of all calls, the one to the nearest beginning is to the function that `ip` is in.
 * Calls through a linkage table are looked up in it. Global, so that it is verified once. */
__noinline __u64 mt_call_distance(__u64 at, __u64 ip) {
    __u64 word = mt_word_at(at);
    __u8 before[6];
    __u8 stub[16];
    __u64 target;
    __s64 apart = (__s64)(ip - word);

    if (word < MT_MIN_CODE_ADDRESS || word >= MT_MAX_CODE_ADDRESS ||
        bpf_probe_read_user(before, sizeof(before), (void*)(word - 6))) {
        return MT_NO_CALL;
    }
    if (before[1] == 0xe8) { /* call */
        target = word + displacement(before + 2);
        if (ip - target < MT_FUNCTION_BYTES) {
            return ip - target;
        }
        if (bpf_probe_read_user(stub, sizeof(stub), (void*)target)) {
            return MT_NO_CALL;
        }
        if (stub[0] == 0xff && stub[1] == 0x25) { /* jmp *entry(%rip), perhaps behind endbr64, perhaps with a bnd prefix */
            target += 6 + displacement(stub + 2);
        } else if (stub[4] == 0xff && stub[5] == 0x25) {
            target += 10 + displacement(stub + 6);
        } else if (stub[5] == 0xff && stub[6] == 0x25) {
            target += 11 + displacement(stub + 7);
        } else {
            return MT_NO_CALL;
        }
        target = mt_word_at(target);
    } else if (before[0] == 0xff && before[1] == 0x15) { /* call *entry(%rip) */
        target = mt_word_at(word + displacement(before + 2));
    } else if (before[4] == 0xff && (before[5] & 0xf8) == 0xd0) { /* call *%reg */
        return apart > MT_FAR_BYTES || apart < -MT_FAR_BYTES ? MT_CALL_SOMEWHERE : MT_NO_CALL;
    } else {
        return MT_NO_CALL;
    }
    return ip - target < MT_FUNCTION_BYTES ? ip - target : MT_NO_CALL;
}

/* Which of the `words` at `sp`, up to the first frame, is the return address into the caller of the function that `ip` is in: where it
 * lies, 0 where there is none. */
__noinline __u64 mt_find_caller(__u64 sp, __u64 fp, __u32 words, __u64 ip) {
    __u64 nearest = MT_NO_CALL;
    __u64 found = 0;
    for (__u32 i = 0; i < MT_SCANNED_WORDS; i++, sp += 8) {
        __u64 distance;
        if (i >= words || sp == fp) {
            break;
        }
        distance = mt_call_distance(sp, ip);
        if (distance < nearest) {
            nearest = distance;
            found = sp;
        }
    }
    return found;
}

/* C libraries have no frames: neither their system call wrappers nor their memory functions. Frame pointers alone would miss the very
 * function that called them. So look for return addresses at the top of the stack. Returns how many addresses `stack` has then; the
 * first is there. */
static __always_inline __u32 mt_frameless_callers(struct mt_stack* stack, __u64 sp, __u64 fp, __u32 words, __u64* hash) {
    __u64 ip = stack->address[0];
    for (__u32 level = 1; level <= MT_FRAMELESS_CALLERS; level++) {
        __u64 at;
        if (level > 1 && mt_call_distance(fp + 8, ip) != MT_NO_CALL) {
            return level; /* its frame is the next one */
        }
        at = mt_find_caller(sp, fp, words, ip);
        if (!at) {
            return level;
        }
        ip = mt_word_at(at);
        stack->address[level] = ip;
        *hash = mt_hash_step(*hash, ip);
        sp = at + 8;
    }
    return MT_FRAMELESS_CALLERS + 1;
}

static __always_inline __u64 mt_instruction(struct pt_regs* regs) {
    return regs->ip;
}
/* By number, 1 to 6, as mt_arguments_of. */
static __always_inline struct mt_arguments mt_syscall_arguments(struct pt_regs* regs) {
    return (struct mt_arguments){{0, regs->di, regs->si, regs->dx, regs->r10, regs->r8, regs->r9, 0}};
}
/* True where the thread is in the kernel for a system call: then its instruction pointer is a return address already. */
static __always_inline int mt_in_system_call(struct pt_regs* regs) {
    return (__s64)regs->orig_ax >= 0;
}

#elif defined(__TARGET_ARCH_arm64)

static __always_inline __u32 mt_frameless_callers(struct mt_stack* stack, __u64 sp, __u64 fp, __u32 words, __u64* hash) {
    (void)stack, (void)sp, (void)fp, (void)words, (void)hash;
    return 1;
}
static __always_inline __u64 mt_instruction(struct pt_regs* regs) {
    return MT_REGS(regs)->pc;
}
static __always_inline struct mt_arguments mt_syscall_arguments(struct pt_regs* regs) {
    __u64* x = MT_REGS(regs)->regs;
    return (struct mt_arguments){{0, MT_REGS(regs)->regs[0], x[1], x[2], x[3], x[4], x[5], 0}};
}
static __always_inline int mt_in_system_call(struct pt_regs* regs) {
    (void)regs;
    return 1; /* not told apart: the address may be named after the instruction before it */
}

#endif

/* The stack of code at `ip`, of whose words `words` are searched for frameless callers. Returns its hash. Global: see above. */
__noinline __u64 mt_stack_at(struct mt_stack* stack, __u64 ip, __u64 sp, __u64 fp, __u32 words) {
    __u64 hash = mt_hash_step(MT_HASH_SEED, ip);
    __u32 depth;
    if (!stack) {
        return 0;
    }
    stack->address[0] = ip;
    depth = mt_frameless_callers(stack, sp, fp, words, &hash);
    __asm__ volatile("" : "+r"(depth)); /* or the walk is verified once for each value */
    return mt_walk_frames(stack, depth <= MT_FRAMELESS_CALLERS ? depth : MT_FRAMELESS_CALLERS + 1, hash, sp, fp);
}

/* The stack of the current thread's user code, into its scratch. Returns the hash; 0: it has no user code (a kernel worker). */
static __always_inline __u64 mt_user_stack(struct task_struct* task, struct mt_stack* stack, __u32 words, __u64* code) {
    struct pt_regs* regs = (struct pt_regs*)bpf_task_pt_regs(task);
    __u64 ip = mt_instruction(regs);

    if (ip < MT_MIN_CODE_ADDRESS || ip >= MT_MAX_CODE_ADDRESS) {
        *code = 0;
        return 0;
    }
    /* All addresses of a stack are return addresses: names are looked up for the byte before. */
    *code = mt_in_system_call(regs) ? ip : ip + 1;
    return mt_stack_at(stack, *code, mt_stack_pointer(regs), mt_frame_pointer(regs), words);
}

#endif
