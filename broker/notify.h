/* SPDX-License-Identifier: Apache-2.0 */
/* notify - tells the service manager where we are (sd_notify's protocol), without its library. */
#ifndef BROKER_NOTIFY_H
#define BROKER_NOTIFY_H

/* Sends state ("READY=1") to the socket that NOTIFY_SOCKET names; nothing without that variable. */
void notify_service(const char *state);

#endif
