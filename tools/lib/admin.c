/* SPDX-License-Identifier: Apache-2.0 */
/* Connections are made when they are first needed and kept for the life of the command. The first
 * bootstrap address that answers is used; only when none does is it an error, which names the last
 * reason of each. */
#include "tools/lib/admin.h"

#include "common/base/clock.h"
#include "common/net/transport.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

enum {
    DEFAULT_TIMEOUT_MS = 30000,
    CONNECT_TIMEOUT_MS = 10000,
    RETRY_PAUSE_MS = 50,
    HOST_MAX = 255,
    RESOURCE_BROKER = 4
};

void *admin_alloc(struct admin *a, size_t count, size_t size)
{
    void *p = arena_alloc(&a->arena, size_max(count, 1) * size);

    ASSERT(p != NULL); /* the arena has no limit */
    return p;
}

/* One "host:port" of len bytes. */
static enum err parse_address(const char *p, size_t len, int32_t default_port,
                              char host[HOST_MAX + 1], int32_t *port_out, struct errtext *why)
{
    const char *colon = memrchr(p, ':', len);
    const char *name = p, *scheme = memmem(p, len, "://", 3);
    size_t name_len;
    int64_t port = default_port;
    char number[8];

    if (scheme != NULL) {
        name = scheme + 3;
        colon = memrchr(name, ':', (size_t)(p + len - name));
    }
    if (colon != NULL && memchr(colon, ']', (size_t)(p + len - colon)) != NULL)
        colon = NULL; /* the colons of "[::1]" */
    name_len = (size_t)((colon == NULL ? p + len : colon) - name);
    if (colon != NULL) {
        size_t digits = (size_t)(p + len - colon - 1);

        if (digits >= sizeof number) {
            errtext_set(why, "'%.*s' has no valid port", (int)len, p);
            return ERR_INVALID;
        }
        memcpy(number, colon + 1, digits);
        number[digits] = '\0';
        if (!opt_number(number, 1, 65535, &port)) {
            errtext_set(why,
                        "'%.*s' has no valid port: host:port is expected, the port from 1 to "
                        "65535",
                        (int)len, p);
            return ERR_INVALID;
        }
    }
    if (name_len >= 2 && name[0] == '[' && name[name_len - 1] == ']') {
        name++;
        name_len -= 2;
    }
    if (name_len == 0 || name_len > HOST_MAX || port == 0) {
        errtext_set(why, "'%.*s' is not an address: host:port is expected", (int)len, p);
        return ERR_INVALID;
    }
    memcpy(host, name, name_len);
    host[name_len] = '\0';
    *port_out = (int32_t)port;
    return ERR_OK;
}

enum err admin_each_address(const char *list, int32_t default_port,
                            enum err (*found)(void *arg, const char *host, int32_t port,
                                              struct errtext *why),
                            void *arg, struct errtext *why)
{
    bool any = false;

    ASSERT(found != NULL && default_port >= 1 && default_port <= UINT16_MAX);
    while (*list != '\0') {
        size_t len = strcspn(list, ","), lead = strspn(list, " ");
        char host[HOST_MAX + 1];
        int32_t port;
        enum err rc;

        lead = size_min(lead, len);
        if (len > lead) {
            size_t end = len;

            while (end > lead && list[end - 1] == ' ')
                end--;
            any = true;
            rc = parse_address(list + lead, end - lead, default_port, host, &port, why);
            if (rc == ERR_OK)
                rc = found(arg, host, port, why);
            if (rc != ERR_OK)
                return rc;
        }
        list += len + (list[len] == ',');
    }
    if (any)
        return ERR_OK;
    errtext_set(why, "the list of brokers is empty: host:port[,host:port...] is expected");
    return ERR_INVALID;
}

static enum err check_address(void *arg UNUSED, const char *host UNUSED, int32_t port UNUSED,
                              struct errtext *why UNUSED)
{
    return ERR_OK;
}

/* The first of these properties that is set. */
static const char *prop_of(const struct props *p, const char *a, const char *b)
{
    const char *v = props_get(p, a, NULL);

    return v != NULL ? v : props_get(p, b, NULL);
}

static enum err make_tls(struct admin *a, struct errtext *why)
{
    const struct props *p = &a->props;
    struct tls_options t = {0};

    t.trust_path = prop_of(p, "ssl.ca.location", "ssl.truststore.location");
    t.certificate_path = prop_of(p, "ssl.certificate.location", "ssl.keystore.location");
    t.key_path = props_get(p, "ssl.key.location", NULL);
    t.key_password = prop_of(p, "ssl.key.password", "ssl.keystore.password");
    t.verify_host_name =
        props_get(p, "ssl.endpoint.identification.algorithm", "https")[0] != '\0' &&
        strcmp(props_get(p, "ssl.endpoint.identification.algorithm", "https"), "none") != 0;
    return tls_context_new(&t, &a->tls, why);
}

