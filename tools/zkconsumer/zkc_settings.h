/* SPDX-License-Identifier: Apache-2.0 */
/* zkc_settings - the properties of a consumer: one typed table of the old consumer's names and
 * ours; what librdkafka is given. One thread. */
#ifndef TOOLS_ZKCONSUMER_ZKC_SETTINGS_H
#define TOOLS_ZKCONSUMER_ZKC_SETTINGS_H

#include "common/base/base.h"

#include <librdkafka/rdkafka.h>

struct zkc_settings {
    /* ---- filled from the table */
    char *group_id, *zookeeper_connect, *consumer_id, *client_id;
    int64_t session_timeout_ms, connection_timeout_ms, sync_time_ms, backoff_ms;
    int32_t max_retries;
    bool auto_commit;
    int64_t auto_commit_interval_ms;
    char *offset_reset;
    int64_t consumer_timeout_ms;
    bool exclude_internal;
    char *strategy, *assignment, *hash_text, *log_level, *offsets_storage;
    bool done_explicit;
    int64_t drain_max_ms, resync_ms, leave_max_ms;
    int64_t message_max_bytes, fetch_min_bytes, fetch_wait_ms;
    int64_t ignored_number;
    bool ignored_bool;
    /* ---- */
    rd_kafka_conf_t *rk; /* what goes to librdkafka; taken by who makes the client */
};

void zkc_settings_init(struct zkc_settings *s);
void zkc_settings_fini(struct zkc_settings *s);
/* NOT_FOUND: unknown or without effect here, the text says which; INVALID, UNSUPPORTED: with text.
 */
NODISCARD enum err zkc_settings_set(struct zkc_settings *s, const char *name, const char *value,
                                    struct errtext *why);
/* What must be there is there, and dependent defaults are filled in. INVALID with text. */
NODISCARD enum err zkc_settings_finish(struct zkc_settings *s, struct errtext *why);
/* All properties as help text. */
void zkc_settings_help(struct buf *out);

#endif
