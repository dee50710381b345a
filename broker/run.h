/* SPDX-License-Identifier: Apache-2.0 */
/* run - the broker from the first bound socket to the last closed session: the order in which the
 * parts are made, joined and taken down. Main thread. */
#ifndef BROKER_RUN_H
#define BROKER_RUN_H

#include "broker/config/config.h"

/* Runs until a stop is asked for and done. c: finished; taken. ERR_OK: stopped in order. Else text:
 * one line for the user; what had been made is taken down again. started (may be NULL) is called
 * once when the broker serves. */
NODISCARD enum err run_broker(struct config *c, void (*started)(void), struct errtext *why);
/* From a signal handler: the first call asks to stop in order, the second to hurry. */
void run_stop(void);
bool run_is_hurried(void);
/* Any thread: ends main's run_wait. */
void run_wake(void);
/* Sleeps until the next run_stop or run_wake, at most ms (-1: without end). */
void run_wait(int64_t ms);

#endif
