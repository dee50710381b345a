/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-doctor: stands where the user stands and tries what a client does, one step after the
 * other: resolve, connect, ApiVersions, Metadata, then each broker by the address that it
 * advertises. Every failure comes with its cure. Nothing is written to the cluster. */
#include "common/base/clock.h"
#include "tools/lib/admin.h"
#include "tools/doctor.h"
#include "tools/lib/tool.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The whole takes BUDGET_STEPS times --timeout-ms at most, however many brokers are silent. */
enum { DEFAULT_STEP_TIMEOUT_MS = 3000, BUDGET_STEPS = 6, WRONG_USAGE = 2, RESOURCE_BROKER = 4 };

static const struct opt_spec specs[] = {
    {"bootstrap-server", OPT_TEXT, "host:port,...",
     "REQUIRED: the addresses that the client is given.", 0, 0},
    {"command-config", OPT_TEXT, "file",
     "A properties file for the connection: security.protocol, ssl.ca.location and the like.", 0,
     0},
    {"zookeeper", OPT_TEXT, "host:port,.../chroot",
     "Also compare the brokers that were found with those that are registered in this ZooKeeper.",
     0, 0},
    {"timeout-ms", OPT_INT, "ms",
     "How long one step may take (default 3000); all steps together take at most six times as "
     "long.",
     1, INT32_MAX},
};

static const struct opt_command command = {
    .name = "doctor",
    .summary =
        "finds out why a client does not connect: tries from here what it does, and says what "
        "to change. Exit status 0: all well, 1: trouble found, 2: wrong usage.",
    .specs = specs,
    .spec_count = ARRAY_LEN(specs),
    .examples = "--bootstrap-server localhost:9092\n"
                "--bootstrap-server broker1:9092,broker2:9092 --zookeeper zk1:2181/kafka\n"
                "--bootstrap-server localhost:9093 --command-config tls.properties\n",
};

void doctor_ok(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("ok   ", stdout);
    (void)vprintf(fmt, ap);
    fputc('\n', stdout);
    va_end(ap);
    (void)fflush(stdout);
}

void doctor_fail(struct doctor *d, const char *fmt, ...)
{
    va_list ap;

    d->troubles++;
    va_start(ap, fmt);
    fputs("FAIL ", stdout);
    (void)vprintf(fmt, ap);
    fputc('\n', stdout);
    va_end(ap);
    (void)fflush(stdout);
}

void doctor_cure(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("     -> ", stdout);
    (void)vprintf(fmt, ap);
    fputc('\n', stdout);
    va_end(ap);
    (void)fflush(stdout);
}

int64_t doctor_left_ms(const struct doctor *d)
{
    return i64_max(d->deadline_ms - clock_mono_ms(), 0);
}

/* ---- one address */

/* The addresses of a name as "a, b"; false: why it has none. */
static bool resolve(const char *host, struct buf *out, bool *is_loopback_out)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int e = getaddrinfo(host, NULL, &hints, &list);

    *is_loopback_out = false;
    if (e != 0) {
        buf_printf(out, "%s", e == EAI_SYSTEM ? strerror(errno) : gai_strerror(e));
        return false;
    }
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        char text[NI_MAXHOST];

        if (getnameinfo(ai->ai_addr, ai->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) !=
            0)
            continue;
        *is_loopback_out |= strncmp(text, "127.", 4) == 0 || strcmp(text, "::1") == 0;
        buf_printf(out, "%s%s", out->len == 0 ? "" : ", ", text);
    }
    freeaddrinfo(list);
    return true;
}

