/* SPDX-License-Identifier: Apache-2.0 */
/* check - assertions that stay on in every build, object magics, and the panic report. Any thread.
 */
#ifndef COMMON_BASE_CHECK_H
#define COMMON_BASE_CHECK_H

/* ASSERT: our own invariant. A false one is a bug here, never bad input: it prints where and what,
 * runs the registered dumpers, and aborts (the kernel keeps a core). Input is checked with errors,
 * not with ASSERT. cond only looks: it assigns nothing and calls only functions that change nothing
 * (tests/tidy has their names), so the program does the same without it. */
#define ASSERT(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            check_panic(__FILE__, __LINE__, __func__, #cond);                                      \
    } while (0)
/* MUST: a call that is made for what it does and cannot fail unless there is a bug here: joining
 * our own thread, setting a known option. The expression is evaluated exactly once, in every build;
 * when it is false the process panics with its text, as with ASSERT. What may fail while everything
 * is right (memory, disk, peers) is an error to handle, not MUST. */
#define MUST(call)                                                                                 \
    do {                                                                                           \
        if (__builtin_expect(!(call), 0))                                                          \
            check_panic(__FILE__, __LINE__, __func__, #call);                                      \
    } while (0)
#define UNREACHABLE() check_panic(__FILE__, __LINE__, __func__, "unreachable")

/* Objects that travel through void * begin with `unsigned magic`. CAST_OBJ gives back the typed
 * pointer or panics. */
#define CHECK_OBJ(ptr, magic_value)                                                                \
    do {                                                                                           \
        ASSERT((ptr) != NULL);                                                                     \
        ASSERT((ptr)->magic == (magic_value));                                                     \
    } while (0)
#define CAST_OBJ(to, from, magic_value)                                                            \
    do {                                                                                           \
        (to) = (from);                                                                             \
        CHECK_OBJ((to), (magic_value));                                                            \
    } while (0)

__attribute__((noreturn)) void check_panic(const char *file, int line, const char *func,
                                           const char *what);

/* Adds a function that writes some state to fd when the process panics, on the thread that does. It
 * may read what it likes, takes no lock and allocates nothing; what it reads of other threads may
 * change meanwhile, so it follows no list. At most 16; call before threads start. */
void check_add_dumper(void (*dump)(int fd, void *arg), void *arg);

#endif
