/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of zkc_core share. */
#ifndef TOOLS_ZKCONSUMER_ZKC_CORE_INTERNAL_H
#define TOOLS_ZKCONSUMER_ZKC_CORE_INTERNAL_H

#include "tools/zkconsumer/zkc_core.h"

/* ---- zkc_core.c */
struct zkc_effect *zkc_effect_add(struct zkc_effects *effects, enum zkc_effect_kind kind);
struct zkc_effect *zkc_trace(struct zkc_effects *effects, enum zkc_trace_kind kind,
                             const char *text);
uint32_t zkc_seq(struct zkc_core *c); /* never 0 */
/* Somebody deleted our registration while the session lives: it is written again. */
void zkc_registration_lost(struct zkc_core *c, struct zkc_effects *effects);

/* ---- zkc_core_read.c */
/* Begins to read everything; a round under way is given up. */
void zkc_round_begin(struct zkc_core *c, const char *reason, int64_t now_ms,
                     struct zkc_effects *effects);
void zkc_round_read(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects);
void zkc_snapshot_fini(struct zkc_snapshot *s);
/* What a round found out: who shall have which partition; sets wanted of every part. */
void zkc_round_assign(struct zkc_core *c, struct zkc_effects *effects);
/* In words, what is different; fallback when nothing is. */
void zkc_difference(const struct zkc_snapshot *old, const struct zkc_snapshot *now, char *out,
                    size_t size, const char *fallback);

/* ---- zkc_core_part.c */
struct zkc_part *zkc_part_find(struct zkc_core *c, const char *topic, int32_t partition);
struct zkc_part *zkc_part_add(struct zkc_core *c, const char *topic, int32_t partition);
/* Moves the part on towards what is wanted. True: the part is gone. */
bool zkc_part_drive(struct zkc_core *c, struct zkc_part *p, struct zkc_effects *effects);
void zkc_parts_drive(struct zkc_core *c, struct zkc_effects *effects);
void zkc_parts_event(struct zkc_core *c, const struct zkc_event *ev, struct zkc_effects *effects);
void zkc_parts_tick(struct zkc_core *c, int64_t now_ms, struct zkc_effects *effects);
int64_t zkc_parts_deadline_ms(const struct zkc_core *c);
void zkc_parts_commit(struct zkc_core *c, bool is_request, struct zkc_effects *effects);
/* All of them at once, without a word to ZooKeeper: the session is over. */
void zkc_parts_drop(struct zkc_core *c, struct zkc_effects *effects);
/* Leaving: what must be stopped and committed is, the rest goes with the session. */
void zkc_parts_leave(struct zkc_core *c, struct zkc_effects *effects);

#endif