/* What to do about a connection that did not come about, apart from the address itself. */
static void advise_on_protocol(const struct doctor *d, const struct bclient_progress *p,
                               enum err rc)
{
    if (p->stage == BCLIENT_AT_TLS)
        doctor_cure("is that port a TLS listener? If not, leave security.protocol=SSL away; if it "
                    "is, ssl.ca.location must hold the authority that signed its certificate, and "
                    "the certificate must name this host");
    else if (p->speaks_tls)
        doctor_cure("it is a TLS port: give --command-config FILE with security.protocol=SSL and "
                    "ssl.ca.location=CA.pem, or use the port of the PLAINTEXT listener");
    else if (rc == ERR_TIMEOUT)
        doctor_cure("something accepts the connection and stays silent: another service, a proxy "
                    "without a broker behind it, or a broker that hangs; look at its log");
    else if (rc == ERR_CLOSED)
        doctor_cure("a broker closes a connection in the wrong security protocol: compare the "
                    "client's security.protocol%s with the port's in the broker's listeners",
                    d->admin.tls != NULL ? "" : " (PLAINTEXT here)");
    else
        doctor_cure("another service has that port: give the port of the broker's listener, as in "
                    "its 'listeners' setting (9092 by default)");
}

static void advise_on_bootstrap(const struct doctor *d, const char *host, int32_t port,
                                const struct bclient_progress *p, enum err rc)
{
    if (p->stage > BCLIENT_AT_CONNECT)
        advise_on_protocol(d, p, rc);
    else if (p->stage == BCLIENT_AT_RESOLVE)
        doctor_cure("'%s' is not known on this machine: a container's name is known only inside "
                    "its network; give the address of the machine that publishes the port",
                    host);
    else if (p->errnum == ECONNREFUSED)
        doctor_cure("the machine answers but nothing listens on port %d: is the broker running, is "
                    "the port published (docker: -p %d:%d), does 'listeners' name an address that "
                    "others reach (0.0.0.0, not localhost)?",
                    port, port, port);
    else
        doctor_cure("no way to that address from here: a firewall drops the packets, or it is an "
                    "address of another network (a container's, a pod's, a private one)");
}

/* Who is there: a broker describes its own configs only. -1: cannot be told. */
static int32_t identify(struct doctor *d, struct bclient *client, int32_t id)
{
    struct str key = STR_LIT("broker.id");
    struct kp_DescribeConfigsRequest_DescribeConfigsResource resource;
    struct kp_DescribeConfigsRequest request;
    struct kp_DescribeConfigsResponse response = {0};
    struct errtext why = {{0}};
    char name[16];

    (void)snprintf(name, sizeof name, "%d", id);
    kp_defaults(&kp_DescribeConfigsRequest_DescribeConfigsResource_schema, &resource);
    resource.resource_type = RESOURCE_BROKER;
    resource.resource_name = str_of(name);
    resource.configuration_keys = &key;
    resource.configuration_keys_count = 1;
    kp_defaults(&kp_DescribeConfigsRequest_schema, &request);
    request.resources = &resource;
    request.resources_count = 1;
    if (bclient_call(client, KP_API_DESCRIBE_CONFIGS, BCLIENT_NEWEST, &request, &d->admin.arena,
                     &response, NULL, &why) != ERR_OK ||
        response.results_count != 1)
        return DOCTOR_UNKNOWN;
    if (response.results[0].error_code == KE_NONE)
        return id;
    return response.results[0].error_code == KE_INVALID_REQUEST ? DOCTOR_ANOTHER : DOCTOR_UNKNOWN;
}

/* ---- the bootstrap addresses */

static enum err try_bootstrap(void *arg, const char *host, int32_t port, struct errtext *why UNUSED)
{
    struct doctor *d = arg;
    struct bclient_progress p;
    struct errtext one = {{0}};
    struct bclient *client;
    struct buf addresses = {0};
    bool is_loopback;
    enum err rc;

    if (!resolve(host, &addresses, &is_loopback)) {
        p = (struct bclient_progress){.stage = BCLIENT_AT_RESOLVE};
        doctor_fail(d, "%s:%d: the name cannot be resolved: %s", host, port, buf_cstr(&addresses));
        advise_on_bootstrap(d, host, port, &p, ERR_UNREACHABLE);
        goto out;
    }
    doctor_ok("%s:%d: resolves to %s", host, port, buf_cstr(&addresses));
    d->admin.timeout_ms = i64_max(i64_min(d->step_ms, doctor_left_ms(d)), 1);
    rc = admin_connect(&d->admin, -1, host, port, &p, &client, &one);
    if (p.stage > BCLIENT_AT_CONNECT)
        doctor_ok("%s:%d: connected", host, port);
    if (rc != ERR_OK) {
        doctor_fail(d, "%s", one.text);
        advise_on_bootstrap(d, host, port, &p, rc);
        goto out;
    }
    doctor_ok("%s:%d: speaks Kafka's protocol (ApiVersions)", host, port);
    if (d->works_host == NULL) {
        d->works_host = arena_strdup(&d->admin.arena, host, strlen(host));
        d->works_port = port;
        d->works_client = client;
        d->works_is_loopback = is_loopback;
    }
out:
    buf_fini(&addresses);
    return ERR_OK;
}

