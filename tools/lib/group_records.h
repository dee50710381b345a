/* SPDX-License-Identifier: Apache-2.0 */
/* group_records - the records of __consumer_offsets as Kafka's programs print them. Pure: any
 * bytes, appends to a buffer. */
#ifndef TOOLS_LIB_GROUP_RECORDS_H
#define TOOLS_LIB_GROUP_RECORDS_H

#include "common/base/base.h"

/* As the formatter classes of these releases do; each prints one kind of record and is silent of
 * the others. */
enum group_records_style {
    GROUP_RECORDS_NONE,
    GROUP_RECORDS_OFFSETS,       /* JSON: org.apache.kafka.tools.consumer.*, 3.9 */
    GROUP_RECORDS_OFFSETS_TEXT,  /* kafka.coordinator.group.*, 2.1 to 3.9 */
    GROUP_RECORDS_OFFSETS_0_10,  /* kafka.coordinator.*, 0.9 to 0.10 */
    GROUP_RECORDS_OFFSETS_0_8_2, /* kafka.server.*, 0.8.2 */
    GROUP_RECORDS_GROUPS,
    GROUP_RECORDS_GROUPS_TEXT
};
/* By the name of a formatter class; NONE: it is another one. */
enum group_records_style group_records_style_of(const char *class_name);
/* One line with its end, or nothing. INVALID with text: the record is damaged. */
NODISCARD enum err group_records_format(enum group_records_style style, struct bytes key,
                                        struct bytes value, struct buf *out, struct errtext *why);

/* For DumpLogSegments --offsets-decoder: what is printed after "key: " and "payload: ". False:
 * there is no payload to print (a record that is not known or damaged; key says so). */
bool group_records_decode(struct bytes key, struct bytes value, int64_t offset, struct buf *key_out,
                          struct buf *payload_out);

#endif
