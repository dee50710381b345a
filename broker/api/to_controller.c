/* SPDX-License-Identifier: Apache-2.0 */
/* to_controller - requests that the controller module answers itself: ControlledShutdown (7),
 * ElectLeaders (43), reassignments (45, 46), AlterPartition (56), AllocateProducerIds (67). Its
 * answer comes by mail to the request's loop; when it is not active, the answer says so. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"
#include "controller/controller.h"

static void answered(void *arg, const void *response)
{
    request_reply(arg, response);
}

static void refuse_elect(struct request *r)
{
    struct kp_ElectLeadersResponse a;
    kp_defaults(&kp_ElectLeadersResponse_schema, &a);
    if (r->api_version == 0) { /* no place for an error of the whole */
        request_close(r, "not allowed to elect leaders");
        return;
    }
    a.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
    request_reply(r, &a);
}

static void refuse_alter_reassignments(struct request *r)
{
    struct kp_AlterPartitionReassignmentsResponse a;
    kp_defaults(&kp_AlterPartitionReassignmentsResponse_schema, &a);
    a.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
    a.error_message = STR_LIT("not allowed to alter the cluster");
    request_reply(r, &a);
}

static void refuse_list_reassignments(struct request *r)
{
    struct kp_ListPartitionReassignmentsResponse a;
    kp_defaults(&kp_ListPartitionReassignmentsResponse_schema, &a);
    a.error_code = KE_CLUSTER_AUTHORIZATION_FAILED;
    a.error_message = STR_LIT("not allowed to describe the cluster");
    request_reply(r, &a);
}

void api_to_controller(struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    if (r->api_key == KP_API_ELECT_LEADERS && !api_cluster_allowed(r, ACL_ALTER))
        refuse_elect(r);
    else if (r->api_key == KP_API_ALTER_PARTITION_REASSIGNMENTS &&
             !api_cluster_allowed(r, ACL_ALTER))
        refuse_alter_reassignments(r);
    else if (r->api_key == KP_API_LIST_PARTITION_REASSIGNMENTS &&
             !api_cluster_allowed(r, ACL_DESCRIBE))
        refuse_list_reassignments(r);
    else
        controller_request(r->broker->controller, r->api_key, r->api_version, r->body,
                           loop_mailbox(r->loop), answered, r);
}