/* ---- the brokers, by the addresses that they advertise */

/* The setting that would let clients here in, made of the address that did work. */
static void advise_on_listeners(const struct doctor *d, int32_t id, const char *host, int32_t port)
{
    const char *scheme = d->admin.tls != NULL ? "SSL" : "PLAINTEXT";
    bool is_same = id == d->works_id;

    doctor_cure("clients go to the advertised address, whatever they were given first. You stand "
                "on '%s', where %s:%d %s; on broker %d set%s:",
                d->here, d->works_host, d->works_port,
                is_same ? "reaches this broker" : "reaches a broker", id,
                is_same ? "" : " an address by which it is reached from here, for example");
    doctor_cure("advertised.listeners=%s://%s:%d   (in a container: "
                "KAFKA_ADVERTISED_LISTENERS=%s://%s:%d), and restart it",
                scheme, d->works_host, is_same ? d->works_port : port, scheme, d->works_host,
                is_same ? d->works_port : port);
    doctor_cure("if others need %s:%d (containers of one network, the brokers), give the broker a "
                "second listener for them: listeners, listener.security.protocol.map, "
                "inter.broker.listener.name",
                host, port);
    if (d->works_is_loopback && !is_same)
        doctor_cure("%s is this machine only: take its real name if clients elsewhere are to "
                    "connect too",
                    d->works_host);
}

static void check_identity(struct doctor *d, struct bclient *client, int32_t id, const char *host,
                           int32_t port, const char *addresses)
{
    struct kp_MetadataResponse *m = &d->admin.metadata;
    int32_t who = identify(d, client, id);

    if (who == id) {
        doctor_ok("broker %d advertises %s:%d: resolves to %s, connected, broker %d answers", id,
                  host, port, addresses, id);
        return;
    }
    if (who == DOCTOR_UNKNOWN) {
        doctor_ok("broker %d advertises %s:%d: resolves to %s, connected, a broker answers (it "
                  "does not tell which)",
                  id, host, port, addresses);
        return;
    }
    for (int32_t i = 0; i < m->brokers_count && doctor_left_ms(d) > 0; i++) {
        if (m->brokers[i].node_id != id &&
            identify(d, client, m->brokers[i].node_id) == m->brokers[i].node_id) {
            doctor_fail(d, "broker %d advertises %s:%d, but broker %d answers there", id, host,
                        port, m->brokers[i].node_id);
            advise_on_listeners(d, id, host, port);
            return;
        }
    }
    doctor_fail(d,
                "broker %d advertises %s:%d, but a broker of another id answers there, perhaps "
                "of another cluster",
                id, host, port);
    advise_on_listeners(d, id, host, port);
}

static void check_broker(struct doctor *d, int32_t id, const char *host, int32_t port)
{
    struct buf addresses = {0};
    struct errtext why = {{0}};
    struct bclient_progress p;
    struct bclient *client;
    bool is_loopback;
    enum err rc;

    if (doctor_left_ms(d) == 0) {
        doctor_fail(d, "broker %d advertises %s:%d: not tried, the time is over", id, host, port);
        doctor_cure("cure the others first, or give a larger --timeout-ms");
        return;
    }
    if (!resolve(host, &addresses, &is_loopback)) {
        doctor_fail(d, "broker %d advertises %s:%d: the name cannot be resolved here: %s", id, host,
                    port, buf_cstr(&addresses));
        advise_on_listeners(d, id, host, port);
        goto out;
    }
    d->admin.timeout_ms = i64_max(i64_min(d->step_ms, doctor_left_ms(d)), 1);
    rc = admin_connect(&d->admin, id, host, port, &p, &client, &why);
    if (rc == ERR_OK) {
        check_identity(d, client, id, host, port, buf_cstr(&addresses));
        goto out;
    }
    doctor_fail(d, "broker %d advertises %s:%d (%s): %s", id, host, port, buf_cstr(&addresses),
                why.text);
    if (is_loopback && !d->works_is_loopback)
        doctor_cure("%s means the machine that asks: right only for clients on the broker's own "
                    "machine",
                    host);
    if (p.stage > BCLIENT_AT_CONNECT)
        advise_on_protocol(d, &p, rc);
    else if (p.errnum == ECONNREFUSED)
        doctor_cure("if broker %d is down, start it; if it runs, its address is wrong for you:",
                    id);
    advise_on_listeners(d, id, host, port);
out:
    buf_fini(&addresses);
}

