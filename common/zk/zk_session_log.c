/* SPDX-License-Identifier: Apache-2.0 */
/* The library's log lines. While a server refuses, it complains three times a second: we keep the
 * last complaint for error texts and write one line in ten seconds. */
#include "common/base/slog.h"
#include "common/zk/zk_session_internal.h"

#include <stdio.h>

enum { LOG_INTERVAL_MS = 10000, LAST_BYTES = 256 };

static struct lock last_lock;
static char last[LAST_BYTES]; /* guarded by last_lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void setup_once(void)
{
    lock_init(&last_lock, LOCK_LEAF);
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
}

void zk_session_log_setup(void)
{
    MUST(pthread_once(&once, setup_once) == 0);
}

/* "Socket 127.0.0.1:1 zk retcode=-4, errno=111(Connection refused): server refused to accept the
 * client" -> "127.0.0.1:1: Connection refused"; false: it is another complaint. */
static bool take_connect_failure(const char *text, size_t n, char *out, size_t size)
{
    static const char head[] = "Socket ", middle[] = " zk retcode=";
    const char *at = memmem(text, n, middle, sizeof middle - 1);
    const char *what, *end;

    if (at == NULL || n < sizeof head || memcmp(text, head, sizeof head - 1) != 0)
        return false;
    what = memchr(at, '(', (size_t)(text + n - at));
    end = what == NULL ? NULL : memchr(what, ')', (size_t)(text + n - what));
    if (end == NULL)
        return false;
    text += sizeof head - 1;
    (void)snprintf(out, size, "%.*s: %.*s", (int)(at - text), text, (int)(end - what - 1),
                   what + 1);
    return true;
}

/* "2026-11-22 21:00:00,123:77(0x7f..):ZOO_ERROR@function@123: text" */
void zk_session_log_line(const char *line)
{
    const char *mark = strstr(line, ":ZOO_");
    const char *text = mark == NULL ? NULL : strstr(mark, ": ");
    char plain[LAST_BYTES];

    text = text == NULL ? line : text + 2;
    size_t n = strcspn(text, "\n");
    if (take_connect_failure(text, n, plain, sizeof plain)) {
        text = plain;
        n = strlen(plain);
    }
    lock_take(&last_lock);
    (void)snprintf(last, sizeof last, "%.*s", (int)size_min(n, LAST_BYTES - 1), text);
    lock_release(&last_lock);
    SLOG_EVERY(LOG_INTERVAL_MS, WARN, "zk", "the ZooKeeper client library reports",
               KV_STR("text", ((struct str){text, (int32_t)size_min(n, LAST_BYTES)})));
}

void zk_session_log_last(char *out, size_t size)
{
    lock_take(&last_lock);
    (void)snprintf(out, size, "%s", last);
    lock_release(&last_lock);
}

void zk_session_log_forget(void)
{
    lock_take(&last_lock);
    last[0] = 0;
    lock_release(&last_lock);
}
