/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what. Without an authorizer (authorizer.class.name is empty) everybody may do
 * everything, as in Kafka. */
#include "broker/server/request.h"

bool authorize(const struct request *r, enum acl_operation op, enum acl_resource type,
               struct str name)
{
    ASSERT(r->principal.len > 0);
    (void)op;
    (void)type;
    (void)name;
    return true;
}
