/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_page - what the broker's modules count, as a part of /metrics, and /groups/history. */
#ifndef BROKER_METRICS_PAGE_H
#define BROKER_METRICS_PAGE_H

#include "common/base/base.h"

struct broker;
struct http;
struct lag_monitor;

struct metrics_page {
    const struct broker *broker;
    struct lag_monitor *lag; /* NULL: nobody asks for it */
};

/* h shows what p names from now on, on its thread, until http_stop(); p and what it names live as
 * long. h NULL is fine. */
void metrics_page_start(struct metrics_page *p, struct http *h);

#endif