static void check_twins(struct doctor *d)
{
    const struct kp_MetadataResponse *m = &d->admin.metadata;

    for (int32_t i = 0; i < m->brokers_count; i++) {
        for (int32_t j = i + 1; j < m->brokers_count; j++) {
            if (m->brokers[i].port != m->brokers[j].port ||
                !str_eq(m->brokers[i].host, m->brokers[j].host))
                continue;
            doctor_fail(d, "brokers %d and %d both advertise %.*s:%d", m->brokers[i].node_id,
                        m->brokers[j].node_id, STR_ARG(m->brokers[i].host), m->brokers[i].port);
            doctor_cure("every broker needs an address of its own: give each another port (or "
                        "host) in advertised.listeners");
        }
    }
}

static void check_brokers(struct doctor *d)
{
    const struct kp_MetadataResponse m = d->admin.metadata;

    d->works_id = DOCTOR_UNKNOWN;
    for (int32_t i = 0; i < m.brokers_count && d->works_id < 0 && doctor_left_ms(d) > 0; i++)
        if (identify(d, d->works_client, m.brokers[i].node_id) == m.brokers[i].node_id)
            d->works_id = m.brokers[i].node_id;
    check_twins(d);
    for (int32_t i = 0; i < m.brokers_count; i++) {
        char *host = str_dup(m.brokers[i].host);

        check_broker(d, m.brokers[i].node_id, host == NULL ? "" : host, m.brokers[i].port);
        mem_free(host);
    }
}

/* ---- the cluster */

static void check_partitions(struct doctor *d, const struct kp_MetadataResponse *m)
{
    int32_t partitions = 0, leaderless = 0, topics = i32_max(m->topics_count, 0);

    for (int32_t t = 0; t < topics; t++) {
        for (int32_t p = 0; p < m->topics[t].partitions_count; p++) {
            partitions++;
            leaderless += m->topics[t].partitions[p].leader_id < 0;
            d->under_replicated += m->topics[t].partitions[p].isr_nodes_count <
                                   m->topics[t].partitions[p].replica_nodes_count;
        }
    }
    if (leaderless == 0) {
        doctor_ok("all %d partitions of %d topics have leaders", partitions, topics);
        return;
    }
    doctor_fail(d, "%d of %d partitions have no leader: clients wait there", leaderless,
                partitions);
    doctor_cure("start the brokers that hold their replicas; 'kafuka-describe --bootstrap-server "
                "%s:%d' names them",
                d->works_host, d->works_port);
}

/* Clients work without it for a while; what they then miss comes as a surprise later. */
static void check_links_to_zookeeper(struct doctor *d)
{
    struct errtext why = {{0}};
    const char *away;

    if (admin_zookeeper(&d->admin, ADMIN_ANY, &away, &why) != ERR_OK || away == NULL)
        return;
    doctor_fail(d, "the broker has no connection to ZooKeeper: %s", away);
    doctor_cure("start ZooKeeper, or mend the network between: until then no topic can be created "
                "and no leader elected");
}

