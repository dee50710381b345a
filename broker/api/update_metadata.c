/* SPDX-License-Identifier: Apache-2.0 */
/* update_metadata - UpdateMetadata (6), from the controller: answered when every loop has switched
 * to the new snapshot. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "broker/api/new_topics.h"
#include "broker/group/coordinator.h"
#include "broker/replica/replicas.h"
#include "common/base/slog.h"
#include "common/protocol/messages.h"

static void reply(struct request *r, int16_t error)
{
    struct kp_UpdateMetadataResponse response = {.error_code = error};
    request_reply(r, &response);
}

static void switched(void *arg)
{
    struct request *r = arg;
    struct broker *b = r->broker;
    new_topics_forget(b->api->new_topics, r->body); /* every loop knows them now */
    coordinator_metadata_changed(b->groups, r->body, metadata_current(r));
    reply(r, KE_NONE);
}

void api_update_metadata(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct kp_UpdateMetadataRequest *req = r->body;
    if (!api_cluster_allowed(r, ACL_CLUSTER_ACTION)) {
        reply(r, KE_CLUSTER_AUTHORIZATION_FAILED);
        return;
    }
    int16_t error =
        replicas_admit_controller(r->broker->replicas, req->controller_epoch, req->broker_epoch);
    if (error != KE_NONE) {
        SLOG(WARN, "api", "refused an UpdateMetadata request",
             KV_I("controller", req->controller_id), KV_I("epoch", req->controller_epoch),
             KV_KERR(error));
        reply(r, error);
        return;
    }
    struct errtext why;
    struct broker *b = r->broker; /* switched may end the request before we come back */
    if (metadata_cache_update(b->metadata, req, r->loop, switched, r, &why) != ERR_OK) {
        SLOG(ERROR, "api", "rejected an invalid UpdateMetadata request",
             KV_I("controller", req->controller_id), KV_S("why", why.text));
        reply(r, KE_INVALID_REQUEST);
        return;
    }
    struct metadata *latest = metadata_cache_latest(b->metadata);
    replicas_metadata_changed(b->replicas, latest);
    metadata_unref(&latest);
}