enum err admin_init(struct admin *a, const char *bootstrap, const char *command_config,
                    int64_t timeout_ms, struct errtext *why)
{
    const char *protocol;
    enum err rc;

    ASSERT(bootstrap != NULL && timeout_ms > 0);
    *a = (struct admin){.bootstrap = bootstrap, .timeout_ms = timeout_ms};
    rc = admin_each_address(bootstrap, ADMIN_KAFKA_PORT, check_address, NULL, why);
    if (rc != ERR_OK) {
        errtext_wrap(why, "--bootstrap-server");
        return rc;
    }
    if (command_config != NULL) {
        rc = props_read_file(&a->props, command_config, why);
        if (rc != ERR_OK)
            return rc;
    }
    protocol = props_get(&a->props, "security.protocol", "PLAINTEXT");
    if (strcasecmp(protocol, "PLAINTEXT") == 0)
        return ERR_OK;
    if (strcasecmp(protocol, "SSL") == 0)
        return make_tls(a, why);
    errtext_set(why, "security.protocol=%s is not supported by this command yet: PLAINTEXT or SSL",
                protocol);
    return ERR_UNSUPPORTED;
}

int admin_start_at(struct admin *a, const struct opts *o, const char *bootstrap,
                   const char *command_config)
{
    struct errtext why = {{0}};
    struct bclient *c;

    *a = (struct admin){0};
    if (bootstrap == NULL)
        return opts_fail(o, "--bootstrap-server must be specified, for example "
                            "--bootstrap-server localhost:9092");
    if (admin_init(a, bootstrap, command_config, opts_int(o, "timeout-ms", DEFAULT_TIMEOUT_MS),
                   &why) != ERR_OK ||
        admin_client(a, ADMIN_ANY, &c, &why) != ERR_OK) {
        admin_close(a);
        return opts_fail(o, "%s", why.text);
    }
    return -1;
}

int admin_start(struct admin *a, const struct opts *o)
{
    return admin_start_at(a, o, opts_text(o, "bootstrap-server", NULL),
                          opts_text(o, "command-config", NULL));
}

void admin_close(struct admin *a)
{
    for (size_t i = 0; i < a->connection_count; i++)
        bclient_close(&a->connections[i].client);
    mem_free(a->connections);
    tls_context_free(&a->tls);
    props_fini(&a->props);
    arena_fini(&a->arena);
    *a = (struct admin){0};
}

enum err admin_connect(struct admin *a, int32_t node, const char *host, int32_t port,
                       struct bclient_progress *progress, struct bclient **out, struct errtext *why)
{
    struct bclient_options o = {
        .host = host,
        .port = port,
        .client_id = "kafuka-tools",
        .tls = a->tls,
        .connect_timeout_ms = i64_min(a->timeout_ms, CONNECT_TIMEOUT_MS),
        .request_timeout_ms = a->timeout_ms,
        .progress = progress,
    };
    enum err rc = bclient_open(&o, out, why);

    if (rc != ERR_OK)
        return rc;
    a->connections = xrealloc(a->connections, (a->connection_count + 1) * sizeof *a->connections);
    a->connections[a->connection_count++] = (struct admin_connection){node, *out};
    return ERR_OK;
}

struct bootstrap_try {
    struct admin *a;
    struct bclient *client;
    struct buf reasons;
    enum err last;
};

static enum err try_address(void *arg, const char *host, int32_t port, struct errtext *why UNUSED)
{
    struct bootstrap_try *t = arg;
    struct errtext one = {{0}};

    if (t->client != NULL)
        return ERR_OK;
    t->last = admin_connect(t->a, -1, host, port, NULL, &t->client, &one);
    if (t->last != ERR_OK)
        buf_printf(&t->reasons, "%s%s", t->reasons.len == 0 ? "" : "; ", one.text);
    return ERR_OK;
}

static enum err connect_bootstrap(struct admin *a, struct bclient **out, struct errtext *why)
{
    struct bootstrap_try t = {.a = a};
    enum err rc = admin_each_address(a->bootstrap, ADMIN_KAFKA_PORT, try_address, &t, why);

    *out = t.client;
    if (rc == ERR_OK && t.client == NULL) {
        rc = t.last;
        errtext_set(why, "no broker can be reached: %s", buf_cstr(&t.reasons));
    }
    buf_fini(&t.reasons);
    return rc;
}

enum err admin_client(struct admin *a, int32_t node, struct bclient **out, struct errtext *why)
{
    ASSERT(node >= 0 || node == ADMIN_ANY);
    *out = NULL;
    for (size_t i = 0; i < a->connection_count; i++) {
        if (a->connections[i].node == node || node == ADMIN_ANY) {
            *out = a->connections[i].client;
            return ERR_OK;
        }
    }
    if (node == ADMIN_ANY)
        return connect_bootstrap(a, out, why);
    for (int32_t i = 0; i < a->metadata.brokers_count; i++) {
        const struct kp_MetadataResponse_MetadataResponseBroker *b = &a->metadata.brokers[i];

        if (b->node_id == node) {
            char *host = str_dup(b->host);
            enum err rc = admin_connect(a, node, host == NULL ? "" : host, b->port, NULL, out, why);

            if (rc != ERR_OK)
                errtext_wrap(why, "broker %d, by the address that it advertises", node);
            mem_free(host);
            return rc;
        }
    }
    errtext_set(why, "broker %d is not among the live brokers", node);
    return ERR_NOT_FOUND;
}

