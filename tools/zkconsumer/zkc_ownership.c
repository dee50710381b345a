/* SPDX-License-Identifier: Apache-2.0 */
/* Every write that assumes something is a multi which checks it: a claim and a release that our
 * registration is there (only this session has written it), a commit in addition that the owner's
 * znode is. So a write that was made under one session and carried out under the next changes
 * nothing, and a former owner's late commit cannot move an offset back. */
#include "tools/zkconsumer/zkc_shell_internal.h"

#include "common/base/clock.h"

#include <stdio.h>

/* ---- registration */

static void register_checked(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);
    bool is_ours;

    if (k == NULL)
        return;
    is_ours = r->err == ERR_OK && r->stat.ephemeral_owner == coord_session_id(k->z->coord);
    zkc_call_finish_alive(k, ZKC_EV_REGISTERED,
                          is_ours            ? ZKC_OK
                          : r->err == ERR_OK ? ZKC_EXISTS
                                             : ZKC_FAILED);
}

static void register_created(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_EXISTS) /* an earlier try that took effect, or another session's */
        coord_exists(k->z->coord, k->path, false, &k->z->mailbox, register_checked, k);
    else
        zkc_call_finish_alive(k, ZKC_EV_REGISTERED,
                              r->err == ERR_OK ? ZKC_OK : zkc_failure(r->err));
}

static void register_parents_made(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);
    struct kafuka_zkc *z;
    struct buf doc = {0};
    struct zkdoc_consumer d;
    struct coord_op op;

    if (k == NULL)
        return;
    z = k->z;
    if (r->err != ERR_OK && r->err != ERR_EXISTS) {
        zkc_log(z, KAFUKA_ZKC_WARN, "cannot register: %s", err_text(r->err));
        zkc_call_finish_alive(k, ZKC_EV_REGISTERED, ZKC_FAILED);
        return;
    }
    d = (struct zkdoc_consumer){.pattern = z->pattern,
                                .subscriptions = z->subscriptions,
                                .subscription_count = z->subscription_count,
                                .timestamp_ms = clock_wall_ms(),
                                .is_ceil = z->options.is_ceil};
    zkdoc_consumer_format(&d, &doc);
    op = (struct coord_op){.kind = COORD_OP_CREATE,
                           .mode = COORD_EPHEMERAL,
                           .path = k->path,
                           .data = {doc.p, (int64_t)doc.len}};
    k->sent_ms = clock_mono_ms();
    coord_multi(z->coord, &op, 1, &z->mailbox, register_created, k);
    buf_fini(&doc);
}

void zkc_do_register(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct zkc_call *k = zkc_call_new(z, effects);

    k->path = zkc_registration_path(z);
    zkc_make_parents(k, register_parents_made);
}

static void heartbeat_done(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);
    bool is_ours;

    if (k == NULL)
        return;
    is_ours = r->err == ERR_OK && r->stat.ephemeral_owner == coord_session_id(k->z->coord);
    zkc_call_finish_alive(k, ZKC_EV_HEARTBEAT,
                          is_ours                   ? ZKC_OK
                          : r->err == ERR_OK        ? ZKC_EXISTS
                          : r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND
                                                    : ZKC_FAILED);
}

void zkc_do_heartbeat(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct zkc_call *k = zkc_call_new(z, effects);

    k->path = zkc_registration_path(z);
    coord_exists(z->coord, k->path, false, &z->mailbox, heartbeat_done, k);
}

/* ---- claims */

static void claim_done(void *arg, const struct coord_result *r);

static void claim_call(struct zkc_call *k)
{
    char *registration = zkc_registration_path(k->z);
    struct coord_op ops[] = {
        {.kind = COORD_OP_CHECK, .path = registration, .version = -1},
        {.kind = COORD_OP_CREATE,
         .mode = COORD_EPHEMERAL,
         .path = k->path,
         .data = {(const uint8_t *)k->data, (int64_t)strlen(k->data)}},
    };

    coord_multi(k->z->coord, ops, ARRAY_LEN(ops), &k->z->mailbox, claim_done, k);
    mem_free(registration);
}

