/* SPDX-License-Identifier: Apache-2.0 */
/* panic - what the broker adds to the report of a panic: the request and the partition that the
 * thread works on, and what the controller knows. */
#ifndef BROKER_PANIC_H
#define BROKER_PANIC_H

struct broker;

/* Before threads start, once. */
void panic_describe(const struct broker *b);
/* b is about to go. */
void panic_describe_no_more(void);

#endif
