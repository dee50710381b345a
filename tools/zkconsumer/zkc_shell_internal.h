/* SPDX-License-Identifier: Apache-2.0 */
/* zkc_shell_internal - what the files of the shell share. zkc_shell.c: the thread, what comes in,
 * which effect is carried out where. zkc_events.c: events of the core, calls on their way.
 * zkc_ownership.c: registration, claims, offsets, releases. zkc_reading.c: what the core wants to
 * read, and the brokers' addresses. All on the shell's thread. */
#ifndef TOOLS_ZKCONSUMER_ZKC_SHELL_INTERNAL_H
#define TOOLS_ZKCONSUMER_ZKC_SHELL_INTERNAL_H

#include "tools/zkconsumer/zkc_shell.h"

enum { CLAIM_TRIES_MAX = 3 };
#define ZKC_CALL_MAGIC 0x7a6b6363u

/* One effect on its way through ZooKeeper, perhaps in several steps. */
struct zkc_call {
    unsigned magic;
    struct kafuka_zkc *z;
    enum zkc_effect_kind kind;
    enum zkc_read what;
    char *name;                /* of a member or topic */
    int32_t partition, stream; /* BROKERS: stream is the wanted protocol */
    uint32_t seq;
    int64_t offset, sent_ms;
    bool is_create;
    int tries;
    char *path, *data; /* of the znode that it is about */
};

/* ---- zkc_events.c */

/* Gives the core the event, then carries out its effects, and so on with what those bring. */
void zkc_step(struct kafuka_zkc *z, struct zkc_event ev);
/* An event about a partition, for after the present one. */
void zkc_later(struct kafuka_zkc *z, enum zkc_event_kind kind, const struct zkc_effect *effects,
               enum zkc_result result, int64_t offset);
/* Paths of the group's znodes; the caller frees them. topic NULL: the folder. */
char *zkc_path(const struct kafuka_zkc *z, const char *what, const char *topic, int32_t partition);
char *zkc_registration_path(const struct kafuka_zkc *z);
struct zkc_call *zkc_call_new(struct kafuka_zkc *z, const struct zkc_effect *effects);
void zkc_call_free(struct zkc_call *k);
/* Ends a call about a partition with this event. */
void zkc_call_finish(struct zkc_call *k, enum zkc_event_kind kind, enum zkc_result result);
/* Ends a call that shows whether the server knows us. */
void zkc_call_finish_alive(struct zkc_call *k, enum zkc_event_kind kind, enum zkc_result result);
enum zkc_result zkc_failure(enum err e);
/* Which operation of a multi failed; -1: it is not known, or none did. */
int32_t zkc_failed_op(const struct coord_result *r);
/* The call that was answered. NULL: we have left meanwhile, it is released, and nothing is to be
 * done (the session may be closed already). */
struct zkc_call *zkc_call_of(void *arg);
/* The parents of k->path, then again. */
void zkc_make_parents(struct zkc_call *k, coord_done done);

/* ---- zkc_ownership.c: each carries out one kind of effect */
void zkc_do_register(struct kafuka_zkc *z, const struct zkc_effect *effects);
void zkc_do_heartbeat(struct kafuka_zkc *z, const struct zkc_effect *effects);
void zkc_do_claim(struct kafuka_zkc *z, const struct zkc_effect *effects);
void zkc_do_read_offset(struct kafuka_zkc *z, const struct zkc_effect *effects);
void zkc_do_commit(struct kafuka_zkc *z, const struct zkc_effect *effects);
void zkc_do_release(struct kafuka_zkc *z, const struct zkc_effect *effects);

/* ---- zkc_reading.c */
void zkc_do_read(struct kafuka_zkc *z, const struct zkc_effect *effects);
void zkc_do_brokers(struct kafuka_zkc *z);

#endif