static void claim_again(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_OK || r->err == ERR_EXISTS)
        claim_call(k);
    else
        zkc_call_finish(k, ZKC_EV_CLAIMED, ZKC_FAILED);
}

static void claim_owner_read(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);
    struct zkc_event ev = {.kind = ZKC_EV_CLAIMED, .result = ZKC_EXISTS};
    char *owner;

    if (k == NULL)
        return;
    if (r->err != ERR_OK) { /* gone again, or not to be read: from the beginning */
        if (r->err == ERR_NOT_FOUND && k->tries++ < CLAIM_TRIES_MAX)
            claim_call(k);
        else
            zkc_call_finish(k, ZKC_EV_CLAIMED, ZKC_FAILED);
        return;
    }
    owner = r->data.len > 0 ? xstrndup((const char *)r->data.p, (size_t)r->data.len) : xstrdup("");
    ev.part.topic = k->name;
    ev.part.partition = k->partition;
    ev.part.seq = k->seq;
    ev.part.owner = owner;
    ev.part.is_our_session = r->stat.ephemeral_owner == coord_session_id(k->z->coord);
    zkc_step(k->z, ev);
    mem_free(owner);
    zkc_call_free(k);
}

static void claim_done(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);
    int32_t op = zkc_failed_op(r);

    if (k == NULL)
        return;
    if (r->err == ERR_OK)
        zkc_call_finish(k, ZKC_EV_CLAIMED, ZKC_OK);
    else if (r->err == ERR_NOT_FOUND && op == 0)
        zkc_call_finish(k, ZKC_EV_CLAIMED, ZKC_UNREGISTERED);
    else if (r->err == ERR_NOT_FOUND && op == 1 && k->tries++ < CLAIM_TRIES_MAX)
        zkc_make_parents(k, claim_again);
    else if (r->err == ERR_EXISTS)
        coord_get(k->z->coord, k->path, true, &k->z->mailbox, claim_owner_read, k);
    else
        zkc_call_finish(k, ZKC_EV_CLAIMED, zkc_failure(r->err));
}

void zkc_do_claim(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct zkc_call *k = zkc_call_new(z, effects);

    k->path = zkc_path(z, "owners", k->name, k->partition);
    k->data = xasprintf("%s-%d", z->member_id, k->stream);
    claim_call(k);
}

/* ---- offsets */

static void offset_done(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);
    struct errtext why = {{0}};
    int64_t offset = -1;

    if (k == NULL)
        return;
    if (r->err == ERR_OK &&
        (zkdoc_number_parse(r->data, INT64_MIN, INT64_MAX, &offset, &why) != ERR_OK ||
         offset < 0)) {
        zkc_log(k->z, KAFUKA_ZKC_WARN, "%s holds no offset; beginning by auto.offset.reset",
                k->path);
        zkc_call_finish(k, ZKC_EV_OFFSET, ZKC_NOT_FOUND);
        return;
    }
    k->offset = offset;
    zkc_call_finish(k, ZKC_EV_OFFSET,
                    r->err == ERR_OK          ? ZKC_OK
                    : r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND
                                              : ZKC_FAILED);
}

void zkc_do_read_offset(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct zkc_call *k = zkc_call_new(z, effects);

    k->path = zkc_path(z, "offsets", k->name, k->partition);
    coord_get(z->coord, k->path, false, &z->mailbox, offset_done, k);
}

static void commit_done(void *arg, const struct coord_result *r);

static void commit_call(struct zkc_call *k)
{
    char *registration = zkc_registration_path(k->z);
    char *owner = zkc_path(k->z, "owners", k->name, k->partition);
    struct coord_op ops[] = {
        {.kind = COORD_OP_CHECK, .path = registration, .version = -1},
        {.kind = COORD_OP_CHECK, .path = owner, .version = 0}, /* we create it and never write it */
        {.kind = k->is_create ? COORD_OP_CREATE : COORD_OP_SET,
         .mode = COORD_PERSISTENT,
         .path = k->path,
         .data = {(const uint8_t *)k->data, (int64_t)strlen(k->data)},
         .version = -1},
    };

    coord_multi(k->z->coord, ops, ARRAY_LEN(ops), &k->z->mailbox, commit_done, k);
    mem_free(registration);
    mem_free(owner);
}

