/* SPDX-License-Identifier: Apache-2.0 */
/* shutdown - asks the controller to move this broker's leaders away before it stops. Main thread.
 */
#ifndef BROKER_SHUTDOWN_H
#define BROKER_SHUTDOWN_H

#include "broker/broker.h"

struct tls_context;

/* ControlledShutdown with controlled.shutdown.max.retries and .retry.backoff.ms; blocks until it is
 * done, given up, or hurried by a second signal. tls: of the inter-broker listener, NULL: plain. */
void shutdown_controlled(struct broker *b, struct tls_context *tls);

#endif
