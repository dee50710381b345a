/* SPDX-License-Identifier: Apache-2.0 */
/* The one rule for names of topics (Kafka's Topic.validate). */
#include "common/base/topic_name.h"

const char *topic_name_fault(struct str name)
{
    if (name.len <= 0)
        return "a topic name must not be empty";
    if (name.len > TOPIC_NAME_MAX)
        return "a topic name has at most 249 characters";
    if (str_eq_z(name, ".") || str_eq_z(name, ".."))
        return "a topic must not be called '.' or '..'";
    for (int32_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        bool is_fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-';
        if (!is_fine)
            return "a topic name consists of ASCII letters, digits, '.', '_' and '-'";
    }
    return NULL;
}

bool topic_name_is_valid(struct str name)
{
    return topic_name_fault(name) == NULL;
}
