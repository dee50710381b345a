/* SPDX-License-Identifier: Apache-2.0 */
/* find_coordinator - FindCoordinator (10): which broker keeps a group's or a transactional id's
 * state. This broker has no coordinators yet and says so with the retriable error. */
#include "broker/api/api.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { KEY_GROUP = 0, KEY_TRANSACTION = 1 };

static int16_t find(const struct request *r, int8_t key_type, struct str key, const char **message)
{
    if (key_type != KEY_GROUP && key_type != KEY_TRANSACTION) {
        *message = "the key type must be 0 (group) or 1 (transactional id)";
        return KE_INVALID_REQUEST;
    }
    if (key_type == KEY_GROUP && !authorize(r, ACL_DESCRIBE, ACL_GROUP, key)) {
        *message = "not allowed to describe this group";
        return KE_GROUP_AUTHORIZATION_FAILED;
    }
    if (key_type == KEY_TRANSACTION && !authorize(r, ACL_DESCRIBE, ACL_TRANSACTIONAL_ID, key)) {
        *message = "not allowed to describe this transactional id";
        return KE_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    }
    *message = key_type == KEY_GROUP
                   ? "groups are coordinated through ZooKeeper; this broker has no coordinator"
                   : "this broker has no transaction coordinator";
    return KE_COORDINATOR_NOT_AVAILABLE;
}

void api_find_coordinator(struct request *r)
{
    const struct kp_FindCoordinatorRequest *req = r->body;
    struct kp_FindCoordinatorResponse a;
    const char *message;
    kp_defaults(&kp_FindCoordinatorResponse_schema, &a);
    if (r->api_version < 4) {
        a.error_code = find(r, req->key_type, req->key, &message);
        a.error_message = str_of(message);
        a.node_id = a.port = -1;
        a.host = STR_LIT("");
        request_reply(r, &a);
        return;
    }
    a.coordinators_count = i32_max(req->coordinator_keys_count, 0);
    a.coordinators = api_alloc(r, (size_t)a.coordinators_count, sizeof *a.coordinators);
    if (a.coordinators == NULL) {
        api_no_memory(r);
        return;
    }
    for (int32_t i = 0; i < a.coordinators_count; i++) {
        struct kp_FindCoordinatorResponse_Coordinator *c = &a.coordinators[i];
        c->key = req->coordinator_keys[i];
        c->node_id = c->port = -1;
        c->host = STR_LIT("");
        c->error_code = find(r, req->key_type, c->key, &message);
        c->error_message = str_of(message);
    }
    request_reply(r, &a);
}
