/* SPDX-License-Identifier: Apache-2.0 */
/* Only in the shared object: what common/zk logs goes to the application's stderr, so only what
 * matters to it does. */
#include "common/base/slog.h"

__attribute__((constructor)) static void quiet(void)
{
    slog_min_level = SLOG_WARN;
}
