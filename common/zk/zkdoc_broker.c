/* SPDX-License-Identifier: Apache-2.0 */
/* The registration of a broker. */
#include "common/zk/zkdoc.h"

#include "common/base/json_writer.h"
#include "common/zk/zkdoc_json.h"

enum { ENDPOINTS_MAX = 100, FEATURES_MAX = 1000 };

static const char *const protocol_names[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"};

const char *zkdoc_protocol_name(int16_t protocol)
{
    bool is_known = protocol >= 0 && (size_t)protocol < ARRAY_LEN(protocol_names);

    return is_known ? protocol_names[protocol] : NULL;
}

bool zkdoc_protocol_parse(const char *name, int16_t *out)
{
    for (size_t i = 0; i < ARRAY_LEN(protocol_names); i++)
        if (strcmp(name, protocol_names[i]) == 0) {
            *out = (int16_t)i;
            return true;
        }
    return false;
}

/* "NAME://host:port" with an empty host, or a host in brackets; changes text. */
static bool split_endpoint(char *text, struct zkdoc_endpoint *out)
{
    char *sep = strstr(text, "://");
    char *host = sep == NULL ? NULL : sep + 3;
    char *colon = host == NULL ? NULL : strrchr(host, ':');
    int64_t port;

    if (colon == NULL || sep == text ||
        !zkjson_parse_int(colon + 1, strlen(colon + 1), -1, 65535, &port))
        return false;
    *sep = *colon = 0;
    if (host[0] == '[') {
        if (colon == host + 1 || colon[-1] != ']')
            return false;
        colon[-1] = 0;
        host++;
    }
    out->listener = text;
    out->host = host;
    out->port = (int32_t)port;
    return true;
}

/* By the map, or, where it says nothing, a listener is named after its protocol. */
static void set_protocol(struct zkjson *j, const json_t *map, struct zkdoc_endpoint *e)
{
    const json_t *v = map == NULL ? NULL : json_object_get(map, e->listener);
    const char *name = v == NULL ? e->listener : json_string_value(v);

    if (name == NULL || !zkdoc_protocol_parse(name, &e->protocol))
        zkjson_bad(j, e->listener, "has no known security protocol");
}

static void read_endpoints(struct zkjson *j, struct zkdoc_broker *out)
{
    const json_t *map = zkjson_object(j, j->root, "listener_security_protocol_map");
    const json_t *list = zkjson_array(j, j->root, "endpoints");
    size_t n = json_array_size(list);

    if (list == NULL || n > ENDPOINTS_MAX)
        zkjson_bad(j, "endpoints", list == NULL ? "is missing" : "has too many elements");
    struct zkdoc_endpoint *endpoints = zkjson_alloc(j, (int64_t)n, sizeof *endpoints);
    for (size_t i = 0; i < n && j->err == ERR_OK; i++) {
        char *text = (char *)(uintptr_t)zkjson_copy(j, json_array_get(list, i), "endpoints");
        if (text == NULL)
            return;
        if (split_endpoint(text, &endpoints[i]))
            set_protocol(j, map, &endpoints[i]);
        else
            zkjson_bad(j, "endpoints", "holds something that is not NAME://host:port");
    }
    out->endpoints = endpoints;
    out->endpoint_count = j->err == ERR_OK ? (int32_t)n : 0;
}

/* Version 1 has only host and port. */
static void read_old_endpoint(struct zkjson *j, struct zkdoc_broker *out)
{
    struct zkdoc_endpoint *e = zkjson_alloc(j, 1, sizeof *e);

    if (e == NULL)
        return;
    *e = (struct zkdoc_endpoint){"PLAINTEXT", out->host == NULL ? "" : out->host, out->port,
                                 ZKDOC_PLAINTEXT};
    out->endpoints = e;
    out->endpoint_count = 1;
}

static void read_features(struct zkjson *j, struct zkdoc_broker *out)
{
    const json_t *features = zkjson_object(j, j->root, "features");
    const json_t *value;
    const char *key;
    int32_t n = 0;

    if (json_object_size(features) > FEATURES_MAX)
        zkjson_bad(j, "features", "has too many elements");
    struct zkdoc_feature *list = zkjson_alloc(j, (int64_t)json_object_size(features), sizeof *list);
    json_object_foreach((json_t *)(uintptr_t)features, key, value)
    {
        char *name = zkjson_alloc(j, (int64_t)strlen(key) + 1, 1);
        if (!json_is_object(value))
            zkjson_bad(j, key, "is not an object");
        if (j->err != ERR_OK || name == NULL)
            return;
        memcpy(name, key, strlen(key) + 1);
        list[n++] = (struct zkdoc_feature){
            .name = name,
            .min_version = (int16_t)zkjson_int(j, value, "min_version", INT16_MIN, INT16_MAX, 0),
            .max_version = (int16_t)zkjson_int(j, value, "max_version", INT16_MIN, INT16_MAX, 0)};
    }
    out->features = list;
    out->feature_count = n;
}

enum err zkdoc_broker_parse(struct bytes data, struct arena *a, struct zkdoc_broker *out,
                            struct errtext *why)
{
    struct zkjson j;

    *out = (struct zkdoc_broker){0};
    zkjson_begin(&j, data, a, why);
    out->version = (int32_t)zkjson_required_int(&j, j.root, "version", 1, INT32_MAX);
    out->host = zkjson_string(&j, j.root, "host");
    out->port = (int32_t)zkjson_int(&j, j.root, "port", -1, 65535, -1);
    out->jmx_port = (int32_t)zkjson_int(&j, j.root, "jmx_port", -1, 65535, -1);
    out->timestamp_ms = zkjson_int(&j, j.root, "timestamp", INT64_MIN, INT64_MAX, -1);
    out->rack = zkjson_string(&j, j.root, "rack");
    if (out->version == 1)
        read_old_endpoint(&j, out);
    else
        read_endpoints(&j, out);
    read_features(&j, out);
    if (j.err != ERR_OK)
        *out = (struct zkdoc_broker){0};
    return zkjson_end(&j);
}

static void write_endpoint(struct json_writer *w, const struct zkdoc_endpoint *e)
{
    struct buf text = {0};
    bool is_v6 = strchr(e->host, ':') != NULL;

    buf_printf(&text, "%s://%s%s%s:%" PRId32, e->listener, is_v6 ? "[" : "", e->host,
               is_v6 ? "]" : "", e->port);
    json_write_text(w, NULL, buf_cstr(&text));
    buf_fini(&text);
}

static void write_endpoints(struct json_writer *w, const struct zkdoc_broker *d)
{
    json_write_object(w, "listener_security_protocol_map");
    for (int32_t i = 0; i < d->endpoint_count; i++) {
        const char *protocol = zkdoc_protocol_name(d->endpoints[i].protocol);
        ASSERT(protocol != NULL);
        json_write_text(w, d->endpoints[i].listener, protocol);
    }
    json_write_end(w);
    json_write_array(w, "endpoints");
    for (int32_t i = 0; i < d->endpoint_count; i++)
        write_endpoint(w, &d->endpoints[i]);
    json_write_end(w);
}

void zkdoc_broker_format(const struct zkdoc_broker *d, struct buf *out)
{
    struct json_writer w = json_write_to(out);
    const struct zkdoc_endpoint *plain = NULL;

    for (int32_t i = 0; i < d->endpoint_count && plain == NULL; i++)
        if (d->endpoints[i].protocol == ZKDOC_PLAINTEXT)
            plain = &d->endpoints[i];
    json_write_object(&w, NULL);
    json_write_object(&w, "features");
    for (int32_t i = 0; i < d->feature_count; i++) {
        json_write_object(&w, d->features[i].name);
        json_write_int(&w, "min_version", d->features[i].min_version);
        json_write_int(&w, "max_version", d->features[i].max_version);
        json_write_end(&w);
    }
    json_write_end(&w);
    write_endpoints(&w, d);
    if (d->rack != NULL)
        json_write_text(&w, "rack", d->rack);
    json_write_int(&w, "jmx_port", d->jmx_port);
    json_write_int(&w, "port", plain == NULL ? -1 : plain->port);
    json_write_text(&w, "host", plain == NULL || plain->host[0] == 0 ? NULL : plain->host);
    json_write_int(&w, "version", 5);
    json_write_int_text(&w, "timestamp", d->timestamp_ms);
    json_write_end(&w);
    json_write_done(&w);
}

const struct zkdoc_endpoint *zkdoc_broker_endpoint(const struct zkdoc_broker *d,
                                                   const char *listener)
{
    for (int32_t i = 0; i < d->endpoint_count; i++)
        if (strcmp(d->endpoints[i].listener, listener) == 0)
            return &d->endpoints[i];
    return NULL;
}