static void commit_again(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_OK || r->err == ERR_EXISTS)
        commit_call(k);
    else
        zkc_call_finish(k, ZKC_EV_COMMITTED, ZKC_FAILED);
}

static void commit_done(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);
    int32_t op = zkc_failed_op(r);

    if (k == NULL)
        return;
    if (r->err == ERR_OK)
        zkc_call_finish(k, ZKC_EV_COMMITTED, ZKC_OK);
    else if (r->err == ERR_NOT_FOUND && op == 0)
        zkc_call_finish(k, ZKC_EV_COMMITTED, ZKC_UNREGISTERED);
    else if ((r->err == ERR_NOT_FOUND || r->err == ERR_BAD_VERSION) && op == 1)
        zkc_call_finish(k, ZKC_EV_COMMITTED, ZKC_FENCED);
    else if (r->err == ERR_NOT_FOUND && op == 2 && k->is_create && k->tries++ < CLAIM_TRIES_MAX)
        zkc_make_parents(k, commit_again);
    else if (r->err == ERR_NOT_FOUND && op == 2)
        zkc_call_finish(k, ZKC_EV_COMMITTED, ZKC_NOT_FOUND);
    else if (r->err == ERR_EXISTS && op == 2)
        zkc_call_finish(k, ZKC_EV_COMMITTED, ZKC_EXISTS);
    else
        zkc_call_finish(k, ZKC_EV_COMMITTED, zkc_failure(r->err));
}

void zkc_do_commit(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    int64_t offset = effects->offset >= 0
                         ? effects->offset
                         : zkc_fetch_position(z->fetch, effects->topic, effects->partition);
    struct zkc_call *k;

    if (offset < 0 || offset == effects->committed) {
        zkc_later(z, ZKC_EV_COMMITTED, effects, ZKC_OK, effects->committed);
        return;
    }
    k = zkc_call_new(z, effects);
    k->offset = offset;
    k->path = zkc_path(z, "offsets", k->name, k->partition);
    k->data = xasprintf("%" PRId64, offset);
    commit_call(k);
}

/* ---- releases */

static void release_done(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_NOT_FOUND)
        zkc_call_finish(k, ZKC_EV_RELEASED,
                        zkc_failed_op(r) == 0 ? ZKC_UNREGISTERED : ZKC_NOT_FOUND);
    else
        zkc_call_finish(k, ZKC_EV_RELEASED, r->err == ERR_OK ? ZKC_OK : zkc_failure(r->err));
}

static void release_call(struct zkc_call *k)
{
    char *registration = zkc_registration_path(k->z);
    struct coord_op ops[] = {
        {.kind = COORD_OP_CHECK, .path = registration, .version = -1},
        {.kind = COORD_OP_DELETE, .path = k->path, .version = -1},
    };

    coord_multi(k->z->coord, ops, ARRAY_LEN(ops), &k->z->mailbox, release_done, k);
    mem_free(registration);
}

static void release_verified(void *arg, const struct coord_result *r)
{
    struct zkc_call *k = zkc_call_of(arg);

    if (k == NULL)
        return;
    if (r->err == ERR_OK && r->stat.ephemeral_owner == coord_session_id(k->z->coord))
        release_call(k);
    else
        zkc_call_finish(k, ZKC_EV_RELEASED,
                        r->err == ERR_OK || r->err == ERR_NOT_FOUND ? ZKC_NOT_FOUND : ZKC_FAILED);
}

void zkc_do_release(struct kafuka_zkc *z, const struct zkc_effect *effects)
{
    struct zkc_call *k = zkc_call_new(z, effects);

    k->path = zkc_path(z, "owners", k->name, k->partition);
    if (effects->verify)
        coord_exists(z->coord, k->path, false, &z->mailbox, release_verified, k);
    else
        release_call(k);
}