/* A dead connection is dropped, so that the next call makes a new one. */
static void forget_client(struct admin *a, const struct bclient *c)
{
    for (size_t i = 0; i < a->connection_count; i++) {
        if (a->connections[i].client == c) {
            bclient_close(&a->connections[i].client);
            a->connections[i] = a->connections[--a->connection_count];
            return;
        }
    }
}

enum err admin_call(struct admin *a, int32_t node, int16_t api_key, int16_t max_version,
                    const void *request, void *response, int16_t *version_out, struct errtext *why)
{
    struct bclient *c;
    enum err rc = ERR_OK;

    ASSERT(node >= 0 || node == ADMIN_ANY || node == ADMIN_CONTROLLER);
    ASSERT(request != NULL && response != NULL && a->timeout_ms > 0);
    if (node == ADMIN_CONTROLLER) {
        if (!a->has_metadata)
            rc = admin_brokers(a, why);
        if (rc != ERR_OK)
            return rc;
        node = a->metadata.controller_id;
        if (node < 0)
            node = ADMIN_ANY; /* it answers NOT_CONTROLLER, and the caller tries again */
    }
    rc = admin_client(a, node, &c, why);
    if (rc != ERR_OK)
        return rc;
    rc = bclient_call(c, api_key, max_version, request, &a->arena, response, version_out, why);
    if (rc == ERR_CLOSED || rc == ERR_TIMEOUT || rc == ERR_PROTOCOL)
        forget_client(a, c);
    return rc;
}

enum err admin_metadata(struct admin *a, const char *const *names, size_t count,
                        struct kp_MetadataResponse *out, struct errtext *why)
{
    struct kp_MetadataRequest request;
    enum err rc;

    ASSERT(names == NULL ? count == 0 : count <= INT32_MAX);
    kp_defaults(&kp_MetadataRequest_schema, &request);
    request.allow_auto_topic_creation = false;
    request.topics_count = names == NULL ? -1 : (int32_t)count;
    request.topics = names == NULL ? NULL : admin_alloc(a, count, sizeof *request.topics);
    for (size_t i = 0; names != NULL && i < count; i++) {
        kp_defaults(&kp_MetadataRequest_MetadataRequestTopic_schema, &request.topics[i]);
        request.topics[i].name = str_of(names[i]);
    }
    rc = admin_call(a, ADMIN_ANY, KP_API_METADATA, BCLIENT_NEWEST, &request, out, NULL, why);
    if (rc == ERR_OK) {
        a->metadata = *out;
        a->has_metadata = true;
    }
    return rc;
}

enum err admin_brokers(struct admin *a, struct errtext *why)
{
    static const char *const none[1] = {NULL};
    struct kp_MetadataResponse m;

    return admin_metadata(a, none, 0, &m, why);
}

enum err admin_zookeeper(struct admin *a, int32_t node, const char **away_out, struct errtext *why)
{
    struct kp_IncrementalAlterConfigsRequest request;
    struct kp_IncrementalAlterConfigsRequest_AlterConfigsResource resource;
    struct kp_IncrementalAlterConfigsResponse response;
    enum err rc;

    *away_out = NULL;
    kp_defaults(&kp_IncrementalAlterConfigsRequest_schema, &request);
    kp_defaults(&kp_IncrementalAlterConfigsRequest_AlterConfigsResource_schema, &resource);
    resource.resource_type = RESOURCE_BROKER;
    resource.resource_name = STR_LIT(""); /* all brokers: any of them may be asked */
    request.resources = &resource;
    request.resources_count = 1;
    request.validate_only = true;
    rc = admin_call(a, node, KP_API_INCREMENTAL_ALTER_CONFIGS, BCLIENT_NEWEST, &request, &response,
                    NULL, why);
    if (rc == ERR_OK && response.responses_count == 1 &&
        response.responses[0].error_code == KE_REQUEST_TIMED_OUT)
        *away_out = admin_error(a, KE_REQUEST_TIMED_OUT, response.responses[0].error_message);
    return rc == ERR_UNSUPPORTED ? ERR_OK : rc;
}

bool admin_retry_controller(struct admin *a, int64_t deadline_ms)
{
    struct timespec pause = {0, RETRY_PAUSE_MS * 1000000L};

    a->has_metadata = false;
    if (clock_mono_ms() + RETRY_PAUSE_MS >= deadline_ms)
        return false;
    (void)nanosleep(&pause, NULL);
    return true;
}

const char *admin_error(struct admin *a, int16_t code, struct str message)
{
    if (message.len > 0)
        return arena_strdup(&a->arena, message.p, (size_t)message.len);
    return kerr_text(code);
}
