/* SPDX-License-Identifier: Apache-2.0 */
/* kafuka-doctor's look into ZooKeeper. */
#include "tools/doctor.h"
#include "tools/lib/zookeeper.h"

#include <string.h>

static int64_t wait_ms(const struct doctor *d)
{
    return i64_max(i64_min(d->step_ms, doctor_left_ms(d)), 1);
}

/* The session, or NULL with the trouble said. */
static struct coord *connect_to(struct doctor *d, const char *connect)
{
    int hosts_len = (int)strcspn(connect, "/");
    struct errtext why = {{0}};
    struct coord *c = NULL;
    enum err rc = zk_open(connect, wait_ms(d), &c, &why);

    if (rc == ERR_OK || rc == ERR_NOT_FOUND)
        doctor_ok("ZooKeeper %.*s: connected", hosts_len, connect);
    if (rc == ERR_NOT_FOUND) {
        doctor_fail(d, "ZooKeeper: %s", why.text);
        doctor_cure("compare with the brokers' zookeeper.connect: the path at its end must be the "
                    "same");
    } else if (rc != ERR_OK) {
        doctor_fail(d, "ZooKeeper %.*s: %s", hosts_len, connect, why.text);
        doctor_cure("is it running, and is it host:port[,host:port...][/chroot] as in the brokers' "
                    "zookeeper.connect?");
    }
    return c;
}

static bool lists(const struct kp_MetadataResponse *m, int32_t id)
{
    for (int32_t i = 0; i < m->brokers_count; i++)
        if (m->brokers[i].node_id == id)
            return true;
    return false;
}

static bool is_registered(const struct zkadmin_broker *brokers, int32_t count, int32_t id)
{
    for (int32_t i = 0; i < count; i++)
        if (brokers[i].id == id)
            return true;
    return false;
}

static void compare_brokers(struct doctor *d, const struct zkadmin_broker *brokers, int32_t count)
{
    const struct kp_MetadataResponse *m = &d->admin.metadata;
    int before = d->troubles;

    for (int32_t i = 0; d->has_metadata && i < count; i++) {
        if (lists(m, brokers[i].id))
            continue;
        doctor_fail(d, "broker %d is registered in ZooKeeper, as %s:%d, but not listed by %s:%d",
                    brokers[i].id, brokers[i].doc.host == NULL ? "-" : brokers[i].doc.host,
                    brokers[i].doc.port, d->works_host, d->works_port);
        doctor_cure(
            "either it has no listener of the kind you came in by (see its 'listeners'), or "
            "the controller does not reach it by the address in its advertised.listeners: "
            "see the controller's log");
    }
    for (int32_t i = 0; d->has_metadata && i < m->brokers_count; i++) {
        if (is_registered(brokers, count, m->brokers[i].node_id))
            continue;
        doctor_fail(d, "broker %d is listed by %s:%d but not registered in this ZooKeeper",
                    m->brokers[i].node_id, d->works_host, d->works_port);
        doctor_cure("is this the ZooKeeper, and the chroot, of the brokers' zookeeper.connect? If "
                    "so, the broker has lost its session: look at its log");
    }
    if (d->troubles == before)
        doctor_ok("ZooKeeper: %d broker%s registered%s", count, count == 1 ? "" : "s",
                  d->has_metadata ? ", the same as the brokers list" : "");
}

static void compare_ids(struct doctor *d, struct coord *c)
{
    const struct kp_MetadataResponse *m = &d->admin.metadata;
    struct errtext why = {{0}};
    const char *id = NULL;

    if (!d->has_metadata || m->cluster_id.len <= 0)
        return;
    if (zkadmin_cluster_id(c, &d->admin.arena, &id, &why) != KE_NONE || id == NULL) {
        doctor_fail(d, "ZooKeeper: no cluster id there: %s", why.text);
        doctor_cure("no broker has started with this zookeeper.connect: is the chroot right?");
    } else if (!str_eq_z(m->cluster_id, id)) {
        doctor_fail(d, "ZooKeeper holds cluster %s, but the brokers belong to cluster %.*s", id,
                    STR_ARG(m->cluster_id));
        doctor_cure("these are two clusters: compare --zookeeper with the brokers' "
                    "zookeeper.connect");
    }
}

void doctor_check_zookeeper(struct doctor *d, const char *connect)
{
    struct zkadmin_broker *brokers = NULL;
    struct errtext why = {{0}};
    struct coord *c = connect_to(d, connect);
    int32_t count = 0;

    if (c == NULL)
        return;
    if (zkadmin_brokers(c, &d->admin.arena, &brokers, &count, &why) != KE_NONE) {
        doctor_fail(d, "ZooKeeper %s: %s", connect, why.text);
        doctor_cure("look at ZooKeeper's log");
        goto out;
    }
    if (count == 0) {
        doctor_fail(d, "ZooKeeper %s: no broker is registered", connect);
        doctor_cure("no broker runs, or the brokers' zookeeper.connect names another chroot");
    } else {
        compare_brokers(d, brokers, count);
    }
    compare_ids(d, c);
out:
    coord_close(&c);
}
