/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing of listeners, and the choice of an address to advertise. */
#include "broker/server/listener.h"

#include "broker/config/config.h"
#include "common/base/slog.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const protocols[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"};

const char *listener_protocol_name(int16_t protocol)
{
    ASSERT(protocol >= 0 && (size_t)protocol < ARRAY_LEN(protocols));
    return protocols[protocol];
}

static bool protocol_parse(const char *name, int16_t *out)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
        if (strcasecmp(name, protocols[i]) == 0) {
            *out = (int16_t)i;
            return true;
        }
    return false;
}

static bool is_listener_name(struct str s)
{
    for (int32_t i = 0; i < s.len; i++)
        if (!isalnum((unsigned char)s.p[i]) && s.p[i] != '_' && s.p[i] != '-' && s.p[i] != '.')
            return false;
    return s.len > 0;
}

bool listener_parse_endpoint(const char *text, char **name_out, char **host_out, int32_t *port_out)
{
    const char *sep = strstr(text, "://");
    const char *colon = sep == NULL ? NULL : strrchr(sep + 3, ':');
    char *end;

    if (colon == NULL || !is_listener_name((struct str){text, (int32_t)(sep - text)}))
        return false;
    struct str host = {sep + 3, (int32_t)(colon - sep - 3)};
    if (host.len >= 2 && host.p[0] == '[' && host.p[host.len - 1] == ']') {
        host.p++;
        host.len -= 2;
    } else if (host.len > 0 && memchr(host.p, ':', (size_t)host.len) != NULL) {
        return false;
    }
    long port = strtol(colon + 1, &end, 10);
    if (!isdigit((unsigned char)colon[1]) || *end != 0 || port < 0 || port > 65535)
        return false;
    *name_out = xstrndup(text, (size_t)(sep - text));
    for (char *p = *name_out; *p != 0; p++)
        *p = (char)toupper((unsigned char)*p);
    *host_out = str_dup(host);
    *port_out = (int32_t)port;
    return true;
}

void listeners_free(struct listener **l, int count)
{
    for (int i = 0; *l != NULL && i < count; i++) {
        mem_free((*l)[i].name);
        mem_free((*l)[i].bind_host);
        mem_free((*l)[i].advertised_host);
    }
    FREE_NULL(l);
}

/* The protocol that listener.security.protocol.map has for the name, or that of the same name. */
static bool map_protocol(const struct config *c, const char *name, int16_t *out)
{
    for (int32_t i = 0; i < c->listener_security_protocol_map.count; i++) {
        const char *item = c->listener_security_protocol_map.items[i];
        const char *colon = strchr(item, ':');
        size_t n = colon == NULL ? 0 : (size_t)(colon - item);
        if (n == strlen(name) && strncasecmp(item, name, n) == 0)
            return protocol_parse(colon + 1, out);
    }
    return !config_is_given(c, CONFIG_listener_security_protocol_map) && protocol_parse(name, out);
}

static enum err invalid(struct errtext *why, const char *fmt, const char *a, const char *b)
{
    char text[400];

    (void)snprintf(text, sizeof text, "%s%s%s", fmt, a, b);
    errtext_set(why, "%s", text);
    return ERR_INVALID;
}

/* Names of listeners are the same in any case of letters. */
static struct listener *find_listener(struct listener *l, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcasecmp(l[i].name, name) == 0)
            return &l[i];
    return NULL;
}

static enum err parse_listener(const struct config *c, const char *text, struct listener *all,
                               int index, struct errtext *why)
{
    struct listener *l = &all[index];

    if (!listener_parse_endpoint(text, &l->name, &l->bind_host, &l->port))
        return invalid(why, "listeners: NAME://host:port is needed, not ", text, "");
    l->advertised_host = xstrdup("");
    if (!map_protocol(c, l->name, &l->security_protocol))
        return invalid(why,
                       "listeners: listener.security.protocol.map has no security protocol for ",
                       l->name, "");
    if (l->security_protocol == PROTOCOL_SASL_PLAINTEXT ||
        l->security_protocol == PROTOCOL_SASL_SSL)
        return invalid(why, "listeners: SASL is not supported yet: ", text, "");
    for (int i = 0; i < index; i++) {
        if (strcmp(all[i].name, l->name) == 0)
            return invalid(why, "listeners: each listener needs a name of its own: ", text, "");
        if (l->port != 0 && all[i].port == l->port && strcmp(all[i].bind_host, l->bind_host) == 0)
            return invalid(why, "listeners: each listener needs a port of its own: ", text, "");
    }
    return ERR_OK;
}

static enum err parse_advertised(const char *text, struct listener *all, int count,
                                 struct errtext *why)
{
    char *name = NULL, *host = NULL;
    int32_t port;
    enum err rc = ERR_OK;

