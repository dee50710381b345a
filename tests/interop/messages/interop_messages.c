/* SPDX-License-Identifier: Apache-2.0 */
/* Our side of the comparison with Kafka's own message classes (Messages.java starts it).
 *   interop_messages list               prints: name, lowest and highest version
 *   interop_messages echo               reads messages, writes each encoded again
 *   interop_messages random SEED N      writes N random messages of each version of each message
 * A message: int16 length and name, int16 version, int32 length and bytes. A reply to echo: int32
 * length and bytes; a negative length is that of an error text. All big-endian. */
#include "common/protocol/messages.h"
#include "common/protocol/schema.h"

#include <stdio.h>
#include <stdlib.h>

enum { MESSAGE_BYTES_MAX = 64 << 20, NAME_BYTES_MAX = 128 };

static const struct kp_schema *find_schema(const char *name)
{
    for (size_t i = 0; i < kp_schema_count; i++)
        if (strcmp(kp_schemas[i]->name, name) == 0)
            return kp_schemas[i];
    return NULL;
}

static void list(void)
{
    for (size_t i = 0; i < kp_schema_count; i++)
        (void)printf("%s %d %d\n", kp_schemas[i]->name, kp_schemas[i]->min_version,
                     kp_schemas[i]->max_version);
}

static void put(const void *p, size_t n)
{
    if (n > 0 && fwrite(p, 1, n, stdout) != n)
        exit(EXIT_FAILURE); /* the reader is gone */
}

static void put_i16(int value)
{
    uint8_t b[2];
    be16_store(b, (uint16_t)value);
    put(b, sizeof b);
}

static void put_i32(int64_t value)
{
    uint8_t b[4];
    be32_store(b, (uint32_t)value);
    put(b, sizeof b);
}

/* False at the end of the input. */
static bool get(void *p, size_t n)
{
    return n == 0 || fread(p, 1, n, stdin) == n;
}

static void answer(const char *name, int16_t version, struct bytes in)
{
    const struct kp_schema *s = find_schema(name);
    struct arena a = {0};
    struct buf out = {0};
    struct errtext why = {""};
    void *msg = s == NULL ? NULL : xcalloc(1, s->size);

    if (s == NULL)
        errtext_set(&why, "no message %s", name);
    if (s == NULL || kp_decode(s, version, in, &a, msg, &why) != ERR_OK ||
        kp_encode(s, version, msg, &out, &why) != ERR_OK) {
        put_i32(-(int64_t)strlen(why.text));
        put(why.text, strlen(why.text));
    } else {
        put_i32((int64_t)out.len);
        put(out.p, out.len);
    }
    mem_free(msg);
    buf_fini(&out);
    arena_fini(&a);
}

static int echo(void)
{
    uint8_t head[4];
    char name[NAME_BYTES_MAX];

    while (get(head, 2)) {
        size_t name_len = be16_load(head);
        if (name_len >= sizeof name || !get(name, name_len) || !get(head, 2))
            return EXIT_FAILURE;
        name[name_len] = 0;
        int16_t version = (int16_t)be16_load(head);
        if (!get(head, 4) || be32_load(head) > MESSAGE_BYTES_MAX)
            return EXIT_FAILURE;
        size_t len = be32_load(head);
        uint8_t *p = xmalloc(len);
        if (!get(p, len))
            return EXIT_FAILURE;
        answer(name, version, (struct bytes){p, (int64_t)len});
        mem_free(p);
        if (fflush(stdout) != 0)
            return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

static int write_random(uint64_t seed, int count)
{
    for (size_t i = 0; i < kp_schema_count; i++) {
        const struct kp_schema *s = kp_schemas[i];
        void *msg = xcalloc(1, s->size);
        for (int v = s->min_version; v <= s->max_version; v++) {
            for (int n = 0; n < count; n++) {
                struct arena a = {0};
                struct buf out = {0};
                kp_random(s, (int16_t)v, &seed, &a, msg);
                MUST(kp_encode(s, (int16_t)v, msg, &out, NULL) == ERR_OK);
                put_i16((int)strlen(s->name));
                put(s->name, strlen(s->name));
                put_i16(v);
                put_i32((int64_t)out.len);
                put(out.p, out.len);
                buf_fini(&out);
                arena_fini(&a);
            }
        }
        mem_free(msg);
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        list();
        return EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], "echo") == 0)
        return echo();
    if (argc == 4 && strcmp(argv[1], "random") == 0)
        return write_random(strtoull(argv[2], NULL, 0), (int)strtol(argv[3], NULL, 0));
    (void)fprintf(stderr, "usage: interop_messages list | echo | random SEED N\n");
    return 2;
}