static void check_cluster(struct doctor *d)
{
    struct errtext why = {{0}};
    struct kp_MetadataResponse m = {0};
    enum err rc = admin_metadata(&d->admin, NULL, 0, &m, &why);

    if (rc != ERR_OK) {
        doctor_fail(d, "%s", why.text);
        doctor_cure("the broker takes connections but does not tell of its cluster: look at its "
                    "log");
        return;
    }
    d->has_metadata = true;
    if (m.brokers_count <= 0) {
        doctor_fail(d, "cluster %.*s: the broker knows no live broker, not even itself",
                    STR_ARG(m.cluster_id));
        doctor_cure("the controller has not told it yet. The controller comes by the address that "
                    "the broker advertises: one that cannot be resolved or reached from the "
                    "controller's machine keeps the broker in this state; correct "
                    "advertised.listeners (KAFKA_ADVERTISED_LISTENERS), e.g. %s://%s:%d",
                    d->admin.tls != NULL ? "SSL" : "PLAINTEXT", d->works_host, d->works_port);
        doctor_cure("or it is not registered: is ZooKeeper up, is its zookeeper.connect right? "
                    "--zookeeper HOST:PORT/chroot tells which, and the address it advertises");
        return;
    }
    doctor_ok("cluster %.*s: %d broker%s", STR_ARG(m.cluster_id), m.brokers_count,
              m.brokers_count == 1 ? "" : "s");
    if (m.controller_id >= 0) {
        doctor_ok("the controller is broker %d", m.controller_id);
    } else {
        doctor_fail(d, "no controller is known: no topic can be created, no leader elected");
        doctor_cure("wait some seconds; if it stays so, look at the brokers' logs and at "
                    "/controller in ZooKeeper");
    }
    check_brokers(d);
    check_partitions(d, &m);
    check_links_to_zookeeper(d);
}

static int examine(struct doctor *d, const struct opts *o)
{
    struct errtext why = {{0}};

    if (admin_each_address(d->admin.bootstrap, ADMIN_KAFKA_PORT, try_bootstrap, d, &why) != ERR_OK)
        doctor_fail(d, "%s", why.text);
    if (d->works_client != NULL)
        check_cluster(d);
    if (opts_has(o, "zookeeper"))
        doctor_check_zookeeper(d, opts_text(o, "zookeeper", NULL));
    if (d->troubles == 0)
        printf("\nAll is well for a client on '%s'.\n", d->here);
    if (d->troubles == 0 && d->under_replicated > 0)
        printf("That is about connections: %d partition%s fewer replicas in sync than replicas; "
               "'kafuka-describe --bootstrap-server %s:%d' says what the cluster lacks.\n",
               d->under_replicated, d->under_replicated == 1 ? " has" : "s have", d->works_host,
               d->works_port);
    if (d->troubles > 0)
        printf("\n%d trouble%s found.\n", d->troubles, d->troubles == 1 ? "" : "s");
    return d->troubles == 0 ? 0 : 1;
}

static int run(const struct opts *o)
{
    struct doctor d = {.step_ms = opts_int(o, "timeout-ms", DEFAULT_STEP_TIMEOUT_MS)};
    struct errtext why = {{0}};
    int rc;

    if (!opts_has(o, "bootstrap-server")) {
        (void)opts_fail(o, "--bootstrap-server must be specified, for example --bootstrap-server "
                           "localhost:9092");
        return WRONG_USAGE;
    }
    /* a name server that does not answer must not hold us for a minute; the user's own wins */
    (void)setenv("RES_OPTIONS", "timeout:2 attempts:1", 0);
    if (gethostname(d.here, sizeof d.here - 1) != 0)
        (void)snprintf(d.here, sizeof d.here, "this machine");
    d.deadline_ms = clock_mono_ms() + BUDGET_STEPS * d.step_ms;
    if (admin_init(&d.admin, opts_text(o, "bootstrap-server", NULL),
                   opts_text(o, "command-config", NULL), d.step_ms, &why) != ERR_OK) {
        (void)opts_fail(o, "%s", why.text);
        rc = WRONG_USAGE;
    } else {
        rc = examine(&d, o);
    }
    admin_close(&d.admin);
    return rc;
}

int cmd_doctor(int argc, char **argv)
{
    struct opts o;
    int rc = opts_start(&o, &command, argc, argv);

    if (rc < 0)
        rc = run(&o);
    else if (rc > 0)
        rc = WRONG_USAGE;
    opts_fini(&o);
    return rc;
}