    if (!listener_parse_endpoint(text, &name, &host, &port))
        return invalid(why, "advertised.listeners: NAME://host:port is needed, not ", text, "");
    struct listener *l = find_listener(all, count, name);
    if (l == NULL) {
        rc = invalid(why, "advertised.listeners: there is no such listener: ", text, "");
    } else if (l->advertised_host[0] != 0) {
        rc = invalid(why, "advertised.listeners: each listener is advertised once: ", text, "");
    } else if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0) {
        rc = invalid(why, "advertised.listeners: nobody can connect to ", host,
                     "; name the host or address that clients use");
    } else {
        mem_free(l->advertised_host);
        l->advertised_host = host;
        l->advertised_port = port;
        host = NULL;
    }
    mem_free(name);
    mem_free(host);
    return rc;
}

static enum err check_control_plane(const struct config *c, struct listener *all, int count,
                                    struct errtext *why)
{
    const char *name = c->control_plane_listener_name;

    if (name == NULL)
        return ERR_OK;
    if (find_listener(all, count, name) == NULL)
        return invalid(why, "control.plane.listener.name: there is no such listener: ", name, "");
    if (strcasecmp(name, c->inter_broker_listener_name) == 0)
        return invalid(why,
                       "control.plane.listener.name: it must not be the inter-broker "
                       "listener: ",
                       name, "");
    return ERR_OK;
}

enum err listeners_from_config(const struct config *c, struct listener **out, int *count_out,
                               struct errtext *why)
{
    int count = c->listeners.count;
    struct listener *all = xcalloc((size_t)i32_max(count, 1), sizeof *all);
    enum err rc = ERR_OK;

    *out = NULL;
    *count_out = 0;
    if (count == 0)
        rc = invalid(why, "listeners: at least one is needed", "", "");
    for (int i = 0; i < count && rc == ERR_OK; i++)
        rc = parse_listener(c, c->listeners.items[i], all, i, why);
    for (int i = 0; i < c->advertised_listeners.count && rc == ERR_OK; i++)
        rc = parse_advertised(c->advertised_listeners.items[i], all, count, why);
    if (rc == ERR_OK) {
        struct listener *inter = find_listener(all, count, c->inter_broker_listener_name);
        if (inter != NULL)
            inter->is_inter_broker = true;
        else
            rc = invalid(why,
                         "inter.broker.listener.name (or security.inter.broker.protocol): there is "
                         "no such listener: ",
                         c->inter_broker_listener_name, "");
    }
    if (rc == ERR_OK)
        rc = check_control_plane(c, all, count, why);
    if (rc != ERR_OK) {
        listeners_free(&all, count);
        return rc;
    }
    *out = all;
    *count_out = count;
    return ERR_OK;
}

/* ---- our own address */

static bool address_text(const struct sockaddr *a, char *out, size_t out_size)
{
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;

    if (a->sa_family == AF_INET)
        return inet_ntop(AF_INET, &v4->sin_addr, out, (socklen_t)out_size) != NULL;
    if (a->sa_family == AF_INET6)
        return inet_ntop(AF_INET6, &v6->sin6_addr, out, (socklen_t)out_size) != NULL;
    return false;
}

/* The local address of a UDP socket connected there: nothing is sent. */
static bool address_towards(const char *host, const char *port, char *out, size_t out_size)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *list = NULL;
    struct sockaddr_storage own = {0};
    socklen_t len = sizeof own;
    bool found = false;

    if (getaddrinfo(host, port, &hints, &list) != 0)
        return false;
    for (const struct addrinfo *a = list; a != NULL && !found; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        found = connect(fd, a->ai_addr, a->ai_addrlen) == 0 &&
                getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
                address_text((struct sockaddr *)&own, out, out_size);
        (void)close(fd);
    }
    freeaddrinfo(list);
    return found;
}

static bool address_of_interface(char *out, size_t out_size)
{
    struct ifaddrs *list = NULL;
    bool found = false;

    if (getifaddrs(&list) != 0)
        return false;
    for (const struct ifaddrs *i = list; i != NULL && !found; i = i->ifa_next)
        if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET &&
            (i->ifa_flags & IFF_UP) != 0 && (i->ifa_flags & IFF_LOOPBACK) == 0)
            found = address_text(i->ifa_addr, out, out_size);
    freeifaddrs(list);
    return found;
}

void listener_own_address(const char *zookeeper_connect, char *out, size_t out_size)
{
    if (zookeeper_connect != NULL) {
        char *host = xstrndup(zookeeper_connect, strcspn(zookeeper_connect, ",/"));
        char *colon = strrchr(host, ':');
        const char *port = "2181";
        if (colon != NULL && strchr(colon, ']') == NULL) {
            *colon = 0;
            port = colon + 1;
        }
        size_t n = strlen(host);
        bool bracketed = n >= 2 && host[0] == '[' && host[n - 1] == ']';
        if (bracketed)
            host[n - 1] = 0;
        bool found = address_towards(bracketed ? host + 1 : host, port, out, out_size);
        mem_free(host);
        if (found)
            return;
    }
    if (!address_of_interface(out, out_size))
        (void)snprintf(out, out_size, "127.0.0.1");
}
