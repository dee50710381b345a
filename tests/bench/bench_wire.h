/* SPDX-License-Identifier: Apache-2.0 */
/* bench_wire - many connections to brokers on one thread, requests pipelined on each: so that the
 * broker is measured and not a client. Addresses are IPv4 and numeric: loopback. Anything that does
 * not fit ends the program. */
#ifndef TESTS_BENCH_WIRE_H
#define TESTS_BENCH_WIRE_H

#include "common/base/base.h"

struct wire_peer;

/* An answer, or (response NULL) that the connection ended before it. tag: what the request was sent
 * with. response: the API's struct, valid during the call. */
typedef void (*wire_answer)(void *arg, struct wire_peer *p, int16_t key, uint32_t tag,
                            const void *response);

void wire_init(wire_answer answer, void *arg);
/* NULL: nothing listens there. host: a dotted address. */
struct wire_peer *wire_open(const char *host, int port);
/* Unanswered requests are told. The memory lives until the program ends: pointers stay good. */
void wire_close(struct wire_peer *p);
bool wire_is_open(const struct wire_peer *p);
/* False: the connection has ended. Sent by the next wire_run. */
NODISCARD bool wire_send(struct wire_peer *p, int16_t key, int16_t version, const void *request,
                         uint32_t tag);
/* Sends, waits up to timeout_ms for answers and delivers them. */
void wire_run(int timeout_ms);

/* The value below which share (0..1) of the values lie; sorts them. 0 without values. */
double bench_percentile(double *values, size_t count, double share);
_Noreturn void bench_die(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* The program was asked to end: its standard input is at its end. */
bool bench_input_ended(void);

struct bench_args {
    const char *hosts[16]; /* bootstrap addresses */
    int ports[16];
    int host_count;
    const char *topic;
    int partitions, groups, members, rounds, connections;
    int64_t count, rate, heartbeat_ms, seconds_max;
    bool until_eof;
};
int bench_commits(const struct bench_args *a);
int bench_rebalances(const struct bench_args *a);
int bench_heartbeats(const struct bench_args *a);

#endif
